"""Which checkpoints has a run, as their manifests tell it? Without torch: for the server and the command line.

A checkpoint is a folder with a manifest.json (leyden.train.checkpoints.checkpoint writes it). A file `pinned` in it
keeps it from being removed: by the Trainer's `save_top_k`, by `leyden ckpt rm` and by retention.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER, MANIFEST, PIN = "checkpoints", "manifest.json", "pinned"


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """One file of a checkpoint."""

    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One committed checkpoint. `epoch` and `step` are -1 where the manifest does not tell them."""

    name: str
    epoch: int
    step: int
    created_at: float
    size_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)
    pinned: bool = False
    names: tuple[str, ...] = ()  # links to it, e.g. last
    files: tuple[CheckpointFile, ...] = ()


def found(folder: Path) -> list[Checkpoint]:
    """The checkpoints of the folder, newest first."""
    links: dict[str, list[str]] = {}
    for one in folder.glob("[!.]*"):
        if one.is_symlink():
            links.setdefault(one.readlink().name, []).append(one.name)
    listed = []
    for manifest in folder.glob(f"[!.]*/{MANIFEST}"):
        if not manifest.parent.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # removed while it is looked at
                listed.append(_read(manifest, tuple(sorted(links.get(manifest.parent.name, ())))))
    return sorted(listed, key=lambda one: (one.created_at, one.step), reverse=True)


def _read(manifest: Path, names: tuple[str, ...]) -> Checkpoint:
    folder = manifest.parent
    files = [one for one in sorted(folder.rglob("*")) if one.is_file() and not one.is_symlink() and one.name != PIN]
    sized = tuple(CheckpointFile(path=str(one.relative_to(folder)), size_bytes=one.stat().st_size) for one in files)
    told: dict[str, Any]
    try:
        told = json.loads(manifest.read_text())
        step, created_at = int(told["step"]), float(told["created_at"])
        epoch = int(told.get("epoch", -1))  # a program of its own need not count epochs
    except (ValueError, KeyError, TypeError):
        told, step, epoch, created_at = {}, -1, -1, manifest.stat().st_mtime
    return Checkpoint(
        name=folder.name,
        epoch=epoch,
        step=step,
        created_at=created_at,
        size_bytes=sum(one.size_bytes for one in sized),
        metrics={name: float(value) for name, value in told.get("metrics", {}).items() if _is_number(value)},
        pinned=(folder / PIN).exists(),
        names=names,
        files=sized,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def pin(folder: Path, name: str, *, pinned: bool) -> None:
    """Set the marker, or take it away."""
    marker = folder / name / PIN
    if pinned:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def is_pinned(checkpoint: Path) -> bool:
    """Whether that checkpoint must not be removed."""
    return (checkpoint / PIN).exists()


def expired(listed: Sequence[Checkpoint], keep: int) -> list[Checkpoint]:
    """Those beyond the newest `keep` that nobody has pinned."""
    return [one for one in listed[keep:] if not one.pinned]


def remove(folder: Path, name: str) -> None:
    """Take the checkpoint away, at once for everybody who looks, with the links to it."""
    for left in folder.glob(".*.removed-*"):  # by somebody who was killed meanwhile
        shutil.rmtree(left, ignore_errors=True)
    hidden = folder / f".{name}.removed-{os.getpid()}"
    (folder / name).rename(hidden)
    for one in folder.glob("[!.]*"):
        if one.is_symlink() and one.readlink().name == name:
            one.unlink()
    shutil.rmtree(hidden, ignore_errors=True)

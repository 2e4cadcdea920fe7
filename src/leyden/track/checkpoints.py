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
    damaged: bool = False  # the manifest cannot be read, or files that it names are missing or of another size


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
    sizes = {one.path: one.size_bytes for one in sized}
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
        damaged=step < 0 or any(sizes.get(name) != size for name, size in _told_sizes(told).items()),
    )


def _told_sizes(told: dict[str, Any]) -> dict[str, int]:
    """As a Trainer's manifest has them; that of a program of its own may say nothing of its files."""
    files = told.get("files")
    named = files.items() if isinstance(files, dict) else ()
    return {name: one["size_bytes"] for name, one in named if isinstance(one, dict) and "size_bytes" in one}


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


def newest(listed: Sequence[Checkpoint], count: int) -> list[Checkpoint]:
    """The first `count` that are whole; of those that are damaged where none is."""
    return ([one for one in listed if not one.damaged] or [*listed])[:count]


def remove(folder: Path, name: str) -> None:
    """Take the checkpoint away, at once for everybody who looks, with the links to it."""
    for left in folder.glob(".*.removed-*"):  # by somebody who was killed meanwhile
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(hide(folder, name), ignore_errors=True)


def hide(folder: Path, name: str) -> Path:
    """The first half of it, which takes no time; what remains is to remove the folder returned."""
    hidden = folder / f".{name}.removed-{os.getpid()}"
    (folder / name).rename(hidden)
    for one in folder.glob("[!.]*"):
        if one.is_symlink() and one.readlink().name == name:
            one.unlink()
    return hidden

"""What is a checkpoint on disk, and when is it whole?

A folder: model.safetensors (weights) and optimizer.safetensors (its tensors, by the parameters' names), neither of
which needs a pickle; training.pt (schedules, callbacks, loop, random numbers of every rank; plain data and tensors,
read with weights_only=True) and manifest.json, which names every file with its size and CRC-32. Where every rank writes
its own part there are several of the first two (model-1-of-4.safetensors, …). It is written beside its place under a
name that begins with a dot, synced, and renamed: whatever happens before the rename, the checkpoints already there stay
as they are and a torn one is never picked up.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

import leyden
from leyden.core.errors import CheckpointError
from leyden.core.process import alive
from leyden.core.units import format_size
from leyden.train.checkpoints.tensorfile import Box, Stamped, Tensors, part_like, shape_of, write_tensors
from leyden.train.hooks import Hooks
from leyden.train.ranks.team import ALONE, Team
from leyden.train.ranks.world import World

FORMAT = 2
MANIFEST, WEIGHTS, OPTIMIZER, TRAINING = "manifest.json", "model.safetensors", "optimizer.safetensors", "training.pt"


@dataclass(kw_only=True)
class Snapshot:
    """Everything a checkpoint keeps; tensors are on the host and belong to it.

    `boxes` says of which tensors this rank has only parts. Read from a folder, tensors come from disk when asked for.
    """

    epoch: int
    step: int
    weights: Mapping[str, Tensor]
    training: dict[str, Any]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    boxes: Mapping[str, Box] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A committed checkpoint, by its manifest; its files have not been read."""

    path: Path
    epoch: int
    step: int
    created_at: float


def write(path: Path, snapshot: Snapshot, team: Team = ALONE, *, fill: Callable[[], None] = lambda: None) -> None:
    """Write the checkpoint to `path`, replacing one that is there; all or nothing, on all of the team's ranks.

    `fill` brings tensors of the snapshot that are not there yet. Collective over the team. Raises CheckpointError, on
    every rank if it failed on one.
    """
    writer = team.gather(f"{socket.gethostname()}-{os.getpid()}")[0]
    draft = path.with_name(f".{path.name}.draft-{writer}")
    try:
        _together(team, lambda: _begin(draft) if team.rank == 0 else {})
        files = _together(team, lambda: _write_files(draft, snapshot, team, fill))
        _together(team, lambda: _commit(draft, path, snapshot, files) if team.rank == 0 else {})
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, Exception) and not isinstance(error, CheckpointError):
            raise _refused(path, error) from error
        raise


def _together(team: Team, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a rank's part of the work; what all parts gave, or what went wrong on any rank, on every rank."""
    done: dict[str, Any] = {}
    failed: Exception | None = None
    try:
        done = work()
    except Exception as error:
        failed = error
    everyone = team.gather((done, failed and str(failed)))
    if failed is not None:
        raise failed
    for rank, (_, why) in enumerate(everyone):
        if why is not None:
            raise OSError(f"rank {rank}: {why}")
    return {name: stamp for part, _ in everyone for name, stamp in part.items()}


def _begin(draft: Path) -> dict[str, Any]:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return {}


def _write_files(draft: Path, snapshot: Snapshot, team: Team, fill: Callable[[], None]) -> dict[str, Any]:
    """This rank's files; their stamps by name."""
    fill()
    files: dict[str, Any] = {}
    for name, tensors in ((WEIGHTS, snapshot.weights), (OPTIMIZER, snapshot.optimizer)):
        if team.size > 1:
            name = name.replace(".", f"-{team.rank + 1}-of-{team.size}.")  # noqa: PLW2901
        if tensors or name == WEIGHTS:
            files[name] = write_tensors(draft / name, tensors, snapshot.boxes)
    if team.rank == 0:
        with Stamped(draft / TRAINING) as file:
            torch.save(snapshot.training, file)  # type: ignore[arg-type]
        files[TRAINING] = file.stamp
    return files


def _commit(draft: Path, path: Path, snapshot: Snapshot, files: dict[str, Any]) -> dict[str, Any]:
    for name in files:
        if not (draft / name).exists():
            raise OSError(f"{name}, written by another rank, is not there: ranks need a file system they share")
    manifest = {
        "format": FORMAT,
        "epoch": snapshot.epoch,
        "step": snapshot.step,
        "metrics": snapshot.metrics,
        "created_at": time.time(),
        "leyden": leyden.__version__,
        "torch": str(torch.__version__),
        "files": files,
    }
    with Stamped(draft / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())
    _sync(draft)
    if path.exists():
        shutil.rmtree(path)
    draft.rename(path)
    _sync(path.parent)
    return {}


def read(path: Path, world: World | Team = ALONE) -> Snapshot:
    """Read a checkpoint and hold it against its checksums; raises CheckpointError naming what is wrong.

    Collective over `world`, whose ranks divide the summing among them.
    A file is taken for a Lightning checkpoint, of which weights and hyperparameters are read.
    """
    if path.is_file():
        return _read_lightning(path)
    manifest = check(path, world)
    try:
        return Snapshot(
            epoch=manifest["epoch"],
            step=manifest["step"],
            metrics=manifest["metrics"],
            weights=_tensors(path, manifest, WEIGHTS),
            optimizer=_tensors(path, manifest, OPTIMIZER),
            training=torch.load(path / TRAINING, map_location="cpu", weights_only=True),
        )
    except (ValueError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None


def check(path: Path, world: World | Team = ALONE) -> dict[str, Any]:
    """The manifest of a whole checkpoint; raises CheckpointError that names the damage and the one before it.

    Collective over `world`.
    """
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
        files = manifest["files"]
    except FileNotFoundError:
        found = "it has no manifest.json" if path.is_dir() else "there is no such folder"
        raise CheckpointError(asked=f"checkpoint {path}", found=found, do=_offer(path)) from None
    except (ValueError, KeyError) as error:
        raise _damaged(path, f"manifest.json cannot be read ({error})") from None
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            asked=f"checkpoint {path}",
            found=f"it has format {manifest.get('format')}; this Leyden reads {FORMAT}",
            do="Use the Leyden version named in its manifest.json.",
        )
    mine = sorted(files)[world.rank :: world.size]
    damages = [how for name in mine if (how := _find_damage(path / name, files[name]))]
    for told in world.gather(damages):
        if told:
            raise _damaged(path, told[0])
    return manifest


def committed(folder: Path) -> list[Found]:
    """The checkpoints in a folder, oldest first. Torn ones are not among them; damaged ones may be."""
    found = []
    for manifest in folder.glob(f"[!.]*/{MANIFEST}"):
        if manifest.parent.is_symlink():
            continue  # "last" is another's name
        try:
            told = json.loads(manifest.read_text())
            found.append(
                Found(path=manifest.parent, epoch=told["epoch"], step=told["step"], created_at=told["created_at"])
            )
        except FileNotFoundError:  # its training has just removed it for a newer one
            continue
        except (ValueError, KeyError):  # damaged: `check` says so to who asks for it by name
            with contextlib.suppress(FileNotFoundError):
                found.append(Found(path=manifest.parent, epoch=-1, step=-1, created_at=manifest.stat().st_mtime))
    return sorted(found, key=lambda one: (one.step, one.created_at))


def newest(folder: Path) -> Path | None:
    """The newest committed checkpoint of a folder, whole or damaged; None where there is none."""
    found = sorted(committed(folder), key=lambda one: one.created_at)
    return found[-1].path if found else None


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; says which damaged ones were stepped over."""
    for found in sorted(committed(folder), key=lambda one: one.created_at, reverse=True):
        try:
            check(found.path)
        except CheckpointError as error:
            warnings.warn(f"{error.asked}; {error.found}. It is stepped over.", stacklevel=2)
        else:
            return found.path
    return None


def load_weights(module: torch.nn.Module, snapshot: Snapshot, path: Path, *, strict: bool = True) -> None:
    """Put the weights into the module; raises CheckpointError that lists what does not fit.

    The Module's own `on_load_checkpoint` comes first and may change them, or its layers. Not `strict`: names that only
    one of them has are left alone.
    """
    snapshot = _as_module_wants(module, snapshot)
    own = module.state_dict(keep_vars=True)
    missing = sorted(own.keys() - snapshot.weights.keys())
    unexpected = sorted(snapshot.weights.keys() - own.keys())
    shapes = [
        f"{name}: {value} in the checkpoint, {tuple(own[name].shape)} in the model"
        for name, value in ((name, shape_of(snapshot.weights, name)) for name in snapshot.weights)
        if name in own and tuple(own[name].shape) != value
    ]
    if shapes or (strict and (missing or unexpected)):
        parts = [f"missing {_first(missing)}"] * bool(missing) + [f"unexpected {_first(unexpected)}"] * bool(unexpected)
        parts += [f"other shapes: {_first(shapes)}"] * bool(shapes)
        raise CheckpointError(
            asked=f"the weights of {path} for a {type(module).__name__}",
            found="they are another model's: " + "; ".join(parts),
            do="Build the model with the settings it was trained with.",
        )
    mine = {name: part_like(snapshot.weights, name, own[name]) for name in own if name in snapshot.weights}
    module.load_state_dict(mine, strict=strict)


def _as_module_wants(module: torch.nn.Module, snapshot: Snapshot) -> Snapshot:
    if getattr(type(module), "on_load_checkpoint", Hooks.on_load_checkpoint) is Hooks.on_load_checkpoint:
        return snapshot
    told = {
        "state_dict": {name: snapshot.weights[name] for name in snapshot.weights},
        "epoch": snapshot.epoch,
        "global_step": snapshot.step,
        "hyper_parameters": snapshot.training.get("hyper_parameters", {}),
        **snapshot.training.get("extra", {}),
    }
    module.on_load_checkpoint(told)  # type: ignore[operator]
    return replace(snapshot, weights=told["state_dict"])


def sweep_drafts(folder: Path) -> None:
    """Remove what processes of this node that are gone left half-written."""
    for draft in folder.glob(".*.draft-*"):
        node, _, pid = draft.name.rpartition(".draft-")[2].rpartition("-")
        if node == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(draft, ignore_errors=True)


def _refused(path: Path, error: Exception) -> CheckpointError:
    exists = next((parent for parent in path.parents if parent.exists()), Path("/"))
    free = shutil.disk_usage(exists).free
    before = [one.path.name for one in committed(path.parent)]
    kept = f" {before[-1]}, written before, is whole." if before else ""
    found = f"the disk refused it ({str(error).splitlines()[0]}); {format_size(free)} are free there"
    do = f"Make room, or point default_root_dir or ModelCheckpoint(dirpath=…) elsewhere.{kept}"
    return CheckpointError(asked=f"checkpoint {path} was to be written", found=found, do=do)


def _tensors(path: Path, manifest: Mapping[str, Any], name: str) -> Tensors:
    kind = name.partition(".")[0]
    return Tensors([path / file for file in manifest["files"] if file.startswith(kind)])


def _read_lightning(path: Path) -> Snapshot:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(stored["state_dict"])
    except Exception as error:
        raise CheckpointError(
            asked=f"checkpoint {path}",
            found=f"it is no Lightning checkpoint of plain data ({str(error).splitlines()[0]})",
            do="Give a checkpoint folder of Leyden's, or a .ckpt file that torch.load(weights_only=True) can read.",
        ) from None
    return Snapshot(
        epoch=int(stored.get("epoch", 0)),
        step=int(stored.get("global_step", 0)),
        weights=weights,
        training={"hyper_parameters": dict(stored.get("hyper_parameters", {}))},
    )


def _find_damage(file: Path, stamp: Mapping[str, int]) -> str | None:
    if not file.exists():
        return f"{file.name} is missing"
    now = _stamp(file)
    if now["size_bytes"] != stamp["size_bytes"]:
        return f"{file.name} has {now['size_bytes']} bytes, {stamp['size_bytes']} were written"
    if now["crc32"] != stamp["crc32"]:
        return f"{file.name} has checksum {now['crc32']}, {stamp['crc32']} was written"
    return None


def _stamp(file: Path) -> dict[str, int]:
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return {"size_bytes": file.stat().st_size, "crc32": crc}


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(asked=f"checkpoint {path}", found=f"it is damaged: {how}", do=_offer(path))


def _offer(path: Path) -> str:
    """What else could be used: the newest whole checkpoint beside this one."""
    for other in reversed(committed(path.parent)):
        if other.path != path and other.step >= 0:
            try:
                check(other.path)
            except CheckpointError:
                continue
            return f"The one before it is whole: use ckpt_path={str(other.path)!r} (step {other.step})."
    return "There is no other whole checkpoint beside it; start anew, or give another path."


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

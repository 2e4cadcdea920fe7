"""Is a checkpoint whole or not there, whatever happens to the disk?"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import CheckpointError
from leyden.train.checkpoints import checkpoint
from tests.train.models import Line, loader, same, seeded, weights


def snapshot(step: int = 1, size: int = 1000) -> checkpoint.Snapshot:
    return checkpoint.Snapshot(
        epoch=0, step=step, weights={"w": torch.arange(size, dtype=torch.float32)}, training={"loop": {"step": step}}
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 kB; skipped where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a", snapshot(3))
    back = checkpoint.read(tmp_path / "a")
    assert back.step == 3
    assert torch.equal(back.weights["w"], snapshot().weights["w"])
    assert back.training == {"loop": {"step": 3}}
    assert [one.path.name for one in checkpoint.committed(tmp_path)] == ["a"]


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    shared = torch.randn(100, 100)
    tied = checkpoint.Snapshot(epoch=0, step=0, weights={"in": shared, "out": shared}, training={})
    checkpoint.write(tmp_path / "tied", tied)
    back = checkpoint.read(tmp_path / "tied").weights
    assert torch.equal(back["out"], shared)
    assert (tmp_path / "tied" / checkpoint.WEIGHTS).stat().st_size < 1.5 * shared.numel() * 4


def test_tied_weights_survive_training() -> None:
    class Tied(Line):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 8)
            self.other.weight = next(self.net.parameters())

    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    model = Tied()
    trainer.fit(model, loader())
    fresh = Tied()
    trainer.test(fresh, loader(), ckpt_path="best")
    assert same(weights(model), weights(fresh))


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.TRAINING, checkpoint.MANIFEST])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_is_named_and_the_one_before_offered(tmp_path: Path, name: str, harm: str) -> None:
    checkpoint.write(tmp_path / "good", snapshot(1))
    checkpoint.write(tmp_path / "bad", snapshot(2))
    victim = tmp_path / "bad" / name
    data = bytearray(victim.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 255
        victim.write_bytes(data)
    elif harm == "cut":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(tmp_path / "bad")
    assert name in str(caught.value)
    assert f"use ckpt_path='{tmp_path / 'good'}' (step 1)" in str(caught.value)


def test_fit_names_the_damage_and_what_it_offers_works() -> None:
    saves = leyden.ModelCheckpoint(save_top_k=-1)
    settings: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False}
    first = leyden.Trainer(**settings, callbacks=[saves])
    first.fit(seeded(), loader())
    newest = Path(saves.last_model_path)
    with (newest / checkpoint.WEIGHTS).open("r+b") as file:
        file.seek(200)
        file.write(b"\0\0\0\1")
    with pytest.raises(CheckpointError, match=r"damaged: model\.safetensors") as caught:
        leyden.Trainer(**settings).fit(seeded(), loader(), ckpt_path="last")
    offered = caught.value.do.split("'")[1]
    third = leyden.Trainer(**settings)
    third.fit(seeded(), loader(), ckpt_path=offered)
    assert third.global_step == 16


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        checkpoint.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        checkpoint.read(tmp_path / "empty")


def test_another_models_weights_are_named(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a", snapshot())
    with pytest.raises(CheckpointError, match=r"missing net\.0\.bias.*unexpected w"):
        checkpoint.load_weights(Line(), checkpoint.read(tmp_path / "a"), tmp_path / "a")
    other = checkpoint.Snapshot(epoch=0, step=0, weights=nn.Linear(3, 2).state_dict(), training={})
    with pytest.raises(CheckpointError, match=r"weight: \(2, 3\) in the checkpoint, \(5, 3\) in the model"):
        checkpoint.load_weights(nn.Linear(3, 5), other, tmp_path)


def test_a_full_disk_leaves_the_one_before_whole(small_disk: Path) -> None:
    checkpoint.write(small_disk / "first", snapshot(1, size=30_000))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.write(small_disk / "second", snapshot(2, size=60_000))
    assert "are free there" in str(caught.value)
    assert "first, written before, is whole" in str(caught.value)
    assert [one.name for one in small_disk.iterdir()] == ["first"]
    assert checkpoint.read(small_disk / "first").step == 1


def test_training_outlives_a_full_disk(small_disk: Path) -> None:
    """The disk fills up, a warning says so, room is made, and the next checkpoint is written."""
    filler = small_disk / "filler"
    told: list[str] = []

    class Fill(leyden.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.wait_for_checkpoints()
            if trainer.current_epoch == 1:
                room = os.statvfs(small_disk)
                filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize))
            if trainer.current_epoch == 2:
                told.extend(one.path.name for one in checkpoint.committed(small_disk))
                filler.unlink()

    saves = leyden.ModelCheckpoint(dirpath=small_disk)
    trainer = leyden.Trainer(max_epochs=3, accelerator="cpu", enable_progress_bar=False, callbacks=[Fill(), saves])
    with pytest.warns(UserWarning, match="Training goes on without this checkpoint"):
        trainer.fit(seeded(), loader())
    assert told == ["epoch=1-step=8"]
    assert [one.path.name for one in checkpoint.committed(small_disk)] == ["epoch=3-step=24"]


def test_fit_fails_if_the_very_last_cannot_be_written(small_disk: Path) -> None:
    class Fill(leyden.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            room = os.statvfs(small_disk)
            (small_disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize))

    saves = leyden.ModelCheckpoint(dirpath=small_disk)
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[Fill(), saves])
    with pytest.warns(UserWarning, match="goes on"), pytest.raises(CheckpointError, match="No space left"):
        trainer.fit(seeded(), loader())


def test_drafts_of_dead_processes_are_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    node = socket.gethostname()
    dead = tmp_path / f".a.draft-{node}-{gone.pid}"
    others = [tmp_path / f".b.draft-{node}-{os.getppid()}", tmp_path / f".c.draft-elsewhere-{gone.pid}"]
    for draft in (dead, *others):
        draft.mkdir()
    assert checkpoint.committed(tmp_path) == []
    checkpoint.sweep_drafts(tmp_path)
    assert not dead.exists()
    assert all(draft.exists() for draft in others)

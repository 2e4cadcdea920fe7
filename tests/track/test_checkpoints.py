"""Are checkpoints told as their manifests tell them, and removed all at once?"""

from __future__ import annotations

import json
from pathlib import Path

from leyden.track import checkpoints


def save(folder: Path, step: int, **metrics: float) -> Path:
    path = folder / f"step={step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(100))
    told = {"format": 2, "epoch": 1, "step": step, "metrics": metrics, "created_at": float(step), "files": {}}
    (path / "manifest.json").write_text(json.dumps(told))
    return path


def test_found_newest_first_with_links_and_pins(tmp_path: Path) -> None:
    for step in (10, 30, 20):
        save(tmp_path, step, val_loss=1 / step)
    (tmp_path / "last").symlink_to("step=30")
    (tmp_path / ".step=40.draft-vm-1").mkdir()
    (tmp_path / "step=5").mkdir()
    (tmp_path / "step=5/manifest.json").write_text("{")
    checkpoints.pin(tmp_path, "step=10", pinned=True)
    found = checkpoints.found(tmp_path)
    assert {one.name for one in found if one.step < 0} == {"step=5"}
    whole = [one for one in found if one.step > 0]
    assert [one.step for one in whole] == [30, 20, 10]
    assert (whole[0].names, whole[0].metrics, whole[0].epoch) == (("last",), {"val_loss": 1 / 30}, 1)
    assert [one.pinned for one in whole] == [False, False, True]
    assert {one.path for one in whole[2].files} == {"manifest.json", "model.safetensors"}  # the pin is no part of it
    assert whole[2].size_bytes == 100 + (tmp_path / "step=10/manifest.json").stat().st_size
    checkpoints.pin(tmp_path, "step=10", pinned=False)
    assert not checkpoints.is_pinned(tmp_path / "step=10")


def test_the_newest_are_those_that_are_whole(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
    (tmp_path / "step=40/manifest.json").write_text("{ torn")
    torn = json.loads((tmp_path / "step=30/manifest.json").read_text())
    torn["files"] = {"model.safetensors": {"size_bytes": 12_345, "crc32": 0}}
    (tmp_path / "step=30/manifest.json").write_text(json.dumps(torn))
    found = checkpoints.found(tmp_path)
    assert [one.name for one in found if one.damaged] == ["step=40", "step=30"]
    assert [one.step for one in checkpoints.newest(found, 1)] == [20]
    assert [one.name for one in checkpoints.newest(found[:2], 1)] == ["step=40"]  # none is whole


def test_removed_with_the_links_to_it_and_what_a_killed_remover_left(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    (tmp_path / "last").symlink_to("step=20")
    (tmp_path / ".step=5.removed-1").mkdir()
    checkpoints.remove(tmp_path, "step=20")
    assert [one.name for one in tmp_path.iterdir()] == ["step=10"]

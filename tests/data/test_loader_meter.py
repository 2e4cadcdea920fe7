"""Does the meter tell how long a loop waited, what for, and what would help?"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from leyden.data import Loader, Shards, write_shards
from leyden.data.meter import CAUSES

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Items:
    """Item i is i."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> int:
        return index


def slow(item: int) -> int:
    time.sleep(0.005)
    return item


def test_a_loop_that_waits_is_told_what_for() -> None:
    with Loader(Items(), batch_size=4, transform=slow, workers=1, kind="thread") as loader:
        for _ in loader:
            pass
        found = loader.meter.read()
        assert found.wait_share > 0.9
        assert found.batches == 15
        assert found.samples == 60
        assert found.samples_per_s == pytest.approx(60 / found.seconds)
        assert set(found.causes) == set(CAUSES)
        assert sum(found.causes.values()) == pytest.approx(1)
        assert found.causes["transform"] > 0.8
        assert "transform-bound: 1 thread uses" in found.hint
        assert "more workers" in found.hint


def test_a_loop_that_works_is_not() -> None:
    with Loader(Items(), batch_size=4, transform=slow, workers=2, kind="thread") as loader:
        for step, _ in enumerate(loader):
            if step == 2:
                loader.meter.reset()
            time.sleep(0.03)
        found = loader.meter.read()
    assert found.batches == 12
    assert found.wait_share < 0.2
    assert found.hint == "" or found.wait_share > 0.05


def test_pictures_of_which_little_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crop(sample: Any, rng: np.random.Generator) -> Any:
        return sample["image"][:64, :64]

    raw = _jpeg()
    write_shards(({"image": raw} for _ in range(12)), str(tmp_path), progress=False)
    monkeypatch.setattr("leyden.data.meter.usable_cpus", lambda: 1)
    with Loader(Shards(str(tmp_path)), batch_size=1, transform=crop, workers=1, kind="thread") as loader:
        for step, _ in enumerate(loader):
            assert step > 8 or loader.meter.read().hint == ""  # not yet
        found = loader.meter.read()
    assert found.causes["decode"] > 0.5
    assert found.hint.startswith("decode-bound: 1 thread uses "), found.hint
    assert "% of 1 core; " in found.hint


def _jpeg() -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (640, 960, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()

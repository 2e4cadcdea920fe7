"""Do the drawings get better, in the eyes of a judge who never saw one?"""

from __future__ import annotations

from pathlib import Path

import pytest

from leyden.track.read import read_run
from tests.examples.running import run, size


@pytest.mark.slow
def test_drawings_become_digits(tmp_path: Path) -> None:
    run("gan", tmp_path, "--smoke", "--devices", "1")
    [record] = tmp_path.glob("leyden_runs/*/run.json")
    points = read_run(record.parent)
    recognised, kinds = points["recognised"].values, points["kinds"].values
    assert len(recognised) == 3  # before training, and twice in ten epochs
    assert recognised[0] < 0.02
    assert recognised[-1] > 0.15
    assert kinds[-1] >= 5
    assert len(points["generator_loss"].values) == len(points["critic_loss"].values) == 10 * 28
    pictures = sorted((record.parent / "artifacts").iterdir())
    assert [one.name for one in pictures] == ["epoch=000.png", "epoch=005.png", "epoch=010.png"]
    assert size(pictures[-1]) == (600, 600)

"""Are the scenes what they say they are, and does the net learn to see something in them?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from examples.segmentation.scenes import CLASSES, HEIGHT, WIDTH, colour, render

from tests.examples.running import figures, run, size


def test_a_scene_is_fixed_by_its_index() -> None:
    picture, mask = render(3)
    assert picture.shape == (HEIGHT, WIDTH, 3) == (1216, 1920, 3)
    assert mask.shape == (HEIGHT, WIDTH)
    assert picture.dtype == mask.dtype == np.uint8
    for layer, same, other in zip((picture, mask), render(3), render(4), strict=True):
        assert (layer == same).all()
        assert (layer != other).any()
    assert (render(3, seed=1)[1] != mask).any()
    assert colour(mask).shape == picture.shape


def test_every_class_is_there_and_none_is_told_by_its_colour() -> None:
    scenes = [render(index) for index in range(8)]
    counts = np.sum([np.bincount(mask.ravel(), minlength=len(CLASSES)) for _, mask in scenes], axis=0)
    shares = counts / counts.sum()
    assert (shares > 0.002).all()
    assert (shares < 0.6).all()
    grey = [np.concatenate([picture[mask == label].mean(axis=1) for picture, mask in scenes]) for label in range(9)]
    spread = [np.percentile(one, (10, 90)) for one in grey]
    assert max(low for low, _ in spread) < min(high for _, high in spread)  # they all overlap


@pytest.mark.slow
def test_it_learns_to_see_streets(tmp_path: Path) -> None:
    output = run("segmentation", tmp_path, "--smoke", "--devices", "1")
    [miou] = figures(r"mean intersection over union ([\d.]+)% on 1 whole frames", output)
    assert miou > 15.0  # road alone, everywhere, would be 4
    [sky] = figures(r"sky +([\d.]+)%", output)
    assert sky > 30.0
    [picture] = tmp_path.glob("leyden_runs/*/artifacts/scene.png")
    assert size(picture) == (3 * WIDTH // 2, HEIGHT // 2)  # the net was given a whole frame

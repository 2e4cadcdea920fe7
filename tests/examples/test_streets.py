"""Does depth fit the scene, do shards hold what files hold, and do both teach the same, shards sooner?"""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from examples.segmentation.scenes import CAR, HEIGHT, ROAD, SKY, WIDTH, render, survey
from PIL import Image

from leyden.data import Loader, Sample
from tests.examples.running import figures, run

SCENES = 16


def test_every_pixel_knows_how_far_away_it_is() -> None:
    picture, mask, depth = survey(3)
    for layer, same in zip((picture, mask), render(3), strict=True):
        assert (layer == same).all()
    assert depth.shape == (HEIGHT, WIDTH)
    assert depth.dtype == np.uint16
    assert ((depth == 0) == (mask == SKY)).all()
    # The road is flat: one over its distance grows by the same from row to row.
    rows = [row for row in range(700, HEIGHT) if (mask[row] == ROAD).sum() > 400]
    near = np.array([100 / np.median(depth[row][mask[row] == ROAD]) for row in rows])
    slope, base = np.polyfit(rows, near, 1)
    assert np.abs(near - (slope * np.array(rows) + base)).max() < 0.01 * near.max()
    cars = depth[mask == CAR]
    assert 300 < cars.min() < cars.max() < 13_000  # the nearest begin at 5 m, the last at 110


@pytest.mark.slow
def test_files_and_shards_teach_the_same_and_shards_do_not_keep_the_net_waiting(tmp_path: Path) -> None:
    miou, at_work = {}, {}
    for kind in ("files", "shards"):
        output = run("streets", tmp_path, "--smoke", "--devices", "1", "--workers", "1", "--loader", kind)
        miou[kind], off = figures(r"intersection over union ([\d.]+)%, depth off by (\d+)%", output)
        assert miou[kind] > 10.0  # road alone, everywhere, would be 4
        assert off < 90.0
        at_work[kind] = median(float(found) for found in re.findall(r"net at work ([\d.]+)%", output))
    assert abs(miou["shards"] - miou["files"]) < 10.0
    assert at_work["shards"] > 1.5 * at_work["files"]  # 93 and 20 on two idle cores

    loader = Loader(tmp_path / "streets/shards/train", batch_size=5, transform=_labels, collate=list, workers=0)
    for _ in range(2):
        seen = dict(found for batch in loader for found in batch)
        assert [int(key) for key in sorted(seen)] == list(range(SCENES))  # each scene once
        for key, labels in seen.items():
            stem = tmp_path / f"streets/files/train/{int(key):06d}"
            for name, found in labels.items():
                with Image.open(f"{stem}.{name}.png") as stored:
                    assert np.asarray(stored).tobytes() == found


def _labels(sample: Sample) -> tuple[str, dict[str, bytes]]:
    return sample.key, {name: sample[name].tobytes() for name in ("mask", "depth")}

"""Do both uses of one autoencoder work after a short training?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.running import figures, run, size


@pytest.mark.slow
def test_it_embeds_and_draws(tmp_path: Path) -> None:
    output = run("autoencoder", tmp_path, "--smoke")
    [by_numbers, by_pixels] = figures(
        r"with 1437 labels, .* read ([\d.]+)% of 360 new ones, by 64 pixels ([\d.]+)%", output
    )
    assert by_numbers > 75.0  # chance is 10
    assert by_pixels > 97.0
    [ratio] = figures(r"a drawing is ([\d.]+) times as far", output)
    assert 0.5 < ratio < 1.5  # nearer would be copies; grey noise is 3 times as far
    [picture] = tmp_path.glob("leyden_runs/*/artifacts/drawn.png")
    assert size(picture) == (600, 600)

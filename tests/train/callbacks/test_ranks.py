"""Do callbacks decide the same on every rank? Two real processes on gloo."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from tests import hatchery

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_two_ranks_end_with_the_same_good_weights(tmp_path: Path) -> None:
    """A NaN on rank 1 alone rolls both back; averages and statistics are the same on both, sharded or not.

    What is thawed while training moves, and alike.
    """
    script = Path(__file__).with_name("rank_script.py")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    code, output = hatchery.run([str(script)], cwd=tmp_path, environ=environ)
    assert code == 0, output
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["rollbacks"] == 2
    assert "averages are divided as the weights are" in first["refused"]
    [(copied, resumed_copied), (parted, resumed_parted)] = first["sharded"]
    assert (copied, parted) == (resumed_copied, resumed_parted)
    assert parted == pytest.approx(copied, rel=1e-4, abs=1e-6)
    _, before, after = first["tuned"]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert all(math.isfinite(number) for run in first["weights"] for tensor in run for number in tensor)

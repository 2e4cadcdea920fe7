"""Do two real ranks agree where batches are trained on in other ways, and on what they log?"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import hatchery

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    environ = {**os.environ, "RESULTS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    script = Path(__file__).with_name("ways_script.py")
    code, output = hatchery.run([str(script)], cwd=tmp_path, environ=environ)
    assert code == 0, output
    zero, one = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))

    # A batch that does not fit: each rank takes as many parts as it needs, and both end with the same weights.
    assert zero["auto"]["sizes"] == [8, 4, 4, 4, 4]
    assert one["auto"]["sizes"] == [8, 4, *[2] * 8]
    assert zero["auto"]["weights"] == one["auto"]["weights"] == pytest.approx(zero["plain"], rel=1e-5)

    # Windows of two micro-batches: (1 × 6, 5 × 0 | 2 × 1, 2 × 3), then what is left: (3 × 2 | 1 × 8).
    assert zero["tokens"] == one["tokens"] == {"weight": pytest.approx(1 - (14 / 10) - (14 / 4)), "steps": 2}
    halves = ((6 + 0) / 2 + (1 + 3) / 2) / 2 + (2 + 8) / 2
    assert zero["batches"] == one["batches"] == {"weight": pytest.approx(1 - halves), "steps": 2}

    logged = zero["metrics"]
    shared = {"error", "loss", "largest"}
    assert {name: logged[name] for name in shared} == {name: one["metrics"][name] for name in shared}
    assert logged["error"] == pytest.approx(logged["loss"], rel=1e-6)  # both over all samples of both ranks
    assert logged["largest"] > logged["loss"]
    assert (logged["only_0"], one["metrics"]["only_1"], logged["first"]) == (0.0, 1.0, 0.0)
    assert zero["draw"] != one["draw"]  # dropout and augmentation differ from rank to rank
    assert zero["gathered"] == {"a": [[0.0], [1.0]], "b": [7, 7]}

    same, names, many, nothing = zero["reduced"]
    assert same == [{"a": [0.0, 1.0]}, {"a": [1.0, 1.0]}]
    assert names == [{"m0": [1.0, 1.0]}, {"m1": [1.0, 1.0]}]
    assert (many, nothing) == ([99.0, 2.0], [{}, {}])

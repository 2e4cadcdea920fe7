"""Does Lightning code run on several ranks: shares of combined loaders, words between ranks, one file for all?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    environ = {**os.environ, "RESULTS": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = ROOT / "tests" / "lightning" / "rank_script.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (told(tmp_path, rank) for rank in (0, 1))
    for facts in (one, two):
        assert facts["gathered"] == [0.0, 1.0]
        assert facts["broadcast"] == "from 0"
        assert facts["sum"] == 3.0
        assert (facts["any"], facts["all"]) == (True, False)
        assert facts["kind"] == "DDPStrategy"
        assert facts["node"] == [0, 2, 2]
        assert facts["metrics"]["mean"] == 2.0  # of 0 … 4, each counted once
        assert facts["metrics"]["rank"] == 0.5
    assert one["best"] == two["best"]
    assert one["log_dir"] == two["log_dir"]
    assert [folder.name for folder in (tmp_path / "logs" / "lightning_logs").iterdir()] == ["version_0"]
    assert Path(one["best"]).name == "epoch=0-mean=2.0.ckpt"
    assert (Path(one["best"]) / "manifest.json").exists()
    assert one["weights"] == two["weights"]
    assert sorted(one["seen"]["a"] + two["seen"]["a"]) == [float(number) for number in range(16)]
    assert sorted(set(one["seen"]["b"]) | set(two["seen"]["b"])) == [float(number) for number in range(8)]
    assert not set(one["seen"]["b"]) & set(two["seen"]["b"])
    assert sorted(one["indices"] + two["indices"]) == list(range(6))
    assert (tmp_path / "touched").read_text() == "0"
    assert (Path(one["log_dir"]) / "metrics.csv").exists()


def told(folder: Path, rank: int) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / f"rank{rank}.json").read_text())
    return facts

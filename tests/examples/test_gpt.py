"""Does the GPT example run, alone and sharded, and learn something of Python's bytes?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "examples" / "gpt" / "train.py"


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--devices", "1"], ["--devices", "2", "--strategy", "fsdp"]], ids=["one", "fsdp"])
def test_smoke(tmp_path: Path, args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(TRAIN), "--smoke", *args],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bits = re.search(r"([\d.]+) bits a byte on files the model has never seen", done.stdout)
    assert bits is not None
    assert 3.0 < float(bits.group(1)) < 6.0  # 8 would be knowing nothing
    assert "def main(" in done.stdout

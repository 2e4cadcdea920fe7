"""Does the GPT example run, alone and sharded, and learn something of Python's bytes?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.running import run


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--devices", "1"], ["--devices", "2", "--strategy", "fsdp"]], ids=["one", "fsdp"])
def test_smoke(tmp_path: Path, args: list[str]) -> None:
    output = run("gpt", tmp_path, "--smoke", *args)
    bits = re.search(r"([\d.]+) bits a byte on files the model has never seen", output)
    assert bits is not None
    assert 3.0 < float(bits.group(1)) < 6.0  # 8 would be knowing nothing
    assert "def main(" in output

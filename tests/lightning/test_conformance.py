"""Does Lightning user code do the same under `leyden.lightning`? Scripts run under both; what they found is compared.

Compared are orders of hooks, metrics, names of files, states of the Trainer and the last weights, from the same seeds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SCRIPTS = sorted((HERE / "scripts").glob("*.py"))
Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What every script found, under both packages."""
    pytest.importorskip("lightning")
    folder = tmp_path_factory.mktemp("lightning")
    running = {package: start(package, folder / package) for package in ("lightning", "leyden.lightning")}
    told: dict[str, Found] = {}
    for package, process in running.items():
        words, _ = process.communicate()
        assert process.returncode == 0, words[-3000:]
        told[package] = json.loads((folder / package / "found.json").read_text())
    return told


def start(package: str, folder: Path) -> subprocess.Popen[str]:
    """All scripts under one package, in a process of their own."""
    folder.mkdir()
    command = [sys.executable, str(HERE / "run_scripts.py"), package, str(folder / "found.json"), str(folder)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, *map(str, SCRIPTS)],
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", [one.stem for one in SCRIPTS])
def test_a_script_finds_the_same(found: dict[str, Found], script: str) -> None:
    theirs, ours = found["lightning"][script], found["leyden.lightning"][script]
    assert "error" not in theirs, theirs["error"]
    assert "error" not in ours, f"{ours['error']}\n{ours['words']}"
    assert list(differences(theirs["found"], ours["found"], "")) == []


def differences(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """Where the two differ; numbers may by the rounding of 32 bits."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted({*theirs, *ours}):
            if name in theirs and name in ours:
                yield from differences(theirs[name], ours[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}: only under {'Lightning' if name in theirs else 'Leyden'}"
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif type(theirs) in (int, float) and type(ours) in (int, float):
        if not math.isclose(theirs, ours, rel_tol=1e-5, abs_tol=1e-6) and not (math.isnan(theirs) and math.isnan(ours)):
            yield f"{where}: {theirs} under Lightning, {ours} under Leyden"
    elif theirs != ours:
        yield f"{where}: {theirs} under Lightning, {ours} under Leyden"

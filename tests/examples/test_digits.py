"""Does the main example learn, and does it survive SIGKILL bit for bit?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leyden.track.read import read_run
from leyden.train.checkpoints.checkpoint import committed

TRAIN = Path(__file__).parents[2] / "examples" / "digits" / "train.py"


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *args],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, *args: str) -> str:
    process = start(folder, *args)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 0, output
    return output


def checkpoints(folder: Path) -> list[Path]:
    return [one.path for place in folder.glob("leyden_runs/*/checkpoints") for one in committed(place)]


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["1", "2"])
def test_learns_to_read(tmp_path: Path, devices: str) -> None:
    began = time.monotonic()
    output = run(tmp_path, "--devices", devices)
    accuracy = re.search(r"test accuracy ([\d.]+)%", output)
    assert accuracy is not None, output
    assert float(accuracy.group(1)) >= 97.0
    assert time.monotonic() - began < 60
    best = re.search(r"best checkpoint (.+)", output)
    assert best is not None
    assert (Path(best.group(1)) / "model.safetensors").exists()
    [record] = tmp_path.glob("leyden_runs/*/run.json")
    losses = read_run(record.parent)["train_loss"]
    assert losses.values[0] > 1.5
    assert min(losses.values) < 0.05


@pytest.mark.slow
def test_sigkill_in_mid_epoch_changes_no_bit_of_the_result(tmp_path: Path) -> None:
    """40 steps an epoch, a checkpoint every 7: killed once at least two epochs are past and the next is under way."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    args = ("--max-epochs", "6", "--checkpoint-every", "7", "--devices", "1")
    run(whole, *args)
    process = start(killed, *args)
    try:
        deadline = time.monotonic() + 100
        while not any(_step(path) > 80 and _step(path) % 40 for path in checkpoints(killed)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    step = _step(checkpoints(killed)[-1])
    assert step < 240, "the kill came after the end"
    output = run(killed, *args, "--ckpt-path", "last")
    assert "going on from" in output
    first, second = checkpoints(whole)[-1], checkpoints(killed)[-1]
    assert _step(first) == _step(second) == 240
    weights, others = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    [record] = killed.glob("leyden_runs/*/run.json")
    assert list(read_run(record.parent)["train_loss"].steps) == list(range(240))


def _step(path: Path) -> int:
    return int(path.name.rpartition("=")[2])


def test_example_says_what_it_takes(tmp_path: Path) -> None:
    output = run(tmp_path, "--help")
    assert "--devices" in output
    assert "--ckpt-path" in output

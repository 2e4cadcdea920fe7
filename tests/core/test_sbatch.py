"""Are #SBATCH lines understood as Slurm understands them, and is what cannot be done refused?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leyden.core.errors import SpecError
from leyden.core.job import make_job
from leyden.core.sbatch import read_sbatch


def read(folder: Path, *lines: str) -> dict[str, Any]:
    script = folder / "train.sbatch"
    script.write_text("\n".join(["#!/bin/bash", *lines, "python train.py", "#SBATCH --gpus=8"]) + "\n")
    fields = read_sbatch(script)
    make_job(fields)
    return fields


def test_what_labs_write(tmp_path: Path) -> None:
    fields = read(
        tmp_path,
        "#SBATCH --job-name=vit   # the big one",
        "#SBATCH -t 1-12:00:00",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH -n 2 -c 4",
        "#SBATCH -p gpu --mem=64G --output=%j.out",
        "#SBATCH --dependency=afterok:q7k2:0abc",
        "#SBATCH --requeue",
    )
    assert fields == {
        "command": ["bash", str(tmp_path / "train.sbatch")],
        "name": "vit",
        "gpus": "a100:2",
        "cpus": 8,
        "time": 129_600.0,
        "after": ["q7k2", "0abc"],
        "preempt": {},
    }


def test_gpus_a_task_are_counted(tmp_path: Path) -> None:
    assert read(tmp_path, "#SBATCH --ntasks=4 --gpus-per-task=1")["gpus"] == "4"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("#SBATCH --array=1-10", "--array makes many jobs of one"),
        ("#SBATCH --nodes=4", "asks for several machines"),
        ("#SBATCH --gres=craynetwork:1", "something else than GPUs"),
        ("#SBATCH --dependency=singleton", "--dependency=singleton is not known"),
        ("#SBATCH --nonsense=1", "--nonsense=1 is no option"),
        ("#SBATCH --time", "expected one argument"),
        ("#SBATCH --comment='open", "cannot be read"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, found: str) -> None:
    with pytest.raises(SpecError, match="the #SBATCH lines of") as caught:
        read(tmp_path, line)
    assert found in caught.value.found

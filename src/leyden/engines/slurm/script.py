"""Which batch script runs one attempt, and with which options is it submitted?"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Final

from leyden.engines import record
from leyden.engines.base import Launch

LONGEST_S: Final = 7 * 86_400.0  # of a job that names no limit: there is always one, or nothing could be backfilled
SPARE_S: Final = 120.0  # Slurm's limit comes so much later than ours, which saves a checkpoint first
SAVE: Final = record.SAVE.name.removeprefix("SIG")  # what the batch script is sent: to save and end …
CANCEL: Final = "USR2"  # … or to end for good. TERM comes from Slurm itself, which means the first: see batch_script
SAVES_BEFORE_S: Final = 180  # that long before Slurm's own limit the worker is told to save
_SCRIPT: Final = """#!/bin/sh
{worker} &
worker=$!
trap 'kill -{save} $worker' TERM {save}
trap 'kill -INT $worker' {cancel}
code=0
while kill -0 $worker 2>/dev/null; do wait $worker; code=$?; done
[ -e {outcome} ] || {clear}
exit $code
"""


def options(launch: Launch, *, more: Sequence[str] = (), longest_s: float = LONGEST_S) -> list[str]:
    """What sbatch is told; `more` comes last and wins.

    --no-requeue: Slurm must never start an attempt twice. What it preempts, or loses with a node, our own queue starts
    again, as the next attempt with the next fence.
    """
    limit_s = longest_s if launch.time_s is None else launch.time_s + launch.stop_grace_s + SPARE_S
    own = [
        f"--job-name=leyden-{launch.job_id}-a{launch.number}",
        *("--nodes=1", "--ntasks=1", f"--cpus-per-task={launch.cpus}"),
        f"--time={max(1, math.ceil(limit_s / 60))}",
        f"--output={launch.folder / record.LOG}",
        *("--open-mode=append", "--no-requeue", "--export=ALL", "--chdir=/"),
    ]
    if launch.gpus:
        own.append(f"--gres=gpu:{len(launch.gpus)}")
    if launch.time_s is None:
        own.append(f"--signal=B:{record.SAVE.name}@{SAVES_BEFORE_S}")
    return [*own, *more]


def batch_script(launch: Launch, python: str) -> str:
    """The worker, under a shell that passes on signals and clears up after it.

    Ranks lead sessions of their own: where Slurm tracks processes by their parents (proctrack/linuxproc), those of a
    worker that was killed, as by the kernel for its memory, would hold the node's GPUs beside the next job.
    Slurm's own TERM, which all processes of the job may get, is no wish to end (Launch.term_saves).
    """
    worker = shlex.join([python, "-P", "-m", "leyden.worker", str(launch.folder)])
    clear = shlex.join([python, "-P", "-m", "leyden.engines.leftovers", str(launch.folder), launch.engine_ref])
    outcome = shlex.quote(str(launch.folder / record.OUTCOME))
    return _SCRIPT.format(worker=worker, clear=clear, outcome=outcome, save=SAVE, cancel=CANCEL)

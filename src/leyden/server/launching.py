"""What does a submitted job leave on disk, and what does an engine get told to run?

The submitter's environment may hold secrets: it lies in files of mode 600 only, never in the database or in an answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, final

from leyden.core.devices import index_of
from leyden.core.home import Home
from leyden.core.job import Job
from leyden.engines.base import Launch
from leyden.engines.record import replace
from leyden.jobs.keeper import SAVE_GRACE_S
from leyden.jobs.rows import AttemptRow, JobRow
from leyden.server.prices import Prices
from leyden.server.tokens import Tokens
from leyden.track.checkpoints import FOLDER, found

# Held by who decides by a file that is there, until it is safe from cleaning, and by who cleans: one server a home.
HOLD: Final = threading.Lock()


def keep_environ(home: Home, environ: Mapping[str, str]) -> str:
    """Keep a submitter's environment under its hash, which is returned; a thousand jobs of one batch share it."""
    text = json.dumps(dict(environ), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()
    if not renew(_environ_file(home, name)):
        _environ_file(home, name).parent.mkdir(exist_ok=True, mode=0o700)
        replace(_environ_file(home, name), text)
    return name


def make_run(run_dir: Path, row: JobRow, job: Job) -> None:
    """Make the run's folder, unless it is there."""
    if (run_dir / "run.json").exists():
        return
    for folder in ("logs", "metrics", "checkpoints", "artifacts"):
        (run_dir / folder).mkdir(parents=True, exist_ok=True)
    about = {"id": row.id, "name": row.name, "user": row.user, "created_at": row.created_at, "argv": list(job.argv)}
    replace(run_dir / "run.json", json.dumps(about))


@final
@dataclass(frozen=True, kw_only=True)
class Launching:
    """Turns what is on record into what an engine runs."""

    home: Home
    url: str
    tokens: Tokens
    stop_grace_s: float
    prices: Prices
    attempts: Callable[[str], Sequence[AttemptRow]]  # of a job, this one too
    trial: Callable[[str], tuple[str, str]] = lambda _: ("", "")  # how far a job may train, and by which metrics

    def prepare(self, row: JobRow, attempt: AttemptRow) -> Launch:
        """Everything the worker needs to know. Raises OSError where the run's folder is gone."""
        job = Job.model_validate_json(row.spec)
        run_dir = self.home.runs / row.id
        budget, objective = self.trial(row.id)
        make_run(run_dir, row, job)
        # The first Leyden kept it with the run.
        environ = _environ_file(self.home, row.environ) if row.environ else run_dir / "environ.json"
        gpus = tuple(index_of(name) for name in attempt.devices if name.startswith("gpu:"))
        return Launch(
            engine_ref=attempt.engine_ref,
            job_id=row.id,
            number=attempt.number,
            uid=attempt.uid,
            fence=attempt.fence,
            token=self.tokens.attempt(attempt.uid),
            api_url=self.url,
            argv=job.argv,
            run_dir=str(run_dir),
            code=str(code_file(self.home, row.code)) if row.code else "",
            cwd=row.cwd,
            submit_dir=row.submit_dir,
            environ=json.loads(environ.read_text()),
            vars=job.vars,
            env=job.env,
            envs=str(self.home.envs),
            python=job.python,
            script=job.script or "",
            gpus=gpus,
            gpu_shared=row.share > 1,
            cpus=len(attempt.devices) - len(gpus),
            ranks=len(gpus) if row.gpus_most else row.ranks,
            # Without a word about ranks one process runs, so that Trainer(devices=2) can start its own.
            distributed=job.ranks is not None or len(gpus) > 1,
            time_s=job.time,
            cost_limit=job.limits.cost,
            budget_s=self._budget_s(job, attempt),
            idle_s=job.limits.idle,
            stall_s=job.limits.stall,
            stop_grace_s=self.stop_grace_s,
            save_signal=job.preempt.signal if job.preempt else "TERM",
            save_grace_s=job.preempt.grace_s if job.preempt else SAVE_GRACE_S,
            resume_from=_newest_checkpoint(run_dir) or row.resume_from,
            warm=job.warm,
            budget=budget,
            objective=objective,
        )

    def _budget_s(self, job: Job, attempt: AttemptRow) -> float | None:
        if job.limits.cost is None:
            return None
        before = [one for one in self.attempts(attempt.job_id) if one.uid != attempt.uid]
        seconds = self.prices.budget_s(job.limits.cost, attempt, before)
        return None if seconds == inf else seconds


def _newest_checkpoint(run_dir: Path) -> str:
    """The newest of the attempts before; whether it is whole is for the program to see."""
    saved = found(run_dir / FOLDER)
    return str(run_dir / FOLDER / saved[0].name) if saved else ""


def environs(home: Home) -> Path:
    """Where submitters' environments lie."""
    return home.root / "environs"


def _environ_file(home: Home, name: str) -> Path:
    return environs(home) / f"{name}.json"


def renew(file: Path) -> bool:
    """Whether it is there; if so, it is not cleaned away within the next day, as a job may come of it (waste.py)."""
    with HOLD, contextlib.suppress(FileNotFoundError):
        os.utime(file)
        return True
    return False


def code_file(home: Home, sha256: str) -> Path:
    """Where a captured tree lies."""
    return home.code / f"{sha256}.tar.gz"

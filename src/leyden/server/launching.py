"""What does a submitted job leave on disk, and what does an engine get told to run?

The submitter's environment may hold secrets: it lies in files of mode 600 only, never in the database or in an answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from leyden.core.home import Home
from leyden.core.job import Job
from leyden.engines.base import Launch
from leyden.engines.record import replace
from leyden.jobs.rows import AttemptRow, JobRow
from leyden.server.tokens import Tokens

_ENVIRON = "environ.json"


def write_run(run_dir: Path, row: JobRow, job: Job, environ: dict[str, str]) -> None:
    """Make the run's folder."""
    for folder in ("logs", "metrics", "checkpoints", "artifacts"):
        (run_dir / folder).mkdir(parents=True, exist_ok=True)
    about = {"id": row.id, "name": row.name, "user": row.user, "created_at": row.created_at, "argv": list(job.argv)}
    replace(run_dir / "run.json", json.dumps(about))
    replace(run_dir / _ENVIRON, json.dumps(environ))


@final
@dataclass(frozen=True, kw_only=True)
class Launching:
    """Turns what is on record into what an engine runs."""

    home: Home
    url: str
    tokens: Tokens
    stop_grace_s: float

    def prepare(self, row: JobRow, attempt: AttemptRow) -> Launch:
        """Everything the worker needs to know. Raises OSError where the run's folder is gone."""
        job = Job.model_validate_json(row.spec)
        run_dir = self.home.runs / row.id
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
            environ=json.loads((run_dir / _ENVIRON).read_text()),
            vars=job.vars,
            gpus=tuple(int(name.partition(":")[2]) for name in attempt.devices if name.startswith("gpu:")),
            cpus=row.cpus,
            ranks=row.ranks,
            # Without a word about ranks one process runs, so that Trainer(devices=2) can start its own.
            distributed=job.ranks is not None or row.gpus > 1,
            time_s=job.time,
            stop_grace_s=self.stop_grace_s,
        )


def code_file(home: Home, sha256: str) -> Path:
    """Where a captured tree lies."""
    return home.code / f"{sha256}.tar.gz"

"""What may requests carry? Unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from leyden.engines.base import Ending, Outcome


class Body(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class From(Body):
    """Where a job comes from. A `key` seen before names the job made then."""

    code: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    cwd: str = ""
    submit_dir: str = ""
    environ: dict[str, str] = {}
    user: Annotated[str, Field(max_length=120)] = ""
    key: Annotated[str, Field(min_length=8, max_length=120)]


class Submission(From):
    """POST /api/jobs. `job` is checked as a Job of its own, whose errors say more."""

    job: dict[str, Any]


class Batch(From):
    """POST /api/jobs/batch: many jobs of one tree and one environment."""

    jobs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]


class Again(Body):
    """POST /api/jobs/{ref}/retry and /fork: the same once more, from its newest checkpoint or from that of a step.

    `set` changes arguments of the script: {"lr": "0.1"} replaces or adds `--lr 0.1`.
    """

    key: Annotated[str, Field(min_length=8, max_length=120)]
    user: Annotated[str, Field(max_length=120)] = ""
    step: Annotated[int, Field(ge=0)] | None = None
    set: dict[str, str] = {}


class OutcomeBody(Body):
    """How an attempt ended, as its worker tells it."""

    kind: Ending
    message: str
    ended_at: float
    started_at: float | None = None
    exit_code: int | None = None

    def plain(self) -> Outcome:
        """Without pydantic."""
        return Outcome(**self.model_dump())


class Report(Body):
    """POST /api/attempts/{uid}/report."""

    fence: int
    kind: Literal["started", "heartbeat", "ended"]
    outcome: OutcomeBody | None = None


class QuotaBody(Body):
    """PUT /api/quotas/{user}. None is no limit."""

    gpus: Annotated[int, Field(ge=0)] | None = None
    cpus: Annotated[int, Field(ge=0)] | None = None


_ALL = (Submission, Batch, Again, Report, OutcomeBody, QuotaBody)
KNOWN = {name for kind in _ALL for name in kind.model_fields}

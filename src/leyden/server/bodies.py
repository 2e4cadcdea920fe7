"""What may requests carry? Unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from leyden.engines.base import Ending, Outcome


class Body(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Submission(Body):
    """POST /api/jobs. `job` is checked as a Job of its own, whose errors say more."""

    job: dict[str, Any]
    code: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    cwd: str = ""
    submit_dir: str = ""
    environ: dict[str, str] = {}
    user: Annotated[str, Field(max_length=120)] = ""
    key: Annotated[str, Field(min_length=8, max_length=120)]


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


KNOWN = {*Submission.model_fields, *Report.model_fields, *OutcomeBody.model_fields}

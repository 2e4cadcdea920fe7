"""What may requests carry, and what do answers hold that is no view of leyden.core?

Unknown keys are errors, and so is what no database or no program could hold: PostgreSQL's texts, and the arguments of
programs, hold no NUL; JSON and UTF-8 know no half of a surrogate pair; a whole number ends where the database's does.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from leyden.core.views import EventView
from leyden.engines.base import Ending, Outcome

INT: Final = 2**31 - 1  # the database's
BIG: Final = 2**63 - 1
TEXT: Final = r"^[^\x00]*$"
_DEEPEST: Final = 20

Text = Annotated[str, Field(pattern=TEXT)]
User = Annotated[str, Field(max_length=120, pattern=TEXT, description="Whose job it is: a name, not a proof.")]
Key = Annotated[str, Field(min_length=8, max_length=120, pattern=TEXT, description="Of the request: unique to it.")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Ref = Annotated[
    str,
    Path(
        min_length=1,
        max_length=120,
        pattern=TEXT,
        description='A job: its id, a unique ending or beginning of that, the newest of a name, or "last".',
    ),
]
FilePath = Annotated[str, Path(description="Of a file, with slashes.")]


def _check(value: Any, depth: int = 0) -> None:
    """Raise where a job could not be put on record."""
    match value:
        case str():
            if "\0" in value or _half(value):
                raise PydanticCustomError("text", "a text holds NUL, or what is no UTF-8")
        case float() if not math.isfinite(value):
            raise PydanticCustomError("number", "a number is no finite number")
        case int() if abs(value) > BIG:
            raise PydanticCustomError("number", "a whole number is too large")
        case dict() | list():
            if depth > _DEEPEST:
                raise PydanticCustomError("depth", "it is nested too deeply")
            for one in (*value, *value.values()) if isinstance(value, dict) else value:
                _check(one, depth + 1)


def _half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    _check(fields)
    return fields


def _fit_for_a_process(environ: dict[str, str]) -> dict[str, str]:
    """Bytes that are no UTF-8 may come, as Python writes them; names as no system knows them may not."""
    for name, value in environ.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise PydanticCustomError("variable", "a variable has no name, or = in its name, or NUL")
        os.fsencode(name + value)
    return environ


Fields = Annotated[dict[str, Any], AfterValidator(_checked)]
Environ = Annotated[dict[str, str], AfterValidator(_fit_for_a_process)]


class Body(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class From(Body):
    """Where a job comes from. A `key` seen before names the job made then."""

    code: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description="The captured tree's SHA-256.")] = ""
    cwd: Annotated[Text, Field(description="Where it starts: a folder of the tree, or an absolute one.")] = ""
    submit_dir: Annotated[Text, Field(description="The folder of the one who submits.")] = ""
    environ: Environ = {}
    user: User = ""
    key: Key


class Submission(From):
    """POST /api/jobs. `job` is checked as a Job of its own, whose errors say more."""

    job: Fields


class Batch(From):
    """POST /api/jobs/batch: many jobs of one tree and one environment."""

    jobs: Annotated[list[Fields], Field(min_length=1, max_length=10_000)]


class Again(Body):
    """POST /api/jobs/{ref}/retry and /fork: the same once more, from its newest checkpoint or from that of a step.

    `set` changes arguments of the script: {"lr": "0.1"} replaces or adds `--lr 0.1`.
    """

    key: Key
    user: User = ""
    step: Annotated[int, Field(ge=0, le=BIG)] | None = None
    set: dict[Text, Text] = {}


class OutcomeBody(Body):
    """How an attempt ended, as its worker tells it."""

    kind: Ending
    message: Text
    ended_at: Number
    started_at: Number | None = None
    exit_code: Annotated[int, Field(ge=-INT, le=INT)] | None = None

    def plain(self) -> Outcome:
        """Without pydantic."""
        return Outcome(**self.model_dump())


class Report(Body):
    """POST /api/attempts/{uid}/report."""

    fence: Annotated[int, Field(ge=0, le=BIG)]
    kind: Literal["started", "heartbeat", "ended"]
    started_at: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    pid: Annotated[int, Field(ge=1, le=INT)] | None = None  # of rank 0
    outcome: OutcomeBody | None = None


class SweepSubmission(From):
    """POST /api/sweeps. `job` and `sweep` are checked as a Job and a Sweep of their own, whose errors say more."""

    job: Fields
    sweep: Fields


class SweepChanges(Body):
    """POST /api/sweeps/{ref}/resume: limits that are other ones from now on. `time`, in seconds, counts from now."""

    trials: Annotated[int, Field(ge=1, le=100_000)] | None = None
    time: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    target: Number | None = None
    max_failures: Annotated[int, Field(ge=0, le=INT)] | None = None


class Rung(Body):
    """POST /api/attempts/{uid}/rung: values of metrics at so many epochs or steps; null is no number."""

    fence: Annotated[int, Field(ge=0, le=BIG)]
    resource: Annotated[float, Field(ge=0, le=BIG, allow_inf_nan=False)]
    values: dict[Text, Number | None]


class QuotaBody(Body):
    """PUT /api/quotas/{user}. None is no limit."""

    gpus: Annotated[int, Field(ge=0, le=INT)] | None = None
    cpus: Annotated[int, Field(ge=0, le=INT)] | None = None


_ALL = (Submission, Batch, Again, Report, OutcomeBody, QuotaBody, SweepSubmission, SweepChanges, Rung)
KNOWN = {name for kind in _ALL for name in kind.model_fields}


@dataclass(frozen=True, kw_only=True)
class ErrorView:
    """Why something could not be done."""

    error: str  # a class of leyden.core.errors
    asked: str
    found: str
    do: str


@dataclass(frozen=True, kw_only=True)
class NumberedEventView(EventView):
    """The same of any job; numbers grow."""

    id: int
    job_id: str

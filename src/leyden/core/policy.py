"""By which rules is a job tried again, stopped, or asked to make way?

Durations are written "90s", "10m" or "1h30m", or as seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from leyden.core.errors import SpecError
from leyden.core.units import parse_duration


def _seconds(value: object) -> object:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except SpecError:  # pydantic names the key
        raise PydanticCustomError("duration", "that is no duration like 90s, 30m, 1h30m, 2d or 1:30:00") from None


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_seconds)]


class Policy(BaseModel):
    """Base of all: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Retry(Policy):
    """How often a job may fail and be tried again from its newest checkpoint.

    `infra` counts what is not the program's fault (a lost worker, a rank that hangs), `user` a program that fails.
    A program that exits with 75 asks to be tried again and counts as neither.
    """

    infra: Annotated[int, Field(ge=0, le=1000)] = 100
    user: Annotated[int, Field(ge=0, le=1000)] = 0


class Preempt(Policy):
    """The job may be interrupted for one of higher priority: it gets `signal`, and `grace_s` to save a checkpoint."""

    grace_s: Seconds = 30.0
    signal: Literal["TERM", "USR1", "USR2"] = "TERM"


class Limits(Policy):
    """When a job is stopped though it has not asked for it.

    `idle`: no GPU of it did anything for that long. `stall`: it finished no training step and printed
    nothing for that long. `cost`: all its attempts together cost as much, by the prices that the server was told.
    """

    idle: Seconds | None = None
    stall: Seconds | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

"""By which rules is a job tried again, stopped, or asked to make way?

Durations are written "90s", "10m" or "1h30m", or as seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from leyden.core.errors import SpecError, nearest
from leyden.core.units import parse_duration


def _seconds(value: object) -> object:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except SpecError:  # pydantic names the key
        raise PydanticCustomError("duration", "that is no duration like 90s, 30m, 1h30m, 2d or 1:30:00") from None


Model = TypeVar("Model", bound=BaseModel)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_seconds)]


def checked(kind: type[Model], fields: Mapping[str, Any], *, noun: str, source: str) -> Model:
    """The fields as a Job, or a Sweep; raises SpecError naming `source`, the key and what to do."""
    for key in fields:
        if key not in kind.model_fields:
            raise SpecError(
                asked=f"{source} has a key {key!r}",
                found=f"a {noun} has no such key",
                do=f"Check it: {nearest(key, kind.model_fields)}",
            )
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise SpecError(
            asked=f"{source} sets {where} to {first['input']!r}",
            found=first["msg"][0].lower() + first["msg"][1:],
            do=f"Correct {where}.",
        ) from None


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

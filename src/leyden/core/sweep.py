"""What did the user ask to be searched? `Sweep` is the policy beside a `Job`: in Python, in a job file, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from leyden.core.errors import SpecError
from leyden.core.policy import Seconds, checked


class Strategy(StrEnum):
    """How trials are chosen, and how far each goes."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"
    CMAES = "cmaes"
    GP = "gp"
    ASHA = "asha"
    HYPERBAND = "hyperband"
    PBT = "pbt"

    @property
    def has_rungs(self) -> bool:
        """Whether trials pause on their way, and only some go on."""
        return self in {Strategy.ASHA, Strategy.HYPERBAND, Strategy.PBT}


class Goal(StrEnum):
    """Which way is better."""

    MIN = "min"
    MAX = "max"


_OLD_NAMES = {"grid_search": "grid", "random_search": "random"}  # Grid.ai's
_RUNG_KEYS = ("resource", "min_resource", "max_resource", "eta", "sampler")


class Metric(BaseModel):
    """What is to become small, or large."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=500)]
    goal: Goal = Goal.MIN

    def sign(self, value: float) -> float:
        """The value as something that is to become small."""
        return -value if self.goal is Goal.MAX else value

    def __str__(self) -> str:
        return f"{self.name}:{self.goal}"


def parse_metric(text: str) -> Metric:
    """A metric from "val_loss:min".

    >>> parse_metric("val/accuracy:max").goal, parse_metric("val_loss").goal
    (<Goal.MAX: 'max'>, <Goal.MIN: 'min'>)
    """
    name, _, goal = text.strip().rpartition(":")
    if not name:
        name, goal = goal, Goal.MIN
    if goal not in set(Goal) or not name:
        raise SpecError(
            asked=f"metric {text!r}", found=f"{goal!r} is neither min nor max", do="Write e.g. val_loss:min."
        )
    return Metric(name=name, goal=Goal(goal))


class Sweep(BaseModel):
    """How to search. What varies stands in the job's arguments, as in `--lr "loguniform(1e-4,1e-1)"`, or in `space`.

    `trials`: how many are started at most (None: all points of a grid). `parallel`: how many at a time (None: as many
    as there is room for). `per_gpu`: so many share one GPU. Trials are paused at rungs `min_resource`,
    `min_resource·eta`, … up to `max_resource`, counted in epochs or steps. `max_failures`: more failed trials end it.
    `time`, `cost` and `target` (a value of the first metric) end it early. `sampler` chooses values under asha and
    hyperband. Several metrics: the trials that no other one beats in all of them are the best.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = Strategy.RANDOM
    metric: tuple[Metric, ...] = ()
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = None
    parallel: Annotated[int, Field(ge=1, le=10_000)] | None = None
    per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    resource: Annotated[str, Field(pattern=r"^(epoch|step)$")] = "epoch"
    min_resource: Annotated[int, Field(ge=1, le=10**9)] = 1
    max_resource: Annotated[int, Field(ge=1, le=10**9)] | None = None
    eta: Annotated[int, Field(ge=2, le=100)] = 3
    sampler: Annotated[str, Field(pattern=r"^(random|tpe|cmaes|gp)$")] = "random"
    max_failures: Annotated[int, Field(ge=0)] | None = None
    time: Seconds | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None
    space: dict[str, str] = {}
    rows: tuple[dict[str, str], ...] = ()

    @field_validator("strategy", mode="before")
    @classmethod
    def _known_as(cls, value: object) -> object:
        return _OLD_NAMES.get(value, value) if isinstance(value, str) else value

    @field_validator("metric", mode="before")
    @classmethod
    def _metrics(cls, value: object) -> object:
        """One text, several with commas, or a list of them."""
        if isinstance(value, str):
            value = [one for one in value.split(",") if one.strip()]
        if isinstance(value, list | tuple):
            return tuple(parse_metric(one) if isinstance(one, str) else one for one in value)
        return value

    @field_validator("space", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        """Lists of a job file as the text that says the same."""
        if not isinstance(value, Mapping):
            return value
        return {str(name): as_text(one) for name, one in value.items()}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Keys that cannot both be meant."""
        needs = self.strategy not in {Strategy.GRID, Strategy.RANDOM}
        if (needs or self.target is not None) and not self.metric:
            what = f"strategy {self.strategy}" if needs else "a target"
            raise SpecError(asked=what, found="no metric says what is better", do="Give --metric val_loss:min.")
        if self.strategy.has_rungs and self.max_resource is None:
            raise SpecError(
                asked=f"strategy {self.strategy}",
                found=f"it must know how far the best trials train, in {self.resource}s",
                do=f"Give --max-{self.resource}s 27, and --min-{self.resource}s for the first rung.",
            )
        if self.max_resource is not None and self.max_resource < self.min_resource:
            raise SpecError(
                asked=f"trials train from {self.min_resource} to {self.max_resource} {self.resource}s",
                found="the first rung lies beyond the last",
                do="Swap them.",
            )
        if self.strategy.has_rungs and len(self.metric) > 1:
            raise SpecError(
                asked=f"strategy {self.strategy} with {len(self.metric)} metrics",
                found="rungs compare trials by one",
                do="Give one metric, or use --strategy tpe.",
            )
        given = [key for key in _RUNG_KEYS if getattr(self, key) != type(self).model_fields[key].default]
        if given and not self.strategy.has_rungs:
            raise SpecError(
                asked=f"strategy {self.strategy} with {given[0]}",
                found="its trials are never paused",
                do=f"Leave {given[0]} out, or use --strategy asha.",
            )
        return self


def make_sweep(fields: Mapping[str, Any], *, source: str = "the sweep") -> Sweep:
    """A Sweep from plain data; raises SpecError naming `source`, the key and what to do."""
    return checked(Sweep, fields, noun="sweep", source=source)


def as_text(value: object) -> str:
    """A value of a job file's space as the expression that says the same.

    >>> as_text([32, "a b", True]), as_text("uniform(0, 1)")
    ("[32, 'a b', True]", 'uniform(0, 1)')
    """
    return repr(list(value)) if isinstance(value, list | tuple) else str(value)

"""Which callbacks does a Trainer have, and in which order?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from leyden.core.errors import ConfigurationError
from leyden.track import trial
from leyden.train.callbacks.base import Callback
from leyden.train.callbacks.model_checkpoint import ModelCheckpoint
from leyden.train.callbacks.model_summary import ModelSummary
from leyden.train.callbacks.rungs import Rungs
from leyden.train.callbacks.timer import Timer

if TYPE_CHECKING:
    from leyden.train.module import Module


class MaxTime(Timer):
    """What `max_time` asks for, beside any Timer that is given."""


def arrange(
    callbacks: Sequence[Callback] | Callback | None,
    time_s: float | None = None,
    *,
    saving: bool,
    summary: bool = False,
    pausing: bool = False,
) -> list[Callback]:
    """The callbacks as a list, with those that arguments of the Trainer ask for, and what pauses a trial of a sweep.

    ModelCheckpoints come late, to save the others' state; what pauses comes after them, to find what they saved.
    Raises ConfigurationError where two would share a state.
    """
    given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
    if time_s is not None:
        given.append(MaxTime({"seconds": time_s}))
    if summary and not any(isinstance(one, ModelSummary) for one in given):
        given.append(ModelSummary())
    if saving and not any(isinstance(one, ModelCheckpoint) for one in given):
        given.append(ModelCheckpoint())
    if pausing and (mine := trial.current()) is not None:
        given.append(Rungs(mine))
    return _checked(given)


def bring_along(callbacks: list[Callback], module: Module) -> list[Callback]:
    """The callbacks, with those of `module.configure_callbacks()`: each takes the place of given ones of its type."""
    brought = module.configure_callbacks() or []
    brought = [brought] if isinstance(brought, Callback) else list(brought)
    if not brought:
        return callbacks
    kinds = {type(one) for one in brought}
    return _checked([one for one in callbacks if type(one) not in kinds] + brought)


def _checked(given: list[Callback]) -> list[Callback]:
    keys = [one.state_key for one in given if type(one).state_dict is not Callback.state_dict]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigurationError(
                asked=f"two callbacks with the state key {key!r}",
                found="a checkpoint would keep the state of one of them only",
                do="Give one of them a state_key of its own (override the property), or leave one out.",
            )
    return sorted(given, key=lambda one: isinstance(one, ModelCheckpoint) + 2 * isinstance(one, Rungs))

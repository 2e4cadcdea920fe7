"""How long is "10ep", "5000step" or "3h"? One way to write a length of training, wherever one is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from leyden.core.errors import ConfigurationError, SpecError
from leyden.core.units import parse_duration

_COUNTED = re.compile(r"(\d+)\s*(ep|epochs?|steps?|st)")
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")
_SECONDS = (86_400, 3_600, 60, 1)
_DO = 'Write "10ep", "5000step", "3h", "1h30m" or "DD:HH:MM:SS", or give a timedelta or {"hours": 12}.'


@dataclass(frozen=True, kw_only=True)
class Span:
    """A length of training: so many epochs, optimizer steps, or seconds; the other two are None."""

    epochs: int | None = None
    steps: int | None = None
    time_s: float | None = None


def read_span(given: str | timedelta | Mapping[str, float]) -> Span:
    """The span that is meant; raises ConfigurationError for a string or key that is none.

    >>> read_span("10ep").epochs, read_span("5000step").steps, read_span("3h").time_s
    (10, 5000, 10800.0)
    >>> read_span("00:12:00:00").time_s, read_span({"minutes": 5}).time_s
    (43200.0, 300.0)
    """
    if isinstance(given, timedelta):
        return Span(time_s=given.total_seconds())
    if isinstance(given, Mapping):
        try:
            return Span(time_s=timedelta(**given).total_seconds())
        except TypeError as error:
            raise ConfigurationError(asked=f"a length of training: {given!r}", found=str(error), do=_DO) from None
    text = str(given).strip().lower()
    if counted := _COUNTED.fullmatch(text):
        amount = int(counted.group(1))
        return Span(epochs=amount) if counted.group(2).startswith("ep") else Span(steps=amount)
    if clock := _CLOCK.fullmatch(text):
        return Span(time_s=float(sum(int(part) * unit for part, unit in zip(clock.groups(), _SECONDS, strict=True))))
    try:
        if text.replace(".", "").isdigit():
            raise SpecError(asked="a length", found=text, do="give a unit")
        return Span(time_s=parse_duration(text))
    except SpecError:
        raise ConfigurationError(asked=f"a length of training: {given!r}", found="it is none", do=_DO) from None


def bounds(
    max_epochs: int | None, max_steps: int, max_time: str | timedelta | Mapping[str, float] | None
) -> tuple[int, int, float | None]:
    """(most epochs, most steps, seconds) of a training, whichever comes first; -1 and None mean no such bound.

    Without any bound an endless training would hardly be meant: then it is 1000 epochs, as in Lightning.

    >>> bounds(None, -1, None), bounds(None, 500, None), bounds(20, -1, "10ep"), bounds(None, -1, "3h")
    ((1000, -1, None), (-1, 500, None), (10, -1, None), (-1, -1, 10800.0))
    """
    span = Span() if max_time is None else read_span(max_time)
    bounded = max_steps != -1 or span != Span()
    epochs = max_epochs if max_epochs is not None else -1 if bounded else 1000
    return _least(epochs, span.epochs), _least(max_steps, span.steps), span.time_s


def _least(most: int, also: int | None) -> int:
    if also is None:
        return most
    return also if most == -1 else min(most, also)

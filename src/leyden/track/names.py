"""Which names and values may a row of metrics have, and how does a nested one become flat?

`{"train": {"loss": 0.5}}` is `train/loss`. A name has at most 1 kB, a run 99,000 of them: a program that puts
the step into the name would otherwise fill disk, server and page with series of one point.
"""

from __future__ import annotations

import itertools
import operator
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final, SupportsFloat, SupportsIndex, cast, final

from leyden.core.errors import RecordError

MAX_NAME_BYTES: Final = 1000
MAX_NAMES: Final = 99_000  # of the 100,000 that readers take of a run: the worker has some of its own
DROPPED: Final = "system/dropped_names"  # how many names this rank left out, as a metric of its own
_DEEPEST: Final = 32
_BIGGEST: Final = 1 << 63

Metrics = Mapping[str, Any]  # numbers, one-element tensors, or such mappings again
Row = dict[str, SupportsFloat]


@final
class Names:
    """The names one rank has used; `known` is asked at every row, the rest only for names that are new."""

    def __init__(self, most: int = MAX_NAMES) -> None:
        self.known: set[str] = set()
        self._most = most
        self._dropped: set[int] = set()

    def admit(self, row: Mapping[str, SupportsFloat]) -> Mapping[str, SupportsFloat]:
        """The row without names that are one too many. Raises RecordError for what is no name."""
        new = row.keys() - self.known
        taken = new
        if len(new) > (room := self._most - len(self.known)):
            taken = set(itertools.islice((name for name in row if name in new), room))  # those that come first
        for name in taken:
            check_name(name, "metric")
        self.known |= taken
        return row if taken is new else self._without(row, new - taken)

    def _without(self, row: Mapping[str, SupportsFloat], refused: set[str]) -> Row:
        if not self._dropped:
            warnings.warn(
                f"this run has logged {self._most:,} distinct metric names, as many as are kept; further names, such "
                f"as {min(map(str, refused))[:80]!a}, are left out. Put what counts up into step=, not into the name.",
                stacklevel=4,
            )
        room = self._most - len(self._dropped)  # what is counted saturates, too; hashes are enough to count
        self._dropped.update(itertools.islice(map(hash, refused), room))
        kept = {name: value for name, value in row.items() if name not in refused}
        return {**kept, DROPPED: float(len(self._dropped))}


def flat(metrics: Metrics) -> Row:
    """The row under one level of names, its values as numbers. Raises RecordError for a value that is none.

    >>> flat({"loss": 1, "val": {"acc": 0.5, "top": {"5": True}}})
    {'loss': 1, 'val/acc': 0.5, 'val/top/5': 1.0}
    """
    return dict(_flat(metrics, "", 0))


def _flat(metrics: Metrics, prefix: str, depth: int) -> Iterator[tuple[str, SupportsFloat]]:
    if depth > _DEEPEST:
        asked, found = f"metrics were logged under {prefix[:60]!r}", f"they are nested more than {_DEEPEST} deep"
        raise RecordError(asked=asked, found=found, do="Log a flatter dict.")
    for name, value in metrics.items():
        if not isinstance(name, str):
            check_name(name, "metric")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/", depth + 1)
        else:
            yield prefix + name, number(prefix + name, value)


def number(name: str, value: object) -> SupportsFloat:
    """The value as a number of its own; one that lies on a GPU is copied there and read later, by another thread."""
    if type(value) is float or type(value) is int:
        return value
    detach = getattr(value, "detach", None)
    if detach is not None and getattr(value, "numel", lambda: 0)() == 1:
        tensor: Any = detach()
        if tensor.is_complex():
            raise _no_number(name, value)
        return float(tensor) if tensor.device.type == "cpu" else cast("SupportsFloat", tensor.clone())
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):
        value = cast("Any", value).item()
    if not isinstance(value, SupportsFloat) or detach is not None:
        raise _no_number(name, value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_number(name, value) from error


def as_step(step: SupportsIndex) -> int:
    """The step as a whole number that has room in a frame. Raises RecordError."""
    try:
        whole = operator.index(step)
    except TypeError:
        whole = _BIGGEST
    if not -_BIGGEST <= whole < _BIGGEST:
        asked = f"step={step!r:.60} was given to log"
        raise RecordError(asked=asked, found="a step is a whole number of 64 bits", do="Give step=int(…).")
    return whole


def check_name(name: object, what: str) -> None:
    """Raise RecordError for what is no name."""
    try:
        size = len(name.encode()) if isinstance(name, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_NAME_BYTES:
        found = f"it has {size:,} bytes" if size else "it is empty or no text"
        raise RecordError(
            asked=f"{what} name {str(name)[:80]!a} was logged",
            found=f"{found}; names are text of 1 to {MAX_NAME_BYTES:,} bytes",
            do="Choose a shorter name; long text has a place in log_text." if size else "Choose another name.",
        )


def _no_number(name: str, value: object) -> RecordError:
    shape = getattr(value, "shape", None)
    short = f"a {type(value).__name__} of shape {tuple(shape)}" if shape else f"{value!r:.60} ({type(value).__name__})"
    do = "Log one number a name; for arrays there are log_histogram, log_image and log_table." if shape else ""
    do = do or "Log one number a name; for text there is log_text."
    return RecordError(asked=f"metric {name[:80]!r} was logged", found=f"its value is {short}", do=do)

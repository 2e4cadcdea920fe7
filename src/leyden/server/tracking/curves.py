"""Where do charts get their points from, when many ask for the same runs again and again?

What was read of a run stays in memory for the next request, which reads only what has come since; runs nobody asked for
longest go first when it becomes too much.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from leyden.core.errors import NotFoundError, SpecError, nearest
from leyden.core.run_views import CurveView, Number
from leyden.track.blocks import WORKER, Floats
from leyden.track.points import RunPoints
from leyden.track.pyramid import Curve

BUDGET_BYTES: Final = 512 << 20
MOST_RUNS: Final = 256
MOST_CURVES: Final = 200  # in one answer


@final
class Curves:
    """The points of the runs that were asked for last."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[RunPoints, threading.Lock, set[str]]] = OrderedDict()
        self._sizes: dict[str, int] = {}

    @contextmanager
    def of(self, run_id: str, folder: Path, names: Sequence[str] | None) -> Iterator[RunPoints]:
        """The run's points as they are now, these metrics at least; nobody else uses them meanwhile."""
        with self._lock:
            known = self._kept.get(run_id)
            if known is None:
                known = self._kept[run_id] = (RunPoints(folder), threading.Lock(), set())
            self._kept.move_to_end(run_id)
            points, lock, asked = known
            asked.update(names or ())
        with lock:
            # Of a large run each new name costs a look at all of its frames: one for all who wait here meanwhile.
            points.refresh(None if names is None else frozenset(asked))
            yield points
            size = points.size_bytes
        with self._lock:
            if run_id in self._kept:
                self._sizes[run_id] = size
            while len(self._kept) > 1 and (
                len(self._kept) > MOST_RUNS or sum(self._sizes.values()) > self._budget_bytes
            ):
                gone, *_ = self._kept.popitem(last=False)
                self._sizes.pop(gone, None)

    def forget(self, run_id: str) -> None:
        """The run is gone."""
        with self._lock:
            self._kept.pop(run_id, None)
            self._sizes.pop(run_id, None)


def drawn(
    points: RunPoints, names: Sequence[str], *, most: int, x: str, low: float | None, high: float | None,
    rank: int | None = None, run: str = "",
) -> list[CurveView]:  # fmt: skip
    """Pictures of these metrics, of every rank that logged them. Raises NotFoundError."""
    found: list[CurveView] = []
    known = points.metrics()
    for name in names:
        ranks = [one for one, other in known if other == name]
        if not ranks:
            others = {other for _, other in known}
            raise NotFoundError(
                asked=f"metric {name[:200]!r}",
                found=f"this run has logged {len(others):,} metrics, not this one",
                do=f"Check the name: {nearest(name[:200], sorted(others)[:1000])}" if others else "Wait for it.",
            )
        for one in ranks:
            curve = points.curve(one, name) if rank in (None, shown(one)) else None
            if curve is not None:
                found.append(view(name, one, curve, most=most, x=x, low=low, high=high, run=run))
        if len(found) > MOST_CURVES:
            what = f"{len(names)} metrics of all their ranks were asked for"
            raise SpecError(
                asked=what, found=f"{MOST_CURVES} curves are the most", do="Ask for fewer, or for one rank."
            )
    return found


def view(
    name: str, rank: int, curve: Curve, *, most: int, x: str, low: float | None, high: float | None, run: str = ""
) -> CurveView:
    """The picture of one curve."""
    picture = curve.draw(most, x, low, high)
    groups, single = picture.groups, picture.per == 1
    return CurveView(
        run=run,
        name=name,
        rank=shown(rank),
        x=x,
        count=picture.count,
        level=0 if single else 1 + (picture.per.bit_length() - 1) // 4,
        per=picture.per,
        steps=groups.steps.tolist(),
        times=words(groups.times),
        values=words(groups.mean) if single else [],
        min=[] if single else words(groups.least),
        mean=[] if single else words(groups.mean),
        max=[] if single else words(groups.greatest),
        nan=picture.nan,
        ordered=picture.ordered,
    )


def words(numbers: Floats) -> list[Number]:
    """With NaN and infinities as words."""
    some: list[Number] = numbers.tolist()
    if not math.isfinite(numbers.sum()):  # cheap, and seldom wrong: then it only costs a little more
        return [one if math.isfinite(one) else str(one) for one in some]  # type: ignore[arg-type]
    return some


def shown(rank: int) -> int:
    """The worker is -1."""
    return -1 if rank == WORKER else rank

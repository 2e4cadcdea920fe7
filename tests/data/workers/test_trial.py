"""When is it said that two threads are as good as two processes, and when is nothing said yet?"""

from __future__ import annotations

from typing import Any

from leyden.data.workers.messages import Times
from leyden.data.workers.pool import Pool
from leyden.data.workers.trial import Trial


class Idle:
    """A worker, as far as a trial looks at it."""

    def __init__(self) -> None:
        self.tasks: dict[int, Any] = {}


def trial() -> tuple[Trial, Pool, Idle]:
    pool, other = Pool(depth=2), Idle()
    return Trial(pool, Idle(), other), pool, other  # type: ignore[arg-type]


def feed(tried: Trial, pool: Pool, alone: float, both: float, *, queued: float = 0.0, most: int = 40) -> float | None:
    for _ in range(most):
        elapsed = both if pool.only is None else alone
        scale = tried.saw(Times(elapsed=elapsed, queued=queued * elapsed))
        if scale is not None:
            return scale
    return None


def test_two_threads_against_one() -> None:
    tried, pool, _ = trial()
    assert feed(tried, pool, alone=0.010, both=0.011) == 2 * 0.010 / 0.011
    assert feed(tried, pool, alone=1, both=0.020, most=31) is None
    assert feed(tried, pool, alone=1, both=0.020, most=1) == 1.0  # later they got into each other's way
    assert pool.only is None


def test_it_is_looked_at_again_ever_less_often() -> None:
    tried, pool, _ = trial()
    assert feed(tried, pool, alone=1, both=1) == 2.0
    for batches in (32, 64, 128):
        assert feed(tried, pool, alone=1, both=1, most=batches - 1) is None
        assert feed(tried, pool, alone=1, both=1, most=1) == 2.0


def test_nothing_is_said_while_others_have_the_processors_but_not_for_ever() -> None:
    tried, pool, _ = trial()
    assert feed(tried, pool, alone=0.010, both=0.030, queued=0.5, most=24) is None
    tried, pool, _ = trial()
    assert feed(tried, pool, alone=0.010, both=0.030, queued=0.5, most=100) is not None


def test_what_one_makes_while_the_other_is_still_at_work_does_not_count() -> None:
    tried, pool, other = trial()
    while pool.only is None:
        assert tried.saw(Times(elapsed=0.010)) is None
    other.tasks[7] = None
    assert all(tried.saw(Times(elapsed=9.0)) is None for _ in range(20))
    other.tasks.clear()
    assert tried.saw(Times(elapsed=9.0)) is None  # begun while the other was at work
    assert feed(tried, pool, alone=0.010, both=0.010) == 2.0

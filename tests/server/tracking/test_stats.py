"""Are last, least and greatest values those of the points, and does a snapshot keep them?"""

from __future__ import annotations

import math

import numpy as np

from leyden.server.tracking.stats import RunStats, Shelf
from leyden.track.blocks import MAX_NAMES, WORKER, Block


def block(names: tuple[str, ...], rows: list[list[float]], start: int = 0, at: float = 0.0) -> Block:
    steps = np.arange(start, start + len(rows))
    return Block(names=names, steps=steps, times=at + steps.astype(float), values=np.array(rows, float).T)


def test_values_are_those_of_the_points_and_a_snapshot_keeps_them() -> None:
    stats = RunStats(offsets={"a1-r0.frames": 7}, stamps={"config.json": 3})
    stats.feed(1, 1, block(("a",), [[5.0]]))
    stats.feed(0, 1, block(("a", "b"), [[1.0, 2.0], [math.nan, -3.0], [0.5, math.inf]]))
    stats.feed(0, 1, block(("b",), [[4.0]], start=1, at=-9))  # came late: it is not the last
    stats.feed(WORKER, 1, block(("a", "system/x"), [[8.0, 9.0]]))
    for one in (stats, RunStats.load(stats.dump())):
        assert (one.last("a"), one.last("b"), one.last("system/x"), one.last("c")) == (0.5, math.inf, 9.0, None)
        assert one.points == 10
        found = {(line.rank, line.name): line for line in one.summaries()}
        assert (found[0, "a"].least, found[0, "a"].greatest, found[0, "a"].count) == (0.5, 1.0, 3)
        assert (found[0, "b"].least, found[0, "b"].last_step, found[0, "b"].count) == (-3.0, 2, 4)
        assert found[1, "a"].last == 5.0
        assert (one.offsets, one.stamps, one.exact) == ({"a1-r0.frames": 7}, {"config.json": 3}, True)
    ended = Shelf().last_values(stats.dump())
    assert [ended.last(name) for name in ("a", "b", "system/x", "c")] == [0.5, math.inf, 9.0, None]


def test_names_beyond_the_limit_are_counted_and_left_out() -> None:
    stats = RunStats()
    names = tuple(f"m{i}" for i in range(60_000))
    stats.feed(0, 1, block(names, [[1.0] * len(names)]))
    more = tuple(f"n{i}" for i in range(60_000))
    stats.feed(0, 1, block(more, [[2.0] * len(more)]))
    stats.feed(0, 1, block(("m3", "x"), [[7.0, 7.0]], start=5))
    assert (len(stats.names()), stats.dropped) == (MAX_NAMES, 20_000)
    assert (stats.last("m3"), stats.last("n3"), stats.last("x")) == (7.0, 2.0, None)


def test_a_later_attempt_makes_counts_inexact_which_is_known() -> None:
    stats = RunStats()
    stats.feed(0, 1, block(("a",), [[1.0], [2.0]]))
    stats.feed(0, 2, block(("a",), [[3.0]], start=1, at=50))
    assert (stats.last("a"), stats.exact) == (3.0, False)
    assert stats.dump() == RunStats.load(stats.dump()).dump()


def test_runs_of_one_program_share_their_names() -> None:
    shelf, ended = Shelf(), []
    for number in range(3):
        stats = RunStats()
        stats.feed(0, 1, block(("a", "b"), [[float(number), 1.0]]))
        ended.append(shelf.last_values(stats.dump()))
    assert ended[0].names() is ended[2].names()
    assert [one.last("a") for one in ended] == [0.0, 1.0, 2.0]

"""Are pages of the table right where values are missing, mixed or NaN, and fast where there are many?"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leyden.core.errors import SpecError
from leyden.core.home import Home
from leyden.jobs.store import Store
from leyden.server.prices import Prices
from leyden.server.tracking.book import Book
from leyden.server.tracking.query import Asked, Queries
from leyden.server.tracking.rows import RunRow, save_runs
from leyden.server.tracking.stats import RunStats
from leyden.track.blocks import Block

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "leyden.db")
    yield one
    one.close()


def row(number: int, metrics: dict[str, float], **fields: object) -> RunRow:
    names, values = tuple(metrics), np.array([list(metrics.values())]).T
    stats = RunStats()
    if names:
        stats.feed(0, 1, Block(names=names, steps=np.array([number]), times=np.array([1.0]), values=values))
    said = {"name": f"run {number}", "user": "ada", "state": "finished", "ended_at": NOW - 10, **fields}
    return RunRow(id=f"{number:010}", created_at=NOW - 100 + number, snapshot=stats.dump(), **said)  # type: ignore[arg-type]


def book_of(store: Store, tmp_path: Path, *rows: RunRow) -> Book:
    store.write(lambda connection: save_runs(connection, rows))
    return Book(Home(tmp_path), store, Prices(), lambda: NOW)


def numbers(queries: Queries, **asked: object) -> list[int]:
    return [int(one.id) for one in queries.page(Asked(**asked)).rows]  # type: ignore[arg-type]


def test_what_is_missing_comes_last_whichever_way_it_is_sorted(store: Store, tmp_path: Path) -> None:
    queries = Queries(
        book_of(
            store,
            tmp_path,
            row(1, {"loss": 2.0}, config={"lr": 0.1, "opt": "sgd"}),
            row(2, {"loss": math.nan}, config={"lr": "auto"}),
            row(3, {}, config={"opt": "adam", "lr": True}),
            row(4, {"loss": -math.inf}, config={"lr": 0.01}, tags=("a", "b")),
            row(5, {"loss": 2.0}, tags=("a",)),
        )
    )
    assert numbers(queries) == [5, 4, 3, 2, 1]
    assert numbers(queries, sort=("loss",)) == [4, 5, 1, 2, 3]
    assert numbers(queries, sort=("-loss",)) == [5, 1, 4, 2, 3]
    assert numbers(queries, sort=("-loss", "created_at")) == [1, 5, 4, 2, 3]
    assert numbers(queries, sort=("lr",)) == [4, 1, 3, 2, 5]
    assert numbers(queries, sort=("opt",)) == [3, 1, 5, 4, 2]
    assert numbers(queries, filter="loss<1 or loss=nan") == [4, 2]
    assert numbers(queries, filter="loss!=2") == [4, 3, 2]
    assert numbers(queries, filter="tag=b or opt=*") == [4, 3, 1]
    assert numbers(queries, filter="lr=true or lr=auto") == [3, 2]
    assert numbers(queries, filter="created_at>97s ended_at<5s duration_s>10s") == [5, 4]
    (one,) = queries.page(Asked(filter="loss=nan", columns=("loss", "lr", "nothing", "tag"))).rows
    assert one.values == {"loss": "nan", "lr": "auto"}
    groups = queries.page(Asked(group=("tag",), columns=("loss", "opt"))).groups
    assert [(one.key["tag"], one.count) for one in groups] == [("", 3), ("a, b", 1), ("a", 1)]
    assert (groups[0].values["loss"].mean, groups[0].values["opt"].count, groups[1].values["loss"].min) == (
        2.0,
        2,
        "-inf",
    )
    with pytest.raises(SpecError, match="no number"):
        queries.page(Asked(filter="loss<x"))


def test_a_page_follows_what_changes(store: Store, tmp_path: Path) -> None:
    book = book_of(store, tmp_path, *(row(number, {"loss": float(number)}) for number in range(1, 6)))
    queries = Queries(book)
    before = queries.page(Asked(sort=("loss",), filter="loss<3"))
    assert before.total == 2
    book.note(row(1, {"loss": 9.0}), None)
    book.note(row(7, {"loss": 0.0, "new": 1.0}, archived=True), None)
    stats = RunStats()
    stats.feed(0, 1, Block(names=("loss",), steps=np.array([0]), times=np.array([1.0]), values=np.array([[1.5]])))
    book.note(row(8, {}, ended_at=None, state="running"), stats)
    assert numbers(queries, sort=("loss",), filter="loss<3") == [8, 2]
    assert numbers(queries, sort=("loss",), filter="loss<3", archived=True) == [7, 8, 2]
    stats.feed(0, 1, Block(names=("loss",), steps=np.array([1]), times=np.array([2.0]), values=np.array([[2.5]])))
    book.touch("0000000008")
    assert numbers(queries, sort=("loss",), filter="loss<3") == [2, 8]
    assert set(book.changed_since(before.version) or ()) == {0, 5, 6}
    book.remove("0000000002")
    assert numbers(queries, sort=("loss",), filter="loss<3") == [8]
    assert [one.name for one in queries.names("", "", archived=True).metrics] == ["loss", "new"]


def told(*places: tuple[float, float], name: str = "progress", attempt: int = 1) -> RunStats:
    """What is known after (time, value)s, counted back from now, a frame each; put on record and read again."""
    stats = RunStats()
    for ago, value in places:
        stats.feed(0, attempt, block(name, ago, value))
    return RunStats.load(stats.dump())


def block(name: str, ago: float, *values: float) -> Block:
    times = NOW - ago + np.arange(len(values), dtype=np.float64)
    return Block(names=("x", name), steps=np.arange(len(values)), times=times, values=np.array([values, values]))


def test_progress_is_what_the_program_says_or_steps_tell_and_the_rest_takes_as_long(
    store: Store, tmp_path: Path
) -> None:
    book = book_of(store, tmp_path)
    book.sync()
    resumed = told((40, 0.0), (20, 0.5))
    resumed.feed(0, 2, block("progress", 1, 0.5, 0.6))
    again = told((40, 0.0), (20, 0.5))
    again.feed(0, 1, block("progress", 1, 0.1, 0.2))
    running: dict[str, object] = {"ended_at": None, "state": "running"}
    for number, stats, config in (  # run n began 100 - n seconds ago
        (1, told((10, 0.25)), {}),  # a quarter in 89 s
        (2, told((50, 1.0), (10, 5.0), name="epoch"), {"trainer": {"max_epochs": 10}}),
        (3, told((10, 5.0), name="step"), {"max_steps": -1}),
        (4, resumed, {}),  # a tenth in a second
        (5, again, {}),
        (6, told((10, 0.25), (9, 0.5), name="system/progress"), {}),  # was to be over seven seconds ago
        (7, told((60, 0.25), (59, 0.5), name="system/progress"), {}),
        (8, told((10, 0.5), attempt=2), {}),
        (9, told((10, 0.0), (9, math.nan)), {}),
    ):
        book.note(row(number, {}, config=config, **running), stats)
    book.note(row(10, {}), told((10, 0.25)))
    said = {int(one.id): (one.progress, one.eta_s and round(one.eta_s)) for one in Queries(book).page(Asked()).rows}
    assert said == {
        1: (0.25, 89 * 3 - 10), 2: (0.5, 40), 3: (None, None), 4: (0.6, 4), 5: (0.2, 8), 6: (0.5, 0.0),
        7: (0.5, None), 8: (0.5, None), 9: (None, None), 10: (0.25, None),
    }  # fmt: skip


def test_a_page_of_many_runs_costs_little(store: Store, tmp_path: Path) -> None:
    """Of 10,000 × 1,000 a page takes 10–40 ms: see the benchmark."""
    names = [f"group/{number}" for number in range(200)]
    rng = np.random.default_rng(0)
    rows = [
        row(number, dict(zip(names, rng.random(200), strict=True)), config={"lr": number}) for number in range(1000)
    ]
    queries = Queries(book_of(store, tmp_path, *rows))
    asked = Asked(filter="group/7<0.5 lr>=100 user=ada", sort=("-group/3",), columns=(*names[:20], "lr"))
    queries.page(asked)
    best = math.inf
    for _ in range(3):
        begun = time.thread_time()
        assert len(queries.page(asked).rows) == 100
        best = min(best, time.thread_time() - begun)
    assert best < 0.05

"""Are logged values kept, grouped and reduced as they should be?"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from leyden.core.errors import ConfigurationError
from leyden.train.logs.logbook import LogBook, batch_size_of


class Rows:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, row: dict[str, float]) -> None:
        self.rows.append((step, row))


def add(book: LogBook, name: str, value: Any, **settings: Any) -> None:
    asked = {"prog_bar": False, "logger": True, "on_step": None, "on_epoch": None, "reduce": "mean", "batch_size": None}
    book.add(name=name, value=value, add_dataloader_idx=True, **(asked | settings))


def alone(item: Any) -> list[Any]:
    return [item]


def test_nothing_crosses_to_the_host_before_the_interval_ends() -> None:
    rows = Rows()
    book = LogBook(training=True, sink=rows)
    for step in range(3):
        book.step = step
        add(book, "loss", torch.tensor(float(step)))
        add(book, "lr", 0.1)
    assert rows.rows == []
    book.flush()
    assert rows.rows == [(step, {"loss": float(step), "lr": 0.1}) for step in range(3)]


def test_a_counter_that_changes_in_place_keeps_each_value() -> None:
    rows, counter = Rows(), torch.zeros(())
    book = LogBook(training=True, sink=rows)
    for step in range(3):
        book.step = step
        counter += 1
        add(book, "seen", counter)
    book.flush()
    assert [row["seen"] for _, row in rows.rows] == [1, 2, 3]


def test_dtypes_are_kept_exact() -> None:
    book = LogBook(training=True, sink=None)
    big = 2**40 + 1
    add(book, "int", torch.tensor(big))
    add(book, "half", torch.tensor(0.5, dtype=torch.bfloat16))
    add(book, "double", torch.tensor(math.pi, dtype=torch.float64))
    add(book, "one", torch.ones(1, 1))
    assert book.latest() == {"int": big, "half": 0.5, "double": math.pi, "one": 1.0}


def test_epoch_values_by_kind() -> None:
    rows = Rows()
    book = LogBook(training=False, sink=rows)
    for size, value in ((3, 1.0), (1, 5.0)):
        book.batch = (torch.zeros(size, 2), None)
        add(book, "mean", value)
        add(book, "sum", value, reduce="sum")
        add(book, "min", value, reduce="min")
        add(book, "max", value, reduce="max")
        add(book, "sized", value, batch_size=10)
    book.end_epoch(7, alone, {"epoch": 2.0})
    expected = {"mean": 2.0, "sum": 6.0, "min": 1.0, "max": 5.0, "sized": 3.0}
    assert rows.rows == [(7, {**expected, "epoch": 2.0})]
    book.end_epoch(8, alone)
    assert len(rows.rows) == 1


def test_ranks_are_combined_also_when_only_one_logged() -> None:
    book = LogBook(training=False, sink=None)
    book.batch = torch.zeros(4)
    add(book, "acc", 0.5)
    add(book, "low", 0.5, reduce="min")

    def with_another(mine: Any) -> list[Any]:
        return [mine, {"acc": (12.0, 12.0), "low": (0.1, 12.0)}, {}]

    book.end_epoch(0, with_another)
    assert book.latest() == {"acc": pytest.approx(14 / 16), "low": 0.1}


def test_step_and_epoch_have_names_of_their_own() -> None:
    rows = Rows()
    book = LogBook(training=True, sink=rows)
    add(book, "loss", 2.0, on_step=True, on_epoch=True)
    book.end_epoch(1, alone)
    assert rows.rows == [(0, {"loss_step": 2.0}), (1, {"loss_epoch": 2.0})]


def test_nan_is_kept() -> None:
    rows = Rows()
    book = LogBook(training=True, sink=rows)
    add(book, "loss", torch.tensor(math.nan))
    book.flush()
    assert math.isnan(rows.rows[0][1]["loss"])


def test_state_goes_on() -> None:
    book = LogBook(training=True, sink=None)
    add(book, "loss", 2.0, on_epoch=True, batch_size=1)
    twin = LogBook(training=True, sink=None)
    twin.load_state_dict(book.state_dict())
    add(twin, "loss", 4.0, on_epoch=True, batch_size=3)
    twin.end_epoch(0, alone)
    assert twin.latest() == {"loss": 3.5, "loss_step": 4.0, "loss_epoch": 3.5}


@pytest.mark.parametrize(
    ("value", "settings", "words"),
    [
        (torch.zeros(3), {}, r"a tensor of shape \(3,\)"),
        ("high", {}, "it got str"),
        (1.0, {"reduce": "median"}, "known are mean, sum, min, max"),
    ],
)
def test_mistakes(value: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        add(LogBook(training=True, sink=None), "x", value, **settings)


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(5, 2), 5),
        ((torch.zeros(3), torch.zeros(9)), 3),
        ({"a": [torch.zeros(2)]}, 2),
        ("text", 1),
        (torch.tensor(1.0), 1),
    ],
)
def test_batch_size_of(batch: Any, size: int) -> None:
    assert batch_size_of(batch) == size

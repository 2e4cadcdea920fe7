"""Is metrics.csv right at every moment, whatever columns come when?"""

from __future__ import annotations

import csv
import resource
from pathlib import Path

import pytest

from leyden.core.errors import ConfigurationError
from leyden.train.loggers import CSVLogger
from leyden.train.loggers.csv_logs import Table


def rows(logger: CSVLogger) -> list[dict[str, str]]:
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_columns_that_come_later() -> None:
    logger = CSVLogger("logs", flush_logs_every_n_steps=1)
    logger.log_metrics({"loss": 0.5}, step=10)
    assert rows(logger) == [{"step": "10", "loss": "0.5"}]
    logger.log_metrics({"val, of all": float("nan")}, step=11)
    logger.log_metrics({"loss": 1})
    assert rows(logger) == [
        {"step": "10", "loss": "0.5", "val, of all": ""},
        {"step": "11", "loss": "", "val, of all": "nan"},
        {"step": "12", "loss": "1.0", "val, of all": ""},
    ]


def test_rows_are_written_in_batches_and_a_version_is_gone_on_with() -> None:
    logger = CSVLogger("logs", version=3, flush_logs_every_n_steps=3, prefix="run")
    for step in range(4):
        logger.log_metrics({"a": step}, step)
    assert [row["run-a"] for row in rows(logger)] == ["0.0", "1.0", "2.0"]
    logger.save()
    assert len(rows(logger)) == 4
    logger.log_metrics({"a": 9}, 9)
    logger.finalize("failed")
    again = CSVLogger("logs", version=3)
    again.log_metrics({"b": 10}, 10)
    again.finalize("success")
    assert list(rows(again)[0]) == ["step", "run-a", "b"]
    assert [row["step"] for row in rows(again)] == ["0", "1", "2", "3", "9", "10"]


def test_a_new_column_in_every_row_does_not_rewrite_without_end() -> None:
    table, count = Table(Path("metrics.csv")), 600
    for step in range(count):
        table.add({"step": step, f"m{step}": 1.0})
        table.flush()
        assert len(table.waiting) <= step / 8 + 1
    assert table.rewritten <= 8 * count  # one rewriting a row would make 180,000
    table.flush(at_any_cost=True)
    with Path("metrics.csv").open(newline="") as file:
        found = list(csv.reader(file))
    assert len(found) == count + 1
    assert {len(row) for row in found} == {count + 1}


def test_one_new_column_late_is_written_at_once() -> None:
    table = Table(Path("metrics.csv"))
    for step in range(1000):
        table.add({"step": step})
        table.flush()
    table.add({"step": 1000, "late": 1.0})
    table.flush()
    assert not table.waiting


def test_a_full_disk_tears_no_row() -> None:
    logger = CSVLogger("logs", flush_logs_every_n_steps=1)
    logger.log_metrics({"loss": 0.5}, 0)
    size = (Path(logger.log_dir) / "metrics.csv").stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, limit[1]))  # Python ignores SIGXFSZ: writes fail by OSError
    try:
        with pytest.raises(OSError, match="large"):
            logger.log_metrics({"loss": 0.25}, 1)
        assert len(rows(logger)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    logger.finalize("success")
    assert [row["loss"] for row in rows(logger)] == ["0.5", "0.25"]


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        CSVLogger("logs", flush_logs_every_n_steps=0)

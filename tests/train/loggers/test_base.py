"""Do loggers share folders rightly, cost nothing until used, and never stop training?"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from leyden.train import loggers
from leyden.train.loggers import CSVLogger, Logger, fan_out
from leyden.train.loggers.base import Params


class Flaky(Logger):
    """Raises at the calls whose numbers are given."""

    name = version = "flaky"

    def __init__(self, failing: range) -> None:
        self.failing, self.calls, self.steps = failing, 0, list[int]()
        self.told: list[Any] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.calls += 1
        if self.calls in self.failing:
            raise OSError("the server is away\nand more")
        self.steps.append(step or 0)

    def log_hyperparams(self, params: Params) -> None:
        self.told.append(params)

    def save(self) -> None:
        self.told.append("saved")


def test_a_failing_logger_stops_nobody_and_is_warned_of_once() -> None:
    flaky, whole = Flaky(range(3, 5)), Flaky(range(0))
    sink = fan_out([flaky, whole])
    sink(0, {"loss": 1.0})
    sink(1, {"loss": 1.0})
    with pytest.warns(UserWarning, match="Flaky failed: the server is away. Training goes on"):
        sink(2, {"loss": 1.0})
    for step in range(3, 6):
        sink(step, {"loss": 1.0})
    assert whole.steps == [0, 1, 2, 3, 4, 5]
    assert flaky.steps == [0, 1, 4, 5]  # two failures in a row are forgiven


def test_three_failures_in_a_row_leave_a_logger_out() -> None:
    flaky = Flaky(range(1, 4))
    sink = fan_out([flaky])
    with pytest.warns(UserWarning, match="left out"):
        sink(0, {"loss": 1.0})
    for step in range(1, 6):
        sink(step, {"loss": 1.0})
    sink.finalize("success")
    assert (flaky.calls, flaky.steps, flaky.told) == (3, [], [])


def test_everything_is_handed_on() -> None:
    flaky = Flaky(range(0))
    sink = fan_out([flaky])
    sink.log_hyperparams({"lr": 1})
    sink.save()
    sink.finalize("success")
    assert flaky.told == [{"lr": 1}, "saved", "saved"]
    assert flaky.log_dir is None


def test_versions_are_claimed_once_each() -> None:
    Path("logs/exp/version_7").mkdir(parents=True)
    Path("logs/exp/version_x").mkdir()
    first, second = CSVLogger("logs", "exp"), CSVLogger("logs", "exp")
    assert (second.version, first.version, first.name) == (8, 9, "exp")
    assert first.log_dir == str(Path("logs/exp/version_9").absolute())
    assert CSVLogger("logs", "exp", version="best").log_dir == str(Path("logs/exp/best").absolute())
    assert CSVLogger("logs", "exp", version=7).log_dir == str(Path("logs/exp/version_7").absolute())
    assert CSVLogger("logs", None).log_dir == str(Path("logs/version_0").absolute())


def test_making_a_logger_touches_no_disk() -> None:
    CSVLogger("logs")
    assert not Path("logs").exists()


def test_hyperparameters_are_plain_yaml() -> None:
    logger = CSVLogger("logs")
    logger.log_hyperparams({"lr": 0.1, "sizes": (1, 2), "net": {"act": warnings}, "none": None})
    logger.log_hyperparams({"lr": 0.2})
    found = yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())
    assert found == {"lr": 0.2, "sizes": [1, 2], "net": {"act": str(warnings)}, "none": None}


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys, leyden.train, leyden.train.loggers as l; print(*[getattr(l, n) for n in l.__all__], *sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "leyden.train.loggers.wandb" in loaded
    assert not {"tensorboard", "wandb", "mlflow"} & set(loaded)


def test_public_names_are_all_there() -> None:
    for name in loggers.__all__:
        assert getattr(loggers, name) is not None
        assert name in dir(loggers)
    with pytest.raises(AttributeError, match="no attribute 'CometLogger'"):
        _ = loggers.CometLogger

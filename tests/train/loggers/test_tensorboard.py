"""Can TensorBoard itself read back what was logged?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from leyden.core.errors import ConfigurationError
from leyden.train.loggers import TensorBoardLogger


def read(logger: TensorBoardLogger) -> Any:
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    return events


def points(logger: TensorBoardLogger, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in read(logger).Scalars(name)]


def test_scalars() -> None:
    logger = TensorBoardLogger("logs", "exp", prefix="a", sub_dir="part")
    logger.log_metrics({"loss": 0.5, "acc": 1}, step=3)
    logger.log_metrics({"loss": 0.25})
    logger.save()
    assert points(logger, "a-loss") == [(3, 0.5), (4, 0.25)]
    assert points(logger, "a-acc") == [(3, 1.0)]
    assert logger.log_dir == str(Path("logs/exp/version_0/part").absolute())


def test_rows_after_the_end_of_a_call() -> None:
    logger = TensorBoardLogger("logs", max_queue=1)
    logger.log_metrics({"loss": 0.5}, 0)
    logger.finalize("success")
    logger.log_metrics({"test_loss": 2.0}, 1)
    logger.finalize("success")
    assert points(logger, "loss") + points(logger, "test_loss") == [(0, 0.5), (1, 2.0)]


def test_the_writer_is_at_hand_for_images() -> None:
    logger = TensorBoardLogger("logs")
    logger.experiment.add_image("street", np.zeros((3, 2, 2), dtype=np.uint8), 1)
    logger.save()
    assert read(logger).Images("street")[0].step == 1


def test_hyperparameters() -> None:
    logger = TensorBoardLogger("logs")
    logger.log_hyperparams({"lr": 0.1, "net": {"width": 8, "shape": (1, 2)}})
    logger.log_metrics({"hp_metric": 0.7}, 9)
    logger.log_hyperparams({"lr": 0.1})  # a later call of the Trainer
    logger.save()
    assert points(logger, "hp_metric") == [(0, -1.0), (9, pytest.approx(0.7))]
    content = read(logger).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    shown = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert shown["lr"].number_value == 0.1
    assert shown["net/width"].number_value == 8
    assert shown["net/shape"].string_value == "(1, 2)"
    assert (Path(logger.log_dir) / "hparams.yaml").exists()


def test_no_default_metric() -> None:
    logger = TensorBoardLogger("logs", default_hp_metric=False)
    logger.log_hyperparams({"lr": 0.1})
    assert [one.name for one in Path(logger.log_dir).iterdir()] == ["hparams.yaml"]


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigurationError, match="pip install tensorboard"):
        TensorBoardLogger("logs").log_metrics({"loss": 1.0}, 0)

"""Does MLflow itself give back what was logged?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from leyden.core.errors import ConfigurationError
from leyden.train.loggers import MLFlowLogger

pytestmark = [pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")]  # MLflow's own


def test_rows_and_hyperparameters() -> None:
    logger = MLFlowLogger("streets", run_name="first", tags={"who": "me"}, save_dir="out", prefix="p")
    assert (logger.version, Path("out").exists()) == (None, False)
    many = {f"n{number}": number for number in range(101)}
    logger.log_hyperparams({"net": {"width": 8}, "long": "x" * 7000, **many})
    logger.log_metrics({"loss": 0.5, "acc": 1}, step=3)
    logger.log_metrics({"loss": 0.25})
    logger.finalize("success")
    logger.log_metrics({"test_loss": 2.0}, 4)  # a later call of the Trainer
    logger.finalize("success")

    client = MlflowClient(f"sqlite:///{Path('out/mlflow.db').absolute()}")
    assert logger.run_id == logger.version
    assert logger.run_id is not None
    run = client.get_run(logger.run_id)
    assert (run.info.run_name, run.info.status, run.data.tags["who"]) == ("first", "FINISHED", "me")
    assert client.get_experiment(run.info.experiment_id).name == logger.name == "streets"
    assert run.data.metrics == {"p-loss": 0.25, "p-acc": 1.0, "p-test_loss": 2.0}
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "p-loss")] == [
        (3, 0.5),
        (4, 0.25),
    ]
    assert run.data.params["net/width"] == "8"
    assert len(run.data.params["long"]) == 6000
    assert len(run.data.params) == 103

    again = MLFlowLogger("streets", save_dir="out", run_id=logger.run_id)
    again.log_metrics({"more": 1.0}, 5)
    again.finalize("failed")
    run = client.get_run(logger.run_id)
    assert (run.info.status, run.data.metrics["more"]) == ("FAILED", 1.0)
    other = MLFlowLogger("streets", save_dir="out")
    other.log_metrics({"loss": 1.0}, 0)
    assert other.run_id not in (None, logger.run_id)


def test_rows_are_sent_together() -> None:
    now = [0.0]
    logger = MLFlowLogger(save_dir="out", clock=lambda: now[0])

    def sent() -> int:
        assert logger.run_id is not None
        return len(logger.experiment.get_metric_history(logger.run_id, "loss"))

    logger.log_metrics({"loss": 1.0}, 0)
    assert sent() == 1
    logger.log_metrics({"loss": 1.0}, 1)
    assert sent() == 1
    now[0] = 5.0
    logger.log_metrics({"loss": 1.0}, 2)
    assert sent() == 3
    logger.log_metrics({f"m{number}": 1.0 for number in range(1500)} | {"loss": 1.0}, 3)
    assert sent() == 4
    logger.log_metrics({"loss": 1.0}, 4)
    logger.save()
    assert sent() == 5


def test_rows_outlive_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    logger = MLFlowLogger(save_dir="out")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", away)
        for step in range(2):
            with pytest.raises(ConnectionError):  # at every row, so that `fan_out` can count
                logger.log_metrics({"loss": 1.0}, step)
    logger.log_metrics({"loss": 1.0}, 2)
    assert logger.run_id is not None
    assert [one.step for one in logger.experiment.get_metric_history(logger.run_id, "loss")] == [0, 1, 2]


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigurationError, match="pip install mlflow"):
        MLFlowLogger().log_metrics({"loss": 1.0}, 0)

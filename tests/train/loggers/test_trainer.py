"""Do loggers get what the record gets?"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import leyden
from leyden.track.read import read_run
from leyden.train.loggers import CSVLogger
from leyden.train.loggers.base import Logger
from tests.train.models import Line, loader


class Kept(Line):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


class Broken(Logger):
    name = "broken"
    version = 0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        raise ConnectionError("no route")

    def log_hyperparams(self, params: Any) -> None:
        raise ConnectionError("no route")


def test_every_step_and_every_validation(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="line")
    trainer = leyden.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=logger)
    model = Kept()
    trainer.fit(model, loader(), loader(16))
    assert trainer.logger is logger
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = {int(row["step"]): float(row["train_loss_step"]) for row in rows if row.get("train_loss_step")}
    assert list(steps) == list(range(16))
    assert list(steps.values()) == pytest.approx(model.losses)
    assert [int(row["step"]) for row in rows if row.get("val_loss")] == [8, 16]
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"width": 3}
    assert trainer.run is not None
    assert trainer.run.flush()
    assert json.loads((trainer.run.path / "config.json").read_text()) == {"width": 3}


def test_a_broken_logger_stops_nothing() -> None:
    trainer = leyden.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=[Broken()])
    with pytest.warns(UserWarning, match="Broken failed: no route"):
        trainer.fit(Kept(), loader(), loader(16))
    assert trainer.global_step == 16


def test_what_led_to_an_error_is_on_record(tmp_path: Path) -> None:
    class Fails(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if batch_idx == 2:
                raise ValueError("as asked")
            return loss

    logger = CSVLogger(tmp_path, name="line")
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, logger=logger)
    with pytest.raises(ValueError, match="as asked"):
        trainer.fit(Fails(), loader())
    assert trainer.run is not None
    assert list(read_run(trainer.run.path)["train_loss_step"].steps) == [0, 1, 2]
    assert len(Path(logger.log_dir, "metrics.csv").read_text().splitlines()) == 4


def test_loggers_go_on_where_training_does(tmp_path: Path) -> None:
    def train(epochs: int, logger: Logger, path: Any = "last") -> None:
        run = leyden.Trainer(
            max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=[Broken(), logger],
            default_root_dir=tmp_path,
        )  # fmt: skip
        with pytest.warns(UserWarning, match="no route"):
            run.fit(Line(), loader(), ckpt_path=path)
        assert run.run is not None
        run.run.finish()

    first, second, own, anew = (CSVLogger(tmp_path, version=version) for version in (None, None, "mine", None))
    train(1, first, None)
    train(2, second)
    train(3, own)
    train(1, anew, None)
    assert [one.version for one in (first, second, own, anew)] == [0, 0, "mine", 1]
    steps = [line.split(",")[0] for line in Path(first.log_dir, "metrics.csv").read_text().splitlines()]
    assert steps[1:] == [str(step) for step in (*range(8), 8, *range(8, 16), 16)]


def test_a_data_modules_hyperparameters_are_logged_too(tmp_path: Path) -> None:
    class Source(leyden.DataModule):
        def __init__(self, count: int = 32) -> None:
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader(self.hparams.count)

    logger = CSVLogger(tmp_path, name="line")
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, logger=logger)
    trainer.fit(Line(), datamodule=Source())
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"count": 32}

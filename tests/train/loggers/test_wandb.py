"""Is what W&B would upload what was logged? Its own offline file is read back."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from torch import nn
from wandb.proto import wandb_internal_pb2

from leyden.core.errors import ConfigurationError
from leyden.train.loggers import WandbLogger


@pytest.fixture(scope="module", autouse=True)
def _own_service() -> Iterator[None]:
    """W&B's helper process, started with the first run, ends with these tests."""
    yield
    wandb.teardown()


def records(folder: Path) -> list[Any]:
    """What stands in W&B's file: after 7 bytes, blocks of 32 KiB in the format of LevelDB's log."""
    data = next(folder.glob("wandb/offline-run-*/run-*.wandb")).read_bytes()
    found, part, place = [], b"", 7
    while place < len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<xxxxHB", data, place)
        part += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(part))
            part = b""
    return found


def test_rows_and_hyperparameters() -> None:
    logger = WandbLogger("first", save_dir="logs", project="streets", id="abc", offline=True, prefix="p")
    assert (logger.name, logger.version, Path("logs").exists()) == ("streets", "abc", False)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_hyperparams({"lr": 0.2})
    logger.watch(nn.Linear(1, 1), log="all")
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.finalize("success")
    logger.log_metrics({"test_loss": 2}, step=4)  # a later call of the Trainer
    assert (logger.name, logger.version) == ("streets", "abc")
    logger.experiment.finish()
    wandb.teardown()  # the helper process has ended, so its file is whole; after `finish` alone it may be empty

    found = records(Path("logs"))
    rows = [
        {(one.key or ".".join(one.nested_key)): json.loads(one.value_json) for one in record.history.item}
        for record in found
        if record.HasField("history")
    ]
    points = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
    assert points == [
        {"p-loss": 0.5, "trainer/global_step": 3},
        {"p-test_loss": 2.0, "trainer/global_step": 4},
    ]
    configs = [item for record in found if record.HasField("config") for item in record.config.update]
    assert [json.loads(one.value_json) for one in configs if one.key == "lr"] == [0.1, 0.2]


def test_a_run_is_gone_on_with_unless_another_is_named() -> None:
    for logger, version in ((WandbLogger(), "abc"), (WandbLogger(id="own"), "own")):
        logger.go_on("abc")
        assert logger.version == version


def test_a_run_of_ones_own_is_used() -> None:
    run = wandb.init(mode="offline", dir=str(Path.cwd()), project="mine")
    logger = WandbLogger(experiment=run)
    logger.log_metrics({"loss": 1.0})
    assert (logger.experiment, logger.name, run.summary["loss"]) == (run, "mine", 1.0)
    run.finish()


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigurationError, match="pip install wandb"):
        WandbLogger().log_metrics({"loss": 1.0}, 0)

"""How does each library log a row of metrics, and how is read back what it kept? Each as its own documentation says."""

from __future__ import annotations

import json
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, float]


class Peer(ABC):
    """Logs into a folder; `steps` reads back, in another process, the steps of metric m0 that are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def open(self) -> None:
        """Begin a run."""

    @abstractmethod
    def log(self, row: Row, step: int) -> None:
        """One row."""

    @abstractmethod
    def close(self) -> None:
        """Everything is kept when this returns."""

    @abstractmethod
    def steps(self) -> list[int]:
        """What was kept of m0."""


class Leyden(Peer):
    def open(self) -> None:
        import leyden

        os.environ["LEYDEN_HOME"] = str(self.folder / "home")
        leyden.init(dir=self.folder)
        self.log = leyden.log  # type: ignore[assignment]

    def log(self, row: Row, step: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        import leyden

        leyden.finish()

    def steps(self) -> list[int]:
        from leyden.track.read import read_run

        return [step for run in self.folder.glob("leyden_runs/*/") for step in read_run(run)["m0"].steps]


class TensorBoard(Peer):
    """PyTorch's writer, with its default of a flush every two minutes or ten events that wait."""

    def open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder))

    def log(self, row: Row, step: int) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()

    def steps(self) -> list[int]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(self.folder), size_guidance={"scalars": 0})
        found.Reload()
        return [one.step for one in found.Scalars("m0")] if "m0" in found.Tags()["scalars"] else []


class Trackio(Peer):
    def open(self) -> None:
        os.environ.update(TRACKIO_DIR=str(self.folder), HF_HUB_OFFLINE="1")
        import trackio  # type: ignore[import-not-found, unused-ignore]

        trackio.init(project="bench", embed=False)
        self._log: Any = trackio.log

    def log(self, row: Row, step: int) -> None:
        self._log(dict(row), step=step)

    def close(self) -> None:
        import trackio

        trackio.finish()

    def steps(self) -> list[int]:
        file = self.folder / "bench.db"
        if not file.exists():
            return []
        with sqlite3.connect(file) as database:
            rows = database.execute("select step, metrics from metrics order by step").fetchall()
        return [step for step, metrics in rows if "m0" in json.loads(metrics)]


class MLflow(Peer):
    """Its fluent API with a SQLite file, its default since it has closed the plain folder."""

    synchronous = True

    def open(self) -> None:
        import mlflow

        mlflow.set_tracking_uri(self._uri())
        mlflow.start_run()
        self._mlflow: Any = mlflow

    def log(self, row: Row, step: int) -> None:
        self._mlflow.log_metrics(row, step=step, synchronous=self.synchronous)

    def close(self) -> None:
        if not self.synchronous:
            self._mlflow.flush_async_logging()
        self._mlflow.end_run()

    def steps(self) -> list[int]:
        from mlflow import MlflowClient

        client = MlflowClient(self._uri())
        [run] = client.search_runs(["0"], max_results=1) or [None]
        found = client.get_metric_history(run.info.run_id, "m0") if run else []
        return sorted(one.step for one in found)

    def _uri(self) -> str:
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true")
        return f"sqlite:///{self.folder}/mlflow.db"


class MLflowAsync(MLflow):
    synchronous = False


class MLflowFiles(MLflow):
    """The plain folder, which it has put into maintenance mode."""

    def _uri(self) -> str:
        super()._uri()
        return f"file://{self.folder}/mlruns"


PEERS: dict[str, tuple[type[Peer], str]] = {  # and the module that must be importable
    "Leyden": (Leyden, "leyden.track"),
    "TensorBoard": (TensorBoard, "torch.utils.tensorboard"),
    "trackio": (Trackio, "trackio"),
    "MLflow, files": (MLflowFiles, "mlflow"),
    "MLflow, SQLite": (MLflow, "mlflow.store.tracking.sqlalchemy_store"),
    "MLflow, SQLite, async": (MLflowAsync, "mlflow.store.tracking.sqlalchemy_store"),
}

"""How do rows reach MLflow? Through its client, whose run is opened with the first row.

A request takes milliseconds to seconds and training waits for it, so rows are sent together.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.train.loggers.base import Logger, Params, as_dict, flatten, needs, prefixed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_METRICS_A_CALL, _PARAMS_A_CALL, _LONGEST_PARAM = 1000, 100, 6000  # what its server takes: mlflow.utils.validation
_EVERY_S = 5.0


class MLFlowLogger(Logger):
    """Sends rows to an MLflow server or database.

    `tracking_uri` defaults to $MLFLOW_TRACKING_URI, else to a SQLite file, `<save_dir>/mlflow.db`: MLflow has closed
    the plain folder of files that stood there before. `run_id` goes on with a run. Rows are sent every five seconds, at
    1000 numbers, and by `save`; `synchronous=False` lets MLflow send them from a thread of its own.
    Raises ConfigurationError with the first row where the package mlflow is not installed.
    """

    def __init__(
        self,
        experiment_name: str = "leyden_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | Path = "mlruns",
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._experiment_name, self._run_name, self._run_id = experiment_name, run_name, run_id
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._save_dir, self._artifact_location = Path(save_dir).absolute(), artifact_location
        self._tags, self._prefix, self._synchronous = dict(tags or {}), prefix, synchronous
        self._client: MlflowClient | None = None
        self._next_step = 0
        self._clock, self._sent_at = clock, -math.inf
        self._waiting: list[Metric] = []

    @property
    def experiment(self) -> MlflowClient:
        """MLflow's client, for artifacts, models and the rest; its calls want `run_id`."""
        if self._client is None:
            client = self._connect()
            if self._run_id is None:
                run = client.create_run(self._experiment_id(client), tags=self._tags, run_name=self._run_name)
                self._run_id = run.info.run_id
            else:
                client.update_run(self._run_id, status="RUNNING")
            self._client = client
        return self._client

    @property
    def name(self) -> str:
        """Of the experiment."""
        return self._experiment_name

    @property
    def run_id(self) -> str | None:
        """Of MLflow's run; None before the first row, unless it was given."""
        return self._run_id

    @property
    def version(self) -> str | None:
        """The same as `run_id`."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row; without a step, one more than the last."""
        step = self._next_step if step is None else step
        self._next_step = step + 1
        _ = self.experiment  # a package that is missing is said by name
        from mlflow.entities import Metric

        now = self._clock()
        for name, value in prefixed(metrics, self._prefix).items():
            self._waiting.append(Metric(name, value, int(now * 1000), step))
        if len(self._waiting) >= _METRICS_A_CALL or now - self._sent_at >= _EVERY_S:
            self.save()

    def go_on(self, version: int | str) -> None:
        """With the same run."""
        self._run_id = self._run_id or str(version)

    def save(self) -> None:
        """Send the rows that wait; after an error they wait on, and the next row tries again."""
        while self._waiting:
            some = self._waiting[:_METRICS_A_CALL]
            self.experiment.log_batch(self._run_id, metrics=some, synchronous=self._synchronous)
            del self._waiting[: len(some)]
        self._sent_at = self._clock()

    def log_hyperparams(self, params: Params) -> None:
        """As MLflow's params, nested ones under `a/b`; values are text, cut at 6000 characters."""
        client = self.experiment
        from mlflow.entities import Param

        found = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in flatten(as_dict(params)).items()]
        for first in range(0, len(found), _PARAMS_A_CALL):
            client.log_batch(self._run_id, params=found[first : first + _PARAMS_A_CALL], synchronous=self._synchronous)

    def finalize(self, status: str) -> None:
        """Send what waits and mark the run FINISHED or FAILED; rows of a later call still join it."""
        self.save()
        if self._client is not None and self._run_id is not None:
            self._client.set_terminated(self._run_id, "FAILED" if status == "failed" else "FINISHED")

    def _connect(self) -> MlflowClient:
        if self._uri is None:
            self._save_dir.mkdir(parents=True, exist_ok=True)
            self._uri = f"sqlite:///{self._save_dir / 'mlflow.db'}"
        try:
            from mlflow import MlflowClient

            return MlflowClient(self._uri)
        except ImportError as error:  # mlflow-skinny alone lacks what a database needs
            raise needs("MLFlowLogger", "mlflow", error) from error

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return str(found.experiment_id)
        return str(client.create_experiment(self._experiment_name, artifact_location=self._artifact_location))

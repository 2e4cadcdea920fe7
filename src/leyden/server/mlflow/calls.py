"""What does each call of MLflow's API do? A function each: the request's fields in, the answer's fields out.

(https://mlflow.org/docs/latest/api_reference/rest-api.html)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from leyden.server.mlflow import search
from leyden.server.mlflow.experiments import ACTIVE, DELETED, Experiments
from leyden.server.mlflow.faults import invalid, missing
from leyden.server.mlflow.paging import page_of
from leyden.server.mlflow.run import LONGEST_KEY, MlflowRun, Point
from leyden.server.mlflow.runs import Runs, tags_of

Body = Mapping[str, Any]
Call = Callable[[Body], dict[str, Any]]

_VIEWS: Final = {"ACTIVE_ONLY": {ACTIVE}, "DELETED_ONLY": {DELETED}, "ALL": {ACTIVE, DELETED}}
_STATUSES: Final = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")  # 1 … 5 in the protocol
_MOST_IN_A_BATCH: Final = 1000


@final
class Calls:
    """All of them; `table` says which stands for which method and path."""

    def __init__(self, experiments: Experiments, runs: Runs, now_ms: Callable[[], int]) -> None:
        self._experiments, self._runs, self._now_ms = experiments, runs, now_ms
        self.table: dict[tuple[str, str], Call] = {
            ("POST", "experiments/create"): self.create_experiment,
            ("GET", "experiments/get"): self.get_experiment,
            ("GET", "experiments/get-by-name"): self.get_experiment_by_name,
            ("POST", "experiments/search"): self.search_experiments,
            ("GET", "experiments/search"): self.search_experiments,
            ("POST", "experiments/update"): self.update_experiment,
            ("POST", "experiments/delete"): self.delete_experiment,
            ("POST", "experiments/restore"): self.restore_experiment,
            ("POST", "experiments/set-experiment-tag"): self.set_experiment_tag,
            ("POST", "experiments/delete-experiment-tag"): self.delete_experiment_tag,
            ("POST", "runs/create"): self.create_run,
            ("GET", "runs/get"): self.get_run,
            ("POST", "runs/update"): self.update_run,
            ("POST", "runs/delete"): self.delete_run,
            ("POST", "runs/restore"): self.restore_run,
            ("POST", "runs/search"): self.search_runs,
            ("POST", "runs/log-metric"): self.log_metric,
            ("POST", "runs/log-parameter"): self.log_parameter,
            ("POST", "runs/log-batch"): self.log_batch,
            ("POST", "runs/log-inputs"): self.log_inputs,
            ("POST", "runs/outputs"): self.log_outputs,
            ("POST", "runs/log-model"): self.log_model,
            ("POST", "runs/set-tag"): self.set_tag,
            ("POST", "runs/delete-tag"): self.delete_tag,
            ("GET", "metrics/get-history"): self.get_history,
        }

    # Experiments ------------------------------------------------------------------------------------------------------

    def create_experiment(self, body: Body) -> dict[str, Any]:
        """A new one."""
        location = str(body.get("artifact_location") or "")
        made = self._experiments.create(_need(body, "name"), location.rstrip("/"), tags_of(body))
        return {"experiment_id": made.experiment_id}

    def get_experiment(self, body: Body) -> dict[str, Any]:
        """By id."""
        return {"experiment": self._experiments.get(_need(body, "experiment_id")).view()}

    def get_experiment_by_name(self, body: Body) -> dict[str, Any]:
        """By name."""
        return {"experiment": self._experiments.named(_need(body, "experiment_name")).view()}

    def search_experiments(self, body: Body) -> dict[str, Any]:
        """A page of those that match."""
        clauses = search.parse_filter(body.get("filter"))
        order = search.ordering(_list(body, "order_by"))
        stages = _stages(body, "view_type")
        found = [one for one in self._experiments.all() if one.stage in stages]
        found = [one for one in found if all(clause.matches(one) for clause in clauses)]
        search.sort(found, order)
        page, token = page_of(found, body, 1000)
        return {"experiments": [one.view() for one in page], **token}

    def update_experiment(self, body: Body) -> dict[str, Any]:
        """A new name."""
        self._experiments.change(_need(body, "experiment_id"), name=_need(body, "new_name"))
        return {}

    def delete_experiment(self, body: Body) -> dict[str, Any]:
        """Put it away, with its runs."""
        return self._put_away(body, deleted=True)

    def restore_experiment(self, body: Body) -> dict[str, Any]:
        """Take it back, with its runs."""
        return self._put_away(body, deleted=False)

    def set_experiment_tag(self, body: Body) -> dict[str, Any]:
        """Add or replace one."""
        found = self._experiments.get(_need(body, "experiment_id"))
        tags = {**found.tags, _need(body, "key"): str(body.get("value", ""))}
        self._experiments.change(found.experiment_id, tags=tags)
        return {}

    def delete_experiment_tag(self, body: Body) -> dict[str, Any]:
        """Remove one."""
        found = self._experiments.get(_need(body, "experiment_id"))
        tags = {key: value for key, value in found.tags.items() if key != body.get("key")}
        self._experiments.change(found.experiment_id, tags=tags)
        return {}

    def _put_away(self, body: Body, *, deleted: bool) -> dict[str, Any]:
        found = self._experiments.get(_need(body, "experiment_id"))
        self._experiments.change(found.experiment_id, stage=DELETED if deleted else ACTIVE)
        for run in self._runs.all():
            if run.experiment_id == found.experiment_id and run.deleted != deleted:
                self._runs.put_away(run, deleted=deleted)
        return {}

    # Runs -------------------------------------------------------------------------------------------------------------

    def create_run(self, body: Body) -> dict[str, Any]:
        """A new one, running."""
        return {"run": self._runs.create(body).view()}

    def get_run(self, body: Body) -> dict[str, Any]:
        """By id."""
        return {"run": self._run(body).view()}

    def update_run(self, body: Body) -> dict[str, Any]:
        """Its status, end, name."""
        run = self._run(body)
        what: dict[str, Any] = {}
        if body.get("status"):
            what["status"] = _status(body["status"])
            if what["status"] in ("FINISHED", "FAILED", "KILLED"):
                what["end_ms"] = int(body.get("end_time") or self._now_ms())
        if body.get("run_name"):
            what["name"] = str(body["run_name"])
            what["tags"] = {**run.tags, "mlflow.runName": what["name"]}
        run.change(self._runs.files(run), **what)
        if "name" in what:
            self._runs.rename(run, what["name"])
        return {"run_info": run.info()}

    def delete_run(self, body: Body) -> dict[str, Any]:
        """Put it away."""
        self._runs.put_away(self._run(body), deleted=True)
        return {}

    def restore_run(self, body: Body) -> dict[str, Any]:
        """Take it back."""
        self._runs.put_away(self._run(body), deleted=False)
        return {}

    def search_runs(self, body: Body) -> dict[str, Any]:
        """A page of those that match, newest first."""
        clauses = search.parse_filter(body.get("filter"))
        order = search.ordering(_list(body, "order_by"))
        stages = _stages(body, "run_view_type")
        wanted = {str(one) for one in _list(body, "experiment_ids")}
        found = [
            one
            for one in self._runs.all()
            if one.experiment_id in wanted
            and (DELETED if one.deleted else ACTIVE) in stages
            and all(clause.matches(one) for clause in clauses)
        ]
        found.sort(key=lambda one: (one.info()["start_time"], one.id), reverse=True)
        search.sort(found, order)
        page, token = page_of(found, body, 1000)
        return {"runs": [one.view() for one in page], **token}

    # What they log ----------------------------------------------------------------------------------------------------

    def log_metric(self, body: Body) -> dict[str, Any]:
        """One point."""
        return self._log(body, [self._point(body)])

    def log_parameter(self, body: Body) -> dict[str, Any]:
        """One param."""
        return self._log(body, params={_need(body, "key"): str(body.get("value", ""))})

    def log_batch(self, body: Body) -> dict[str, Any]:
        """Points, params and tags at once; all are looked at before the first is kept."""
        metrics = _list(body, "metrics")
        if len(metrics) > _MOST_IN_A_BATCH:
            raise invalid(f"A batch has at most {_MOST_IN_A_BATCH} metrics, not {len(metrics)}.")
        points = [self._point(one) for one in metrics]
        return self._log(body, points, params=tags_of(body, "params"), tags=tags_of(body))

    def log_inputs(self, body: Body) -> dict[str, Any]:
        """Data sets a run used; those it named already are left out."""
        run = self._run(body)
        known = list(run.view()["inputs"]["dataset_inputs"])
        seen = {(one["dataset"].get("name"), one["dataset"].get("digest")) for one in known}
        for one in _list(body, "datasets"):
            if not isinstance(one, dict) or not isinstance(one.get("dataset"), dict):
                raise invalid("A data set has the fields 'dataset' and 'tags'.")
            if (one["dataset"].get("name"), one["dataset"].get("digest")) not in seen:
                known.append(one)
        models = [*run.view()["inputs"]["model_inputs"], *_list(body, "models")]
        run.change(self._runs.files(run), inputs=known, model_inputs=models)
        return {}

    def log_outputs(self, body: Body) -> dict[str, Any]:
        """Models a run made."""
        run = self._run(body)
        models = [*run.view()["outputs"]["model_outputs"], *_list(body, "models")]
        run.change(self._runs.files(run), model_outputs=models)
        return {}

    def log_model(self, body: Body) -> dict[str, Any]:
        """What a model of the run is, which MLflow keeps as a tag."""
        run = self._run(body)
        text = str(body.get("model_json", "{}"))
        before = run.tags.get("mlflow.log-model.history", "[]").removesuffix("]")
        joined = f"{before}{', ' if before != '[' else ''}{text}]"
        return self._log(body, tags={"mlflow.log-model.history": joined[:8000]})

    def set_tag(self, body: Body) -> dict[str, Any]:
        """Add or replace one."""
        return self._log(body, tags={_need(body, "key"): str(body.get("value", ""))})

    def delete_tag(self, body: Body) -> dict[str, Any]:
        """Remove one."""
        run, key = self._run(body), _need(body, "key")
        if key not in run.tags:
            raise missing(f"Tag {key[:100]!r} of run {run.id}")
        run.change(self._runs.files(run), tags={name: value for name, value in run.tags.items() if name != key})
        return {}

    def get_history(self, body: Body) -> dict[str, Any]:
        """Every point of one metric."""
        found = self._run(body).history(_need(body, "metric_key"))
        page, token = page_of(found, body, len(found) or 1)
        return {"metrics": [one.view() for one in page], **token}

    def _log(
        self,
        body: Body,
        points: Sequence[Point] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        run = self._run(body)
        if run.deleted:
            raise invalid(f"The run {run.id} must be in the 'active' state. Current state is deleted.")
        files = self._runs.files(run)
        with run.lock:
            what = {"tags": {**run.tags, **tags}} if tags else {}
            if params or what:
                run.change(files, params=params, **what)
            run.add(files, points)
        return {}

    def _run(self, body: Body) -> MlflowRun:
        return self._runs.get(body.get("run_id") or _need(body, "run_uuid"))

    def _point(self, body: object) -> Point:
        if not isinstance(body, dict):
            raise invalid("A metric has the fields key, value, timestamp, step.")
        try:
            value = float(_need(body, "value", empty=True))
            step, ms = int(body.get("step") or 0), int(body.get("timestamp") or self._now_ms())
        except (TypeError, ValueError, OverflowError) as error:
            found = f"metric {body.get('key')!r:.300}: value {body.get('value')!r:.100}, step {body.get('step')!r:.100}"
            raise invalid(f"Got invalid value for {found}.") from error
        if not (-(1 << 63) <= step < 1 << 63 and math.isfinite(ms) and abs(ms) < 1 << 53):
            raise invalid(f"The step or timestamp of metric {body.get('key')!r:.300} is too large.")
        key = _need(body, "key")
        if len(key.encode(errors="replace")) > LONGEST_KEY:
            raise invalid(f"The name of a metric is text of 1 to {LONGEST_KEY} bytes, not {key[:300]!r}.")
        return Point(key=key, value=value, ms=ms, step=step)


def _need(body: Body, key: str, *, empty: bool = False) -> Any:
    found = body.get(key)
    if found is None or (found == "" and not empty):
        raise invalid(f"Missing value for required parameter {key!r}.")
    return found if empty else str(found)


def _list(body: Body, key: str) -> list[Any]:
    found = body.get(key) or []
    return found if isinstance(found, list) else [found]


def _stages(body: Body, key: str) -> set[str]:
    view = body.get(key) or "ACTIVE_ONLY"
    named = {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL", "1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}
    view = named.get(view, view)
    if view not in _VIEWS:
        raise invalid(f"Invalid view type {view!r}; valid are {', '.join(_VIEWS)}.")
    return _VIEWS[view]


def _status(given: Any) -> str:
    found = _STATUSES[given - 1] if isinstance(given, int) and 1 <= given <= len(_STATUSES) else str(given)
    if found not in _STATUSES:
        raise invalid(f"Invalid run status {found!r}; valid are {', '.join(_STATUSES)}.")
    return found

"""What becomes of a model that is logged? MLflow 3 names it, sends its files, then says that it is whole.

A model stands in mlflow.json of the run that made it, its files lie below models/ of that run's artifacts: what its
client wants to log, find and load. The registry, with its versions and stages, is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

from leyden.server.mlflow import search
from leyden.server.mlflow.faults import invalid, missing
from leyden.server.mlflow.paging import page_of
from leyden.server.mlflow.run import MlflowRun
from leyden.server.mlflow.runs import Runs, tags_of

Body = Mapping[str, Any]
Call = Callable[[Body], dict[str, Any]]

_NAME: Final = re.compile(r"[^/:.%\"']{1,250}")
_ID: Final = re.compile(r"m-([^-]+)-(\d+)")
_STATES: Final = tuple(
    f"LOGGED_MODEL_{one}" for one in ("STATUS_UNSPECIFIED", "PENDING", "READY", "UPLOAD_FAILED")
)  # 0 … 3 in the protocol


@final
class Model:
    """One model: its run, and what is on record of it there."""

    def __init__(self, run: MlflowRun, about: Mapping[str, Any]) -> None:
        self.run, self.about = run, about

    def look_up(self, kind: str, name: str) -> Any:
        """For search."""
        if kind in ("params", "tags"):
            return self.about[kind].get(name)
        info = self.info()
        said = {"creation_time": "creation_timestamp_ms", "creation_timestamp": "creation_timestamp_ms"}
        return info.get(said.get(name, name)) if kind == "attributes" else None

    def info(self) -> dict[str, Any]:
        """As it travels."""
        about = self.about
        kept = {key: about[key] for key in ("model_id", "name", "model_type", "status")}
        return {
            **kept,
            "experiment_id": self.run.experiment_id,
            "source_run_id": self.run.id,
            "artifact_uri": f"{self.run.info()['artifact_uri']}/{about['path']}",
            "creation_timestamp_ms": about["created_ms"],
            "last_updated_timestamp_ms": about["updated_ms"],
            "tags": [{"key": key, "value": value} for key, value in about["tags"].items()],
        }

    def view(self) -> dict[str, Any]:
        """All of it."""
        params = [{"key": key, "value": value} for key, value in self.about["params"].items()]
        return {"model": {"info": self.info(), "data": {"params": params, "metrics": []}}}


@final
class Models:
    """Of all runs."""

    def __init__(self, runs: Runs, now_ms: Callable[[], int]) -> None:
        self._runs, self._now_ms = runs, now_ms

    def call(self, method: str, path: str) -> Call | None:
        """What stands for that request, if it is about models."""
        found: Call | None = None
        match (method, path.split("/")):
            case ("POST", ["logged-models"]):
                found = self.create
            case ("POST", ["logged-models", "search"]):
                found = self.search
            case ("GET", ["logged-models", model_id]):
                found = partial(self.get, model_id)
            case ("PATCH", ["logged-models", model_id]):
                found = partial(self.finalize, model_id)
            case ("DELETE", ["logged-models", model_id]):
                found = partial(self.delete, model_id)
            case ("POST", ["logged-models", model_id, "params"]):
                found = partial(self.add, model_id, "params")
            case ("PATCH", ["logged-models", model_id, "tags"]):
                found = partial(self.add, model_id, "tags")
            case ("DELETE", ["logged-models", model_id, "tags", *key]):
                found = partial(self.remove_tag, model_id, "/".join(key))
        return found

    def create(self, body: Body) -> dict[str, Any]:
        """A new one, which waits for its files."""
        if not body.get("source_run_id"):
            raise invalid("Leyden keeps a model with the run that made it: log it within mlflow.start_run().")
        run, name = self._runs.get(body["source_run_id"]), str(body.get("name") or "model")
        if not _NAME.fullmatch(name):
            raise invalid(f"The name of a model has 1 to 250 characters, none of them / : . % \" or ': {name[:300]!r}")
        now = self._now_ms()
        with run.lock:
            number = 1 + max((int(one["model_id"].rpartition("-")[2]) for one in run.models), default=0)
            twins = sum(one["name"] == name for one in run.models)
            about = {
                "model_id": f"m-{run.id}-{number}", "name": name, "model_type": str(body.get("model_type") or ""),
                "status": _STATES[1], "path": f"models/{name}{f'-{twins + 1}' if twins else ''}",
                "created_ms": now, "updated_ms": now, "tags": tags_of(body), "params": tags_of(body, "params"),
            }  # fmt: skip
            self._keep(run, [*run.models, about])
        return Model(run, about).view()

    def get(self, model_id: str, _: Body) -> dict[str, Any]:
        """By its id."""
        return self._find(model_id).view()

    def finalize(self, model_id: str, body: Body) -> dict[str, Any]:
        """Its files are there, or never will be."""
        given = body.get("status")
        status = _STATES[given] if isinstance(given, int) and 0 < given < len(_STATES) else given
        if status not in _STATES[1:]:
            raise invalid(f"Invalid status {given!r:.100}; valid are {', '.join(_STATES[1:])}.")
        return self._change(model_id, status=status).view()

    def delete(self, model_id: str, _: Body) -> dict[str, Any]:
        """Forget it; its files stay with the run."""
        run = self._find(model_id).run
        with run.lock:
            self._keep(run, [one for one in run.models if one["model_id"] != model_id])
        return {}

    def add(self, model_id: str, what: str, body: Body) -> dict[str, Any]:
        """Params or tags."""
        pairs = {**self._find(model_id).about[what], **tags_of(body, what)}
        return self._change(model_id, **{what: pairs}).view()

    def remove_tag(self, model_id: str, key: str, _: Body) -> dict[str, Any]:
        """One of them."""
        tags = self._find(model_id).about["tags"]
        if key not in tags:
            raise missing(f"Tag {key[:100]!r} of model {model_id}")
        return self._change(model_id, tags={name: value for name, value in tags.items() if name != key}).view()

    def search(self, body: Body) -> dict[str, Any]:
        """A page of those that match, newest first."""
        wanted = {str(one) for one in body.get("experiment_ids") or ()}
        clauses = search.parse_filter(body.get("filter"))
        keys = [
            f"{one.get('field_name')} {'ASC' if one.get('ascending', True) else 'DESC'}"
            for one in body.get("order_by") or ()
        ]
        found = [
            Model(run, about)
            for run in self._runs.all()
            if run.experiment_id in wanted and not run.deleted
            for about in run.models
        ]
        found = [one for one in found if all(clause.matches(one) for clause in clauses)]
        found.sort(key=lambda one: (one.about["created_ms"], one.about["model_id"]), reverse=True)
        search.sort(found, search.ordering(keys))
        page, token = page_of(found, body, 100)
        return {"models": [one.view()["model"] for one in page], **token}

    def _find(self, model_id: str) -> Model:
        parts = _ID.fullmatch(model_id)
        run = self._runs.get(parts[1]) if parts else None
        about = next((one for one in run.models if one["model_id"] == model_id), None) if run else None
        if run is None or about is None:
            raise missing(f"Logged model with id {model_id[:100]!r}")
        return Model(run, about)

    def _change(self, model_id: str, **what: Any) -> Model:
        run = self._find(model_id).run
        with run.lock:
            about = {**self._find(model_id).about, **what, "updated_ms": self._now_ms()}
            self._keep(run, [about if one["model_id"] == model_id else one for one in run.models])
        return Model(run, about)

    def _keep(self, run: MlflowRun, models: list[dict[str, Any]]) -> None:
        run.change(self._runs.files(run), models=models)

"""Which runs of MLflow's are there? Those whose folder holds mlflow.json, read once."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, final

from leyden.core.home import Home
from leyden.core.ids import is_id, new_id
from leyden.server.mlflow.experiments import Experiments
from leyden.server.mlflow.faults import invalid, missing
from leyden.server.mlflow.run import FILE, MlflowRun, new_about
from leyden.server.tracking.push import Pushed
from leyden.server.tracking.tracker import Tracker
from leyden.track import facts

_FIRST: Final = ("quick", "calm", "bright", "bold", "silent", "merry", "noble", "rare", "swift", "warm")
_SECOND: Final = ("otter", "heron", "lynx", "wren", "hare", "carp", "finch", "ibex", "moth", "stoat")


@final
class Runs:
    """All of them."""

    def __init__(self, home: Home, tracker: Tracker, experiments: Experiments, now_ms: Callable[[], int]) -> None:
        self._home, self._tracker, self._now_ms = home, tracker, now_ms
        self.experiments = experiments
        self._lock = threading.Lock()
        self._known: dict[str, MlflowRun] | None = None

    def all(self) -> list[MlflowRun]:
        """In no order."""
        return [one for one in self._all().values() if one.folder.is_dir()]

    def get(self, run_id: object) -> MlflowRun:
        """By its id. Raises MlflowError."""
        found = self._all().get(str(run_id))
        if found is None or not found.folder.is_dir():
            raise missing(f"Run with id {str(run_id)[:100]!r}")
        return found

    def files(self, run: MlflowRun) -> Pushed:
        """Where its files are written; the table of runs looks at it from now on."""
        return self._tracker.files_of(run.id)

    def create(self, body: Mapping[str, Any]) -> MlflowRun:
        """A new one. Raises MlflowError."""
        experiment = self.experiments.get(str(body.get("experiment_id", "0")))
        if experiment.stage != "active":
            raise invalid(f"Experiment {experiment.name!r} is deleted; restore it first.")
        run_id = new_id()
        tags = tags_of(body)
        name = str(body.get("run_name") or tags.get("mlflow.runName") or _random_name())
        start_ms = int(body.get("start_time") or self._now_ms())
        root = experiment.artifact_location or f"mlflow-artifacts:/{experiment.experiment_id}"
        user = str(body.get("user_id") or tags.get("mlflow.user") or "")
        about = new_about(experiment.experiment_id, name, user, start_ms, f"{root}/{run_id}/artifacts")
        about["tags"] = {**tags, "mlflow.runName": name}
        run = MlflowRun(run_id, self._home.runs / run_id, about)
        run.begin(self._tracker.files_of(run_id), experiment.name)
        known = self._all()
        with self._lock:
            known[run_id] = run
        return run

    def rename(self, run: MlflowRun, name: str) -> None:
        """In the table of runs, too."""
        entry = self._tracker.book.get(run.id)
        if entry is not None:
            self._tracker.edit(entry, {"name": name})

    def put_away(self, run: MlflowRun, *, deleted: bool) -> None:
        """Deleted runs can be restored; in the table of runs they are archived."""
        run.change(self.files(run), stage="deleted" if deleted else "active")
        entry = self._tracker.book.get(run.id)
        if entry is not None:
            self._tracker.edit(entry, {"archived": deleted})

    def _all(self) -> dict[str, MlflowRun]:
        with self._lock:
            if self._known is None:
                found = (file.parent for file in self._home.runs.glob(f"*/{FILE}") if is_id(file.parent.name))
                self._known = {folder.name: run for folder in found if (run := _read(folder)) is not None}
            return self._known


def tags_of(body: Mapping[str, Any], key: str = "tags") -> dict[str, str]:
    """The tags or params of a request. Raises MlflowError."""
    pairs = body.get(key) or []
    if not isinstance(pairs, list) or not all(isinstance(one, dict) and "key" in one for one in pairs):
        raise invalid(f"{key!r} must be a list of keys and values.")
    return {str(one["key"]): str(one.get("value", "")) for one in pairs}


def remove_tree(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _read(folder: Path) -> MlflowRun | None:
    about = facts.read(folder / FILE)
    whole = {**new_about("0", folder.name, "", 0, ""), **about}
    return MlflowRun(folder.name, folder, whole) if about else None


def _random_name() -> str:
    return f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{secrets.randbelow(1000)}"

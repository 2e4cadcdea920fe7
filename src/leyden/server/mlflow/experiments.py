"""Which experiments are there? One file of the home, $LEYDEN_HOME/mlflow/experiments.json, read once, written whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from leyden.server.mlflow.faults import exists, invalid, missing
from leyden.track import facts

DEFAULT: Final = "0"
ACTIVE, DELETED = "active", "deleted"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """As MLflow sees it; times in milliseconds."""

    experiment_id: str
    name: str
    created_ms: int
    updated_ms: int
    stage: str = ACTIVE
    artifact_location: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def look_up(self, kind: str, name: str) -> Any:
        """For search."""
        if kind == "tags":
            return self.tags.get(name)
        return {
            "name": self.name,
            "experiment_id": self.experiment_id,
            "creation_time": self.created_ms,
            "last_update_time": self.updated_ms,
        }.get(name)

    def view(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "experiment_id": self.experiment_id,
            "name": self.name,
            "artifact_location": self.artifact_location or f"mlflow-artifacts:/{self.experiment_id}",
            "lifecycle_stage": self.stage,
            "creation_time": self.created_ms,
            "last_update_time": self.updated_ms,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }


@final
class Experiments:
    """All of them."""

    def __init__(self, home: Path, now_ms: Callable[[], int]) -> None:
        self._file, self._now_ms = home / "mlflow" / "experiments.json", now_ms
        self._lock = threading.Lock()
        self._known = {one["experiment_id"]: Experiment(**one) for one in facts.read(self._file).get("experiments", [])}
        if DEFAULT not in self._known:
            now = now_ms()
            self._known[DEFAULT] = Experiment(experiment_id=DEFAULT, name="Default", created_ms=now, updated_ms=now)

    def all(self) -> list[Experiment]:
        """Newest first."""
        return sorted(self._known.values(), key=lambda one: (-one.created_ms, -int(one.experiment_id)))

    def get(self, experiment_id: str) -> Experiment:
        """By its id. Raises MlflowError."""
        found = self._known.get(str(experiment_id))
        if found is None:
            raise missing(f"Experiment with id {str(experiment_id)[:100]!r}")
        return found

    def named(self, name: str) -> Experiment:
        """By its name. Raises MlflowError."""
        found = next((one for one in self._known.values() if one.name == name), None)
        if found is None:
            raise missing(f"Experiment {name[:100]!r}")
        return found

    def create(self, name: str, location: str, tags: dict[str, str]) -> Experiment:
        """A new one. Raises MlflowError where the name is taken."""
        if not isinstance(name, str) or not name.strip() or len(name) > 500:
            raise invalid("The name of an experiment is text of 1 to 500 characters.")
        with self._lock:
            self._check_free(name)
            now = self._now_ms()
            made = Experiment(
                experiment_id=str(max(map(int, self._known)) + 1),
                name=name,
                created_ms=now,
                updated_ms=now,
                artifact_location=location,
                tags=tags,
            )
            self._keep(made)
        return made

    def change(self, experiment_id: str, **what: Any) -> None:
        """Name, stage or tags. Raises MlflowError."""
        with self._lock:
            found = self.get(experiment_id)
            if "name" in what and what["name"] != found.name:
                self._check_free(what["name"])
            self._keep(replace(found, **what, updated_ms=self._now_ms()))

    def _check_free(self, name: str) -> None:
        if any(one.name == name for one in self._known.values()):
            raise exists(f"Experiment {name!r}")

    def _keep(self, one: Experiment) -> None:
        known = {**self._known, one.experiment_id: one}
        facts.write(self._file, json.dumps({"experiments": [asdict(each) for each in known.values()]}))
        self._known = known

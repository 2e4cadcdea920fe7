"""What does MLflow know of a run that its record does not say?

That is mlflow.json in the run's folder; the rest is written as any run's: points in frames, params in config.json,
tags in tags.json, the end in finished.json.

A param is kept as the text it came as; config.json has it as the number it spells, so that it can be filtered by.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from leyden.core.errors import LeydenError
from leyden.server.mlflow.faults import MlflowError, invalid
from leyden.server.tracking.push import Pushed
from leyden.track import facts, life
from leyden.track.points import RunPoints
from leyden.track.writer import encode_rows

FILE: Final = "mlflow.json"
POINTS: Final = "metrics/a1-r0.frames"
STATES: Final = {"FINISHED": life.FINISHED, "FAILED": life.FAILED, "KILLED": life.KILLED}
LONGEST_KEY: Final = 250
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_NAME, _NOTE = "mlflow.runName", "mlflow.note.content"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric; `ms` since 1970."""

    key: str
    value: float
    ms: int
    step: int

    def view(self) -> dict[str, Any]:
        """As it travels."""
        value: float | str = self.value
        if not math.isfinite(self.value):
            value = {math.inf: "Infinity", -math.inf: "-Infinity"}.get(self.value, "NaN")
        return {"key": self.key, "value": value, "timestamp": self.ms, "step": self.step}


@final
class MlflowRun:
    """One run; `about` is what mlflow.json holds."""

    def __init__(self, run_id: str, folder: Path, about: dict[str, Any]) -> None:
        self.id, self.folder = run_id, folder
        self.lock = threading.RLock()
        self._about = about
        self._latest: dict[str, Point] | None = None

    @property
    def experiment_id(self) -> str:
        """Which it belongs to."""
        return str(self._about["experiment_id"])

    @property
    def deleted(self) -> bool:
        """Whether it was put away."""
        return bool(self._about["stage"] == "deleted")

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self._about["name"])

    @property
    def params(self) -> dict[str, str]:
        """As they came."""
        found: dict[str, str] = self._about["params"]
        return found

    @property
    def tags(self) -> dict[str, str]:
        """As they came."""
        found: dict[str, str] = self._about["tags"]
        return found

    @property
    def models(self) -> list[dict[str, Any]]:
        """It made: models.py."""
        found: list[dict[str, Any]] = self._about["models"]
        return found

    @property
    def latest(self) -> dict[str, Point]:
        """Of each metric the point of the greatest step; of several the one logged last."""
        with self.lock:
            if self._latest is None:
                self._latest = {}
                kept = self._about.get("latest")
                if kept is None:
                    points = RunPoints(self.folder)
                    points.refresh(None)
                    for _, name in points.metrics():
                        self._note(_history(points, name))
                else:  # of a run that has ended: ten thousand of them need not be read to search them
                    self._note([Point(key=key, value=float(value), ms=ms, step=step) for key, value, ms, step in kept])
            return self._latest

    def look_up(self, kind: str, name: str) -> Any:
        """For search."""
        match kind:
            case "metrics":
                point = self.latest.get(name)
                return None if point is None else point.value
            case "params":
                return self.params.get(name)
            case "tags":
                return self.tags.get(name)
            case "datasets":
                keys = {"name": "name", "digest": "digest", "context": "context"}
                return [self._dataset(one, keys.get(name, name)) for one in self._about["inputs"]]
        return self.info().get(
            {"run_name": "run_name", "created": "start_time", "Created": "start_time"}.get(name, name)
        )

    def info(self) -> dict[str, Any]:
        """As it travels."""
        about = self._about
        found = {
            "run_id": self.id,
            "run_uuid": self.id,
            "run_name": about["name"],
            "experiment_id": about["experiment_id"],
            "user_id": about["user"],
            "status": about["status"],
            "start_time": about["start_ms"],
            "artifact_uri": about["artifact_uri"],
            "lifecycle_stage": about["stage"],
        }
        return found if about["end_ms"] is None else {**found, "end_time": about["end_ms"]}

    def view(self) -> dict[str, Any]:
        """All of it but the history of metrics."""
        with self.lock:
            data = {
                "metrics": [point.view() for _, point in sorted(self.latest.items())],
                "params": _pairs(self.params),
                "tags": _pairs(self.tags),
            }
            found = {"info": self.info(), "data": data}
            inputs = {"dataset_inputs": self._about["inputs"], "model_inputs": self._about["model_inputs"]}
            return {**found, "inputs": inputs, "outputs": {"model_outputs": self._about["model_outputs"]}}

    def history(self, key: str) -> list[Point]:
        """Every point of a metric, in the order they were logged."""
        points = RunPoints(self.folder)
        points.refresh([key])
        return sorted(_history(points, key), key=lambda one: (one.ms, one.step))

    def add(self, files: Pushed, points: Sequence[Point]) -> None:
        """Keep these points. Raises MlflowError for what is none, and where the disk is full."""
        rows = _rows(points)
        if not rows:
            return
        data = b"".join(encode_rows(rows, 0.0))
        with self.lock:
            self.latest  # noqa: B018  before the new ones lie in the file too
            if self._about.get("latest") is not None:
                self._about = {**self._about, "latest": None}
                self._write(files, self._about, only_if_changed=self._about)
            try:
                files.put(POINTS, files.size(POINTS), data)
            except LeydenError as error:
                raise MlflowError("INTERNAL_ERROR", str(error), 500) from error
            self._note(points)

    def change(self, files: Pushed, *, params: Mapping[str, str] | None = None, **what: Any) -> None:
        """Keep what is new of name, status, tags, inputs …; params may be repeated, not changed. Raises MlflowError."""
        with self.lock:
            about = {**self._about, **what}
            if params:
                about["params"] = _with_params(self.params, params)
            if "tags" in what:
                about["tags"] = _checked(what["tags"], _LONGEST_TAG, "tag")
                about["name"] = about["tags"].get(_NAME, about["name"])
            if about["status"] in STATES:
                about["latest"] = [(one.key, str(one.value), one.ms, one.step) for one in self.latest.values()]
            self._write(files, about, only_if_changed=self._about)
            self._about = about

    def begin(self, files: Pushed, project: str) -> None:
        """Write all of a new run."""
        about = {
            "id": self.id,
            "name": self.name,
            "user": self._about["user"],
            "created_at": self._about["start_ms"] / 1000,
            "from": "mlflow",
        }
        self._about["project"] = project
        _put(files, "run.json", about)
        self._write(files, self._about, only_if_changed={})

    def _write(self, files: Pushed, about: dict[str, Any], *, only_if_changed: Mapping[str, Any]) -> None:
        before = only_if_changed
        try:
            facts.write(self.folder / FILE, json.dumps(about))
        except OSError as error:
            raise MlflowError("INTERNAL_ERROR", f"The server cannot write: {error.strerror}.", 500) from error
        if about["params"] != before.get("params"):
            _put(files, facts.CONFIG, {key: spelt(value) for key, value in about["params"].items()})
        if about["tags"] != before.get("tags"):
            _put(files, facts.TAGS, _tags_of(about))
        if about["status"] != before.get("status"):
            self._end(files, about)

    def _end(self, files: Pushed, about: Mapping[str, Any]) -> None:
        state = STATES.get(about["status"])
        if state is None:
            (self.folder / life.FINISHED_FILE).unlink(missing_ok=True)
        else:
            at = (about["end_ms"] or about["start_ms"]) / 1000
            _put(files, life.FINISHED_FILE, {"state": state, "at": at})

    def _note(self, points: Sequence[Point]) -> None:
        assert self._latest is not None
        for one in points:
            known = self._latest.get(one.key)
            if known is None or (one.step, one.ms, one.value) >= (known.step, known.ms, known.value):
                self._latest[one.key] = one

    @staticmethod
    def _dataset(one: Mapping[str, Any], key: str) -> Any:
        if key == "context":
            return next((tag["value"] for tag in one.get("tags", ()) if tag["key"] == "mlflow.data.context"), None)
        return one.get("dataset", {}).get(key)


def new_about(experiment_id: str, name: str, user: str, start_ms: int, artifact_uri: str) -> dict[str, Any]:
    """What mlflow.json of a new run holds."""
    return {
        "experiment_id": experiment_id, "name": name, "user": user, "status": "RUNNING", "start_ms": start_ms,
        "end_ms": None, "stage": "active", "artifact_uri": artifact_uri, "project": "", "params": {}, "tags": {},
        "inputs": [], "model_inputs": [], "model_outputs": [], "models": [],
    }  # fmt: skip


def spelt(text: str) -> Any:
    """The number, truth value or text that a param is.

    >>> [spelt(one) for one in ("0.1", "3", "True", "None", "adam", "1e-3")]
    [0.1, 3, True, None, 'adam', 0.001]
    """
    words = {"True": True, "true": True, "False": False, "false": False, "None": None}
    if text in words:
        return words[text]
    if len(text) < 40 and text.strip() == text and "_" not in text:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _history(points: RunPoints, name: str) -> list[Point]:
    found = []
    for rank in points.ranks(name):
        curve = points.curve(rank, name)
        if curve is not None and curve.count:
            some = curve.points(0, curve.count)
            found += [
                Point(key=name, step=step, ms=round(at * 1000), value=value)
                for step, at, value in zip(some.steps.tolist(), some.times.tolist(), some.values.tolist(), strict=True)
            ]
    return found


def _rows(points: Sequence[Point]) -> list[tuple[int, float, dict[str, float]]]:
    """Points of one step and time beside each other, as one call of log would."""
    rows: list[tuple[int, float, dict[str, float]]] = []
    for one in points:
        at = one.ms / 1000
        if not rows or rows[-1][:2] != (one.step, at) or one.key in rows[-1][2]:
            rows.append((one.step, at, {}))
        rows[-1][2][one.key] = one.value
    return rows


def _with_params(known: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    for key, value in _checked(new, _LONGEST_PARAM, "param").items():
        if known.get(key, value) != value:
            raise invalid(
                f"Changing param values is not allowed. Param with key={key!r} was already logged with "
                f"value={known[key]!r}. Attempted logging new value {value!r}."
            )
    return {**known, **new}


def _checked(pairs: Mapping[str, str], longest: int, what: str) -> dict[str, str]:
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str) or not 1 <= len(key) <= LONGEST_KEY:
            raise invalid(f"The name of a {what} is text of 1 to {LONGEST_KEY} characters, not {key!r:.300}.")
        if len(value) > longest:
            raise invalid(f"The value of {what} {key!r} has {len(value)} characters, {longest} are the most.")
    return dict(pairs)


def _tags_of(about: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in about["tags"].items() if not key.startswith("mlflow.")}
    words = [key if value in ("", "true", "True") else f"{key}={value}" for key, value in own.items()]
    note = about["tags"].get(_NOTE, "")
    return {"tags": [word[:200] for word in words], "note": note, "project": about["project"]}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _put(files: Pushed, name: str, value: Mapping[str, Any]) -> None:
    try:
        files.put(name, 0, json.dumps(value).encode())
    except LeydenError as error:
        raise MlflowError("INTERNAL_ERROR", str(error), 500) from error

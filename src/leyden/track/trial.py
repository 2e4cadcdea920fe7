"""How far may this process train, and what becomes of it there? Only trials of a sweep that pauses them are told.

The sweep says so in LEYDEN_TRIAL_BUDGET ("epoch:3": three epochs in all) and LEYDEN_TRIAL_METRIC. What was measured at
the rung is first a line of rungs.jsonl in the run's folder, durably, and then a question to the server. No answer
within seconds is one, too: the trial pauses, and goes on once the server, which finds the line, lets it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, final

from leyden.core.errors import ConfigurationError
from leyden.track import run

BUDGET, METRIC = "LEYDEN_TRIAL_BUDGET", "LEYDEN_TRIAL_METRIC"
RUNGS: Final = "rungs.jsonl"
_WITHIN_S: Final = 5.0  # the server answers in milliseconds; one that is being restarted is back in about a second
_UNITS: Final = ("epoch", "step")


class Then(StrEnum):
    """What is to become of a trial at its rung."""

    GO_ON = "go_on"  # in this process, to the budget named
    PAUSE = "pause"  # exit with 76
    END = "end"  # it has trained as far as it should


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the sweep says; `why` tells what kept it from saying anything."""

    then: Then
    budget: str = ""
    why: str = ""


@final
class Trial:
    """How far this process may train, counted in `unit`s ("epoch" or "step")."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self.metric = environ.get(METRIC, "")
        self.unit, self.most = _read(environ[BUDGET])

    def reached(self, resource: float) -> bool:
        """Whether it has trained so far that its sweep is to be asked."""
        return resource >= self.most

    def ask(self, resource: float, values: Mapping[str, float]) -> Answer:
        """Put on record what was measured and ask what is to become of it; takes seconds at most, and never raises.

        For rank 0, whose checkpoint must be on disk. Live by the answer with `take`, on every rank.
        """
        one = run.current()
        one.writer.flush()  # whoever goes on from here finds every point up to here
        told = {name: value if math.isfinite(value) else None for name, value in values.items()}
        kept = _append(one.path / RUNGS, {"resource": resource, "values": told, "at": time.time()})
        answer = _ask(self._environ, {"resource": resource, "values": told})
        return replace(answer, why="; ".join(filter(None, (kept, answer.why))))

    def take(self, answer: Answer) -> None:
        """Know the new budget. After END none is ever reached again."""
        if answer.then is Then.GO_ON:
            self.unit, self.most = _read(answer.budget)
        elif answer.then is Then.END:
            self.most = math.inf


_trial: Trial | None = None


def current() -> Trial | None:
    """The trial that this process is, None where nobody pauses it."""
    global _trial  # noqa: PLW0603  a process is one
    if _trial is None and os.environ.get(BUDGET):
        _trial = Trial()
    return _trial


def _read(budget: str) -> tuple[str, float]:
    """
    >>> _read("step:300")
    ('step', 300.0)
    """
    unit, _, most = budget.partition(":")
    try:
        if unit in _UNITS and float(most) > 0:
            return unit, float(most)
    except ValueError:
        pass
    raise ConfigurationError(
        asked=f"{BUDGET}={budget!r}", found="it is no budget", do="Leave it to the sweep, or write e.g. epoch:3."
    )


def _append(path: Path, row: Mapping[str, object]) -> str:
    """Add the line, so that it survives a power cut; what was in the way, else nothing."""
    line = json.dumps(row, allow_nan=False) + "\n"
    try:
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line  # whoever was at it before was killed within a line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{path.name} cannot be written: {error.strerror or error}"
    return ""


def _ask(environ: Mapping[str, str], measured: Mapping[str, object]) -> Answer:
    """The server's answer; to pause where there is none in time."""
    if not environ.get("LEYDEN_API_URL"):
        return Answer(then=Then.PAUSE, why="there is no way to ask the server")
    body = json.dumps({"fence": int(environ.get("LEYDEN_FENCE") or 0), **measured}, allow_nan=False)
    give_up, pause_s = time.monotonic() + _WITHIN_S, 0.05
    while True:
        answer, again = _post(environ, body, max(0.1, give_up - time.monotonic()))
        if not again or time.monotonic() + pause_s > give_up:
            return answer
        time.sleep(pause_s)
        pause_s = min(1.0, pause_s * 2)


def _post(environ: Mapping[str, str], body: str, timeout_s: float) -> tuple[Answer, bool]:
    """The answer, and whether another try may bring another one."""
    import http.client  # 20 ms that only trials pay
    import urllib.parse

    url = urllib.parse.urlsplit(environ["LEYDEN_API_URL"])
    uid = environ.get("LEYDEN_ENGINE_REF", "").rpartition("-")[2]
    headers = {"Authorization": f"Bearer {environ.get('LEYDEN_TOKEN', '')}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)
    try:
        connection.request("POST", f"/api/attempts/{uid}/rung", body, headers)
        response = connection.getresponse()
        said = response.read(1 << 16)
    except (OSError, http.client.HTTPException) as error:
        return Answer(then=Then.PAUSE, why=f"the server cannot be reached: {error}"), True
    finally:
        connection.close()
    if response.status != 200:
        why = f"the server refused with status {response.status}"  # 403, 409: another attempt has taken its place
        return Answer(then=Then.PAUSE, why=why), response.status >= 500
    try:
        answer = json.loads(said)
        then, budget = Then(answer["then"]), str(answer.get("budget") or "")
        if then is Then.GO_ON:
            _read(budget)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return Answer(then=Then.PAUSE, why=f"the server's answer is none: {said[:80]!r}"), False
    return Answer(then=then, budget=budget), False

"""Which files do an engine and the worker share, and how are they written so that a crash cannot tear them?

attempt.json  what to run (engine → worker), mode 600      outcome.json  how it ended (worker → engine), written once
worker.json   who runs it: created exclusively, so that of two workers of one attempt only one goes on
worker.log    what the worker itself printed

Only the standard library, and of that only what starts fast: the worker imports this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from leyden.core import process
from leyden.engines.base import Ending, Launch, Outcome

ATTEMPT, WORKER, OUTCOME, LOG = "attempt.json", "worker.json", "outcome.json", "worker.log"
SAVE = signal.SIGUSR1  # tells a worker that its ranks are to save a checkpoint and end
REF_VARIABLE = "LEYDEN_ENGINE_REF"  # in every rank's environment: finds processes a dead worker left behind

birth = process.birth


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    birth: str


@dataclass(frozen=True, kw_only=True)
class WorkerFile:
    """Who runs the attempt. `worker` None closes the attempt: no worker may start it any more."""

    worker: Process | None
    ranks: tuple[Process, ...] = ()
    started_at: float | None = None
    doing: str = ""  # what keeps it from starting the ranks


def group_runs(group: int) -> bool:
    """Whether any process of the group runs. Dead ones do not count: in a container nobody may ever reap them."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        return False
    if not Path("/proc/self/stat").exists():
        return True
    members = (process.stat_words(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  half the time
    return any(words and int(words[2]) == group for words in members)


def myself() -> Process:
    """This process."""
    return Process(pid=os.getpid(), birth=birth(os.getpid()) or "")


def lives(one: Process) -> bool:
    """Whether that very process still runs."""
    return birth(one.pid) == one.birth


def write_launch(launch: Launch) -> None:
    """Leave attempt.json for the worker."""
    launch.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace(launch.folder / ATTEMPT, json.dumps(asdict(launch)))


def read_launch(folder: Path) -> Launch:
    """What the worker is to run."""
    plain: dict[str, Any] = json.loads((folder / ATTEMPT).read_text())
    known = {field.name for field in fields(Launch)}
    for key, value in plain.items():
        if isinstance(value, list):
            plain[key] = tuple(value)
    return Launch(**{key: plain[key] for key in known & plain.keys()})


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Put how it ended on record."""
    replace(folder / OUTCOME, json.dumps(asdict(outcome)), durable=True)


def read_outcome(folder: Path) -> Outcome | None:
    """How it ended, None where that is not on record."""
    try:
        plain = json.loads((folder / OUTCOME).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Outcome(**{**plain, "kind": Ending(plain["kind"])})


def claim(folder: Path, worker: Process | None) -> bool:
    """Create worker.json; False where somebody else was first."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _draft(folder / WORKER, json.dumps(asdict(WorkerFile(worker=worker))))
    try:
        os.link(draft, folder / WORKER)  # unlike rename it refuses to replace, and the content is whole at once
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def update_worker(folder: Path, file: WorkerFile) -> None:
    """Replace worker.json; only for the worker that claimed it."""
    replace(folder / WORKER, json.dumps(asdict(file)))


def read_worker(folder: Path) -> WorkerFile | None:
    """Who runs the attempt, None where nobody claimed it yet."""
    try:
        plain = json.loads((folder / WORKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    worker = Process(**plain["worker"]) if plain["worker"] else None
    ranks = tuple(Process(**rank) for rank in plain["ranks"])
    return WorkerFile(worker=worker, ranks=ranks, started_at=plain["started_at"], doing=plain.get("doing", ""))


def replace(path: Path, text: str, *, durable: bool = False) -> None:
    """Write the file whole or not at all, readable by its owner only; `durable` survives a power cut too."""
    _draft(path, text, durable=durable).replace(path)


def _draft(path: Path, text: str, *, durable: bool = False) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(descriptor)
    return draft

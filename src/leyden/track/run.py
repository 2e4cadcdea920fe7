"""Which run is this process part of, and where is its record?

Under `leyden run` the worker says so in LEYDEN_RUN_DIR; a bare `python train.py` opens ./leyden_runs/<id>. The record:

    run.json               who, what, when            metrics/a<attempt>-r<rank>.frames
    config.json  summary.json  tags.json              media/    pictures, tables, histograms, texts
    logs/a<n>-r<r>.log     output of each rank        checkpoints/      artifacts/
    finished.json          how a bare run ended
"""

from __future__ import annotations

import atexit
import getpass
import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import SupportsFloat, SupportsIndex

from leyden.core.errors import RecordError
from leyden.core.ids import new_id
from leyden.core.process import birth
from leyden.track import facts, life
from leyden.track.clerk import Clerk
from leyden.track.facts import Facts
from leyden.track.media import Media
from leyden.track.names import Metrics, Names, as_step, flat
from leyden.track.writer import MetricWriter

RUNS_FOLDER = "leyden_runs"
_FILE = re.compile(r"a(\d+)-r(\d+)\.frames$")
_MOST = (1 << 63) - 1


class Run:
    """The record one process writes: its folder, attempt and rank.

    `config`, `summary` and `tags` are dicts that rank 0 keeps in files; on other ranks they are only dicts. `bare` says
    that no job stands behind it, so that it tells itself how it ended.
    """

    def __init__(self, path: Path, *, attempt: int, rank: int, bare: bool = False) -> None:
        self.path, self.attempt, self.rank, self.bare = path, attempt, rank, bare
        self.writer = MetricWriter(path / "metrics" / f"a{attempt}-r{rank}.frames")
        self.clerk = Clerk(str(path))
        self.media = Media(path, attempt=attempt, rank=rank)
        later = self.clerk.give if rank == 0 else None
        self.config = Facts(path / facts.CONFIG, later)
        self.summary = Facts(path / facts.SUMMARY, later)
        self.tags = Facts(path / facts.TAGS, later)
        self.claimed = False  # whether a Trainer writes it
        self.state = ""  # how it ends, where that is known before the process ends
        self._names = Names()
        self._known = self._names.known
        self._next_step = 0
        self._owner = os.getpid()  # a forked child has a copy of this, and ends nothing

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints of this run lie."""
        return Path(os.environ.get("LEYDEN_CHECKPOINT_DIR") or self.path / "checkpoints")

    @property
    def last_step(self) -> int:
        """The step that was logged last, 0 before the first."""
        return max(0, self._next_step - 1)

    def log(self, metrics: Metrics, step: SupportsIndex | None = None) -> None:
        """One row of metrics; without a step, one more than the last."""
        if step is None:
            step = self._next_step
        if type(metrics) is dict and type(step) is int and -_MOST <= step <= _MOST:
            known = self._known
            for name, value in metrics.items():
                if (type(value) is not float and type(value) is not int) or name not in known:
                    break
            else:  # all in this one function: between two steps of training, others' code has filled the caches
                self._next_step = step + 1
                self.writer.append((step, monotonic(), metrics.copy()))
                return
        if not isinstance(metrics, Mapping):
            asked, found = f"{metrics!r:.60} was logged", f"it is a {type(metrics).__name__}, not a dict"
            raise RecordError(asked=asked, found=found, do='Log a dict, such as {"loss": loss}.')
        self.record(as_step(step), flat(metrics))

    def record(self, step: int, row: Mapping[str, SupportsFloat]) -> None:
        """The same for a row that is flat and holds only numbers; it is kept, not copied."""
        if not self._known.issuperset(row):
            row = self._names.admit(row)
        self._next_step = step + 1
        if row:
            self.writer.add(step, row)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Write what waits: points, media and facts; False where these are not written in time, as on a full disk."""
        self.writer.flush()
        return self.clerk.flush(timeout_s)

    def finish(self, state: str = life.FINISHED) -> None:
        """Write what waits and end the record: nothing but files, no network. Twice is as good as once."""
        global _run  # noqa: PLW0603
        if _run is self:
            _run = None
        self.clerk.close()
        self.writer.close()
        bare, self.bare = self.bare, False
        if bare and os.getpid() == self._owner:
            life.finish(self.path, self.state or state)
            _bare.remove(self)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(life.of_error(error))


_run: Run | None = None
_bare: list[Run] = []  # not finished; each Trainer has one of its own


def current() -> Run:
    """The run of this process, opened on first use."""
    return _run or start()


def start(root: Path | None = None, *, resume: Path | None = None) -> Run:
    """Open the run of this process: LEYDEN_RUN_DIR, else `resume` as its next attempt, else a new one under `root`."""
    global _run  # noqa: PLW0603  a process belongs to one run
    environ = os.environ
    rank = int(environ.get("RANK", "0"))
    if given := environ.get("LEYDEN_RUN_DIR"):
        path, attempt = Path(given), int(environ.get("LEYDEN_ATTEMPT", "1"))
    elif resume is not None:
        path, attempt = resume, last_attempt(resume) + 1
    else:
        path, attempt = _new_folder(root or Path.cwd() / RUNS_FOLDER), 1
    path.mkdir(parents=True, exist_ok=True)
    bare = not given and rank == 0
    if rank == 0:
        _describe(path, attempt=attempt, bare=bare)
    if bare:
        (path / life.FINISHED_FILE).unlink(missing_ok=True)
        life.announce(path)
        life.listen()
    _run = Run(path, attempt=attempt, rank=rank, bare=bare)
    if bare:
        _bare.append(_run)
    return _run


def opened() -> bool:
    """Whether this process has a run already."""
    return _run is not None


def claim(root: Path) -> Run | None:
    """The run under `root` that `log` or `run_dir` opened before a Trainer came, so that it becomes the Trainer's."""
    return _run if _run is not None and not _run.claimed and _run.path.parent == root else None


def open_run(path: Path, *, attempt: int, rank: int) -> Run:
    """Join a run that another rank has opened."""
    global _run  # noqa: PLW0603
    _run = Run(path, attempt=attempt, rank=rank)
    return _run


def is_current(path: Path) -> bool:
    """Whether this process already writes the record at `path`."""
    return _run is not None and _run.path == path


def finish(state: str = life.FINISHED) -> None:
    """Close this process's run; the next `current` opens another."""
    if _run is not None:
        _run.finish(state)


def log(metrics: Metrics, step: SupportsIndex | None = None) -> None:
    """Record metrics of this step in the current run, e.g. `leyden.log({"loss": loss}, step=i)`.

    Values are numbers, one-element tensors, or dicts of them: `{"val": {"loss": 1.0}}` is `val/loss`; NaN and inf are
    kept. Steps need not grow. Costs about a microsecond; a thread writes to disk four times a second.
    Raises RecordError for a value that is no number, and a name of more than 1000 bytes.
    """
    (_run or start()).log(metrics, step)


def run_dir() -> Path:
    """The folder of the current run; put files for later under `run_dir() / "artifacts"`."""
    return current().path


def last_attempt(path: Path) -> int:
    """Number of the newest attempt that wrote into this run, 0 if none."""
    found = (_FILE.match(file.name) for file in (path / "metrics").glob("*.frames"))
    kept = facts.read(path / "run.json").get("attempt", 0)  # frames go once they are sealed
    return max([int(match.group(1)) for match in found if match] + [kept if isinstance(kept, int) else 0])


def _new_folder(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")  # runs are no source: keep them out of commits and captured trees
    path = root / new_id()
    path.mkdir()
    return path


def _describe(path: Path, *, attempt: int, bare: bool) -> None:
    """run.json: who, what, when; of a bare run also which process, so that others can see whether it lives."""
    file = path / "run.json"
    about = facts.read(file)
    if not about:
        about = {
            "id": path.name,
            "name": Path(sys.argv[0]).stem or "python",
            "user": _user(),
            "created_at": time.time(),
            "argv": sys.argv,
            "cwd": str(Path.cwd()),
            "node": socket.gethostname(),
        }
    elif not bare:
        return
    process = {"attempt": attempt, "pid": os.getpid(), "birth": birth(os.getpid()) or ""} if bare else {}
    facts.write(file, json.dumps({**about, **process}, indent=1))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.getuid())


def _at_exit() -> None:
    for one in [*_bare, *([_run] if _run is not None else [])]:
        one.finish(life.ending())


atexit.register(_at_exit)  # before the writer's own, which was registered earlier

"""Which run is this process part of, and where is its record?

Under `leyden run` the worker says so in LEYDEN_RUN_DIR; a bare `python train.py` opens ./leyden_runs/<id>. The record:

    run.json               who, what, when            metrics/a<attempt>-r<rank>.frames
    config.json  summary.json  tags.json              media/    pictures, tables, histograms, texts
    logs/a<n>-r<r>.log     output of each rank        checkpoints/      artifacts/
    finished.json          how a bare run ended
"""

from __future__ import annotations

import atexit
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, SupportsFloat, SupportsIndex

from leyden.core.errors import RecordError
from leyden.core.ids import new_id
from leyden.core.login import login
from leyden.core.process import birth
from leyden.track import facts, life
from leyden.track.clerk import Clerk
from leyden.track.facts import Facts
from leyden.track.media import Media
from leyden.track.names import Metrics, Names, as_step, flat
from leyden.track.writer import MetricWriter, Row

RUNS_FOLDER = "leyden_runs"
_FILE = re.compile(r"a(\d+)-r(\d+)\.frames$")


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
        self._plain: set[str] = set()  # names that came as floats and ints alone: what `log` takes the short way
        self._last = [-1]  # the step that was logged last; `log` has the list too
        self._owner = os.getpid()  # a forked child has a copy of this, and ends nothing

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints of this run lie."""
        return Path(os.environ.get("LEYDEN_CHECKPOINT_DIR") or self.path / "checkpoints")

    @property
    def last_step(self) -> int:
        """The step that was logged last, 0 before the first."""
        return max(0, self._last[0])

    @property
    def names(self) -> set[str]:
        """Of the metrics that this process has logged."""
        return self._names.known

    def log(self, metrics: Metrics, step: SupportsIndex | None = None) -> None:
        """One row of metrics; without a step, one more than the last."""
        if self is _run:
            log(metrics, step)
        else:
            self.check(metrics, self._last[0] + 1 if step is None else step)

    def check(self, metrics: Metrics, step: SupportsIndex) -> None:
        """Take a row of which nothing is known yet. Raises RecordError."""
        if not isinstance(metrics, Mapping):
            asked, found = f"{metrics!r:.60} was logged", f"it is a {type(metrics).__name__}, not a dict"
            raise RecordError(asked=asked, found=found, do='Log a dict, such as {"loss": loss}.')
        fresh = metrics.keys() - self._names.known
        self.record(as_step(step), flat(metrics))
        others = {name for name, value in metrics.items() if type(value) is not float and type(value) is not int}
        self._plain |= (fresh & self._names.known) - others
        self._plain -= others
        if self is _run:
            _open(self._plain, self.writer.append)

    def record(self, step: int, row: Mapping[str, SupportsFloat]) -> None:
        """Take a row that is flat and holds only numbers; it is kept, not copied."""
        if not self._names.known.issuperset(row):
            row = self._names.admit(row)
        self._last[0] = step
        if row:
            self.writer.add(step, row)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Write what waits: points, media and facts; False where these are not written in time, as on a full disk."""
        self.writer.flush()
        return self.clerk.flush(timeout_s)

    def finish(self, state: str = life.FINISHED) -> None:
        """Write what waits and end the record: nothing but files, no network. Twice is as good as once."""
        if _run is self:
            _turn_to(None)
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

# The short way of `log`: what it needs of the current run, as names of this module. Closed until a row was taken.
_plain: set[str] = set()
_take: Callable[[Row], object] = id
_last: list[int] = [-1]
_copy: Callable[[Any], dict[str, float]] = dict.copy  # refuses what is no dict


def _turn_to(run: Run | None) -> None:
    """That is the run of this process now."""
    global _run, _last
    _run, _last = run, run._last if run is not None else [-1]
    _open(set(), id)


def _open(plain: set[str], take: Callable[[Row], object]) -> None:
    global _plain, _take
    _plain, _take = plain, take


def current() -> Run:
    """The run of this process, opened on first use."""
    return _run or start()


def start(root: Path | None = None, *, resume: Path | None = None) -> Run:
    """Open the run of this process: LEYDEN_RUN_DIR, else `resume` as its next attempt, else a new one under `root`."""
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
    one = Run(path, attempt=attempt, rank=rank, bare=bare)
    _turn_to(one)
    if bare:
        _bare.append(one)
    return one


def opened() -> bool:
    """Whether this process has a run already."""
    return _run is not None


def claim(root: Path) -> Run | None:
    """The run under `root` that `log` or `run_dir` opened before a Trainer came, so that it becomes the Trainer's."""
    return _run if _run is not None and not _run.claimed and _run.path.parent == root else None


def open_run(path: Path, *, attempt: int, rank: int) -> Run:
    """Join a run that another rank has opened."""
    one = Run(path, attempt=attempt, rank=rank)
    _turn_to(one)
    return one


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
    # Between two steps of training others' code has filled the caches: what counts is how much code and memory is
    # touched. So all is in this one function, its loops are in C, and values are checked by adding them up.
    if step is None:
        step = _last[0] + 1
    try:
        if (
            _plain.issuperset(metrics)
            and type(sum(metrics.values(), 0.0)) is float
            and type(step) is int
            and -0x7FFFFFFFFFFFFFFF <= step <= 0x7FFFFFFFFFFFFFFF
        ):
            _take((step, monotonic(), _copy(metrics)))
            _last[0] = step
            return
    except Exception:  # a value that is no number: said below
        pass
    (_run or start()).check(metrics, step)


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
            "user": login(),
            "created_at": time.time(),
            "argv": sys.argv,
            "cwd": str(Path.cwd()),
            "node": socket.gethostname(),
        }
    elif not bare:
        return
    process = {"attempt": attempt, "pid": os.getpid(), "birth": birth(os.getpid()) or ""} if bare else {}
    facts.write(file, json.dumps({**about, **process}, indent=1))


def _at_exit() -> None:
    for one in [*_bare, *([_run] if _run is not None else [])]:
        one.finish(life.ending())


atexit.register(_at_exit)  # before the writer's own, which was registered earlier
os.register_at_fork(after_in_child=lambda: _turn_to(_run))  # whose writer begins anew

"""Which run is this process part of, and where is its record?

Under `leyden run` the worker says so in LEYDEN_RUN_DIR; a bare `python train.py` opens ./leyden_runs/<id>. The record:

    run.json               who, what, when            metrics/a<attempt>-r<rank>.frames
    logs/a<n>-r<r>.log     output of each rank        checkpoints/      artifacts/
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat

from leyden.core.errors import RecordError
from leyden.core.ids import new_id
from leyden.track.frames import MAX_NAME_BYTES
from leyden.track.writer import MetricWriter

RUNS_FOLDER = "leyden_runs"
_FILE = re.compile(r"a(\d+)-r(\d+)\.frames$")


class Run:
    """The record one process writes: its folder, attempt and rank."""

    def __init__(self, path: Path, *, attempt: int, rank: int) -> None:
        self.path, self.attempt, self.rank = path, attempt, rank
        self.writer = MetricWriter(path / "metrics" / f"a{attempt}-r{rank}.frames")
        self.claimed = False  # whether a Trainer writes it
        self._next_step = 0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints of this run lie."""
        return Path(os.environ.get("LEYDEN_CHECKPOINT_DIR") or self.path / "checkpoints")

    def log(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """One row of metrics; without a step, one more than the last."""
        for name, value in metrics.items():
            if type(value) is not float and type(value) is not int:
                _check(name, value)
        if step is None:
            step = self._next_step
        self._next_step = step + 1
        self.writer.add(step, dict(metrics))


_run: Run | None = None


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
    if not (path / "run.json").exists() and rank == 0:
        _describe(path)
    _run = Run(path, attempt=attempt, rank=rank)
    return _run


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


def finish() -> None:
    """Close this process's run; the next `current` opens another."""
    global _run  # noqa: PLW0603
    if _run is not None:
        _run.writer.close()
        _run = None


def log(metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
    """Record metrics of this step in the current run, e.g. `leyden.log({"loss": loss}, step=i)`.

    Values are numbers or one-element tensors; NaN and inf are kept. Steps need not grow. Costs about a microsecond;
    a thread writes to disk four times a second. Raises RecordError for a value that is no number.
    """
    current().log(metrics, step)


def run_dir() -> Path:
    """The folder of the current run; put files for later under `run_dir() / "artifacts"`."""
    return current().path


def last_attempt(path: Path) -> int:
    """Number of the newest attempt that wrote metrics into this run, 0 if none."""
    found = (_FILE.match(file.name) for file in (path / "metrics").glob("*.frames"))
    return max((int(match.group(1)) for match in found if match), default=0)


def _new_folder(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")  # runs are no source: keep them out of commits and captured trees
    path = root / new_id()
    path.mkdir()
    return path


def _describe(path: Path) -> None:
    about = {
        "id": path.name,
        "name": Path(sys.argv[0]).stem or "python",
        "user": getpass.getuser(),
        "created_at": time.time(),
        "argv": sys.argv,
        "cwd": str(Path.cwd()),
        "node": socket.gethostname(),
    }
    (path / "run.json").write_text(json.dumps(about, indent=1))


def _check(name: str, value: object) -> None:
    if not isinstance(name, str) or not name or len(name.encode()) > MAX_NAME_BYTES:
        asked, found = f"metric name {str(name)[:80]!r}", f"names are text of 1 to {MAX_NAME_BYTES} bytes"
        raise RecordError(asked=asked, found=found, do="Choose another name.")
    if not isinstance(value, SupportsFloat) or getattr(value, "numel", lambda: 1)() != 1:
        raise RecordError(
            asked=f"metric {name!r} was logged", found=f"its value is {_short(value)}", do="Log one number a name."
        )


def _short(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__} of shape {tuple(shape)}" if shape else f"{value!r:.60} ({type(value).__name__})"

"""How are checkpoints written without stopping training? One background thread, one checkpoint at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from leyden.core.errors import CheckpointError
from leyden.train import checkpoint

Done = Callable[[CheckpointError | None], None]


class Saver:
    """Writes snapshots; what came of each is told on the training thread, by `poll` or `wait`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._writing: tuple[Future[None], Done] | None = None

    def write(self, path: Path, snapshot: checkpoint.Snapshot, on_done: Done) -> None:
        """Start writing; waits for the one before."""
        self.wait()
        if self._pool is None:
            checkpoint.sweep_drafts(path.parent)
            self._pool = ThreadPoolExecutor(1, "leyden-checkpoint")
        self._writing = (self._pool.submit(checkpoint.write, path, snapshot), on_done)

    def poll(self) -> None:
        """Tell what came of a checkpoint that is done."""
        if self._writing is not None and self._writing[0].done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._writing is None:
            return
        (future, on_done), self._writing = self._writing, None
        try:
            future.result()
        except CheckpointError as error:
            on_done(error)
        else:
            on_done(None)

    def close(self) -> None:
        """Finish writing and end the thread."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

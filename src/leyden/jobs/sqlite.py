"""How do the jobs lie in one SQLite file?

Readers never wait for the writer (WAL), a commit that was confirmed outlives a power cut (synchronous=FULL), and a lock
beside the file keeps a second server out; the kernel lets go of it however the process ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, TextIO, final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from leyden.core.errors import ServerError
from leyden.jobs.database import Database


@final
class SqliteDatabase(Database):
    """A file on a local disk."""

    def __init__(self, path: Path) -> None:
        self.shown = str(path)
        self._lock = _lock(path)
        self.writer = _engine(path, begin="BEGIN IMMEDIATE", size=1)
        self.reader = _engine(path, begin="BEGIN", size=8)

    def gave_up(self, connection: Connection) -> bool:
        """So it does when the disk is full."""
        return not connection.connection.driver_connection.in_transaction  # type: ignore[union-attr]

    def close(self) -> None:
        self.reader.dispose()
        self.writer.dispose()
        self._lock.close()


def _engine(path: Path, *, begin: str, size: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0 if size == 1 else 32,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 10},
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: object) -> None:
        for line in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # SQLAlchemy's own begin is lazy, which savepoints do not survive; past it, as that takes a tenth of the time.
        connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]

    return engine


def _lock(path: Path) -> TextIO:
    """Raises ServerError naming who holds it."""
    asked = f"opening the database {path}"
    try:
        file = path.with_name(f"{path.name}.lock").open("a+")
    except OSError as error:
        found = f"its folder cannot be written: {error}"
        raise ServerError(asked=asked, found=found, do="Give the path of a file on a local disk.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise ServerError(
            asked=asked, found=f"{holder} has it open", do="One server a database: use that one, or stop it first."
        ) from None
    file.truncate(0)
    file.write(f"a server with pid {os.getpid()}")
    file.flush()
    return file

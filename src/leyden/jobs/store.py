"""How do many threads write to one SQLite file, fast and without losing a commit that was confirmed?

One thread owns the only connection that writes. It takes whatever waits, runs each piece of work in its own savepoint
and commits all of them with one fsync, so the rate grows with the load; a piece that fails undoes only itself.
Reads use other connections and never wait for the writer (WAL).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from leyden.core.errors import ServerError
from leyden.jobs.tables import metadata

T = TypeVar("T")
SCHEMA_VERSION = 1
GROUP = 256  # pieces of work in one commit


@final
class Store:
    """The database of jobs."""

    def __init__(self, path: Path, on_commit: Callable[[], None] = lambda: None) -> None:
        self._on_commit = on_commit
        self._writer = _engine(path, begin="BEGIN IMMEDIATE", size=1)
        self._reader = _engine(path, begin="BEGIN", size=8)
        _create_tables(self._writer, path)
        self._work: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Have the work done in a transaction; the future is done once it is committed, or failed and undone."""
        piece = _Piece(work)
        self._work.put(piece)
        return piece.future

    def write(self, work: Callable[[Connection], T]) -> T:
        """Like submit, and wait."""
        return self.submit(work).result()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do the work on one snapshot."""
        with self._reader.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Finish what was asked for and let go of the file."""
        self._work.put(None)
        self._thread.join()
        self._reader.dispose()
        self._writer.dispose()

    def _write_all(self) -> None:
        while (first := self._work.get()) is not None:
            group, last = [first], False
            while len(group) < GROUP and not self._work.empty():
                piece = self._work.get()
                if piece is None:
                    last = True
                    break
                group.append(piece)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Piece]) -> None:
        try:
            with self._writer.begin() as connection:
                for piece in group:
                    piece.run(connection)
                    if piece.error and not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                        raise piece.error  # SQLite gave up the whole transaction, as it does when the disk is full
        except BaseException as error:  # the commit itself failed, e.g. the disk is full: nobody's work is done
            for piece in group:
                piece.error = error
        for piece in group:
            piece.tell()
        self._on_commit()


@final
class _Piece:
    """Work that waits for the writer."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.future: Future[Any] = Future()
        self.error: BaseException | None = None
        self._work = work
        self._result: Any = None

    def run(self, connection: Connection) -> None:
        savepoint = connection.begin_nested()
        try:
            self._result = self._work(connection)
            savepoint.commit()
        except Exception as error:
            self.error = error
            with contextlib.suppress(SQLAlchemyError):  # it is gone where SQLite undid everything
                savepoint.rollback()

    def tell(self) -> None:
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)


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
        connection.exec_driver_sql(begin)  # SQLAlchemy's own begin is lazy, which savepoints do not survive

    return engine


def _create_tables(engine: Engine, path: Path) -> None:
    with engine.begin() as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version > SCHEMA_VERSION:
            raise ServerError(
                asked=f"opening the store {path}",
                found=f"a newer Leyden wrote it (version {version}, this one knows {SCHEMA_VERSION})",
                do="Upgrade Leyden, or set LEYDEN_HOME to another folder.",
            )
        metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

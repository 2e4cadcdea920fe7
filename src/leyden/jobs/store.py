"""How do many threads write to one database, fast and without losing a commit that was confirmed?

One thread owns the only connection that writes. It takes whatever waits, runs each piece of work in its own savepoint
and commits all of them at once, with one fsync, so the rate grows with the load; a piece that fails undoes only itself.
Reads use other connections and never wait for the writer.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from leyden.core.errors import ServerError
from leyden.jobs.database import Database, open_database
from leyden.jobs.failpoint import Failpoint
from leyden.jobs.migrations import bring_forward
from leyden.jobs.transition import CHANGED, Changed

T = TypeVar("T")
GROUP = 256  # pieces of work in one commit


@final
class Store:
    """The jobs on record, in the database at a path or URL (see database.py). Raises ServerError, UsageError.

    `on_commit` is called after each commit, by the thread that writes, with the jobs whose state has changed in it.
    """

    def __init__(
        self,
        where: Path | str,
        on_commit: Callable[[Changed], None] = lambda changed: None,
        *,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._on_commit = on_commit
        self._failpoint = failpoint
        self._database = _open(where)
        self._work: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def shown(self) -> str:
        """Where the jobs are kept, without a password."""
        return self._database.shown

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
        with self._database.reader.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Finish what was asked for and let go of the database."""
        self._work.put(None)
        self._thread.join()
        self._database.close()

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
        changed: Changed = {}
        try:
            with self._database.writer.begin() as connection:
                connection.info[CHANGED] = changed
                for piece in group:
                    piece.run(connection, alone=len(group) == 1)
                    if piece.error and (len(group) == 1 or self._database.gave_up(connection)):
                        raise piece.error
                if self._failpoint:
                    self._failpoint.reach(before=True)
            if self._failpoint:
                self._failpoint.reach(before=False)
        except BaseException as error:  # the commit itself failed, e.g. the disk is full: nobody's work is done
            for piece in group:
                piece.error = error
        for piece in group:
            piece.tell()
        self._on_commit(changed)


@final
class _Piece:
    """Work that waits for the writer."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.future: Future[Any] = Future()
        self.error: BaseException | None = None
        self._work = work
        self._result: Any = None

    def run(self, connection: Connection, *, alone: bool) -> None:
        """`alone` the whole transaction stands for the savepoint: two round trips fewer."""
        driver: Any = connection.connection.driver_connection  # past SQLAlchemy: 60 % of the time of a small piece
        if not alone:
            driver.execute("SAVEPOINT piece")
        try:
            self._result = self._work(connection)
            if not alone:
                driver.execute("RELEASE SAVEPOINT piece")
        except Exception as error:
            self.error = error
            if not alone:
                with contextlib.suppress(Exception):  # it is gone where the database undid everything
                    driver.execute("ROLLBACK TO SAVEPOINT piece")
                    driver.execute("RELEASE SAVEPOINT piece")

    def tell(self) -> None:
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)


def _open(where: Path | str) -> Database:
    """With today's tables in it."""
    database = open_database(where)
    try:
        with database.writer.begin() as connection:
            bring_forward(connection, database.shown)
    except DBAPIError as error:
        database.close()
        raise ServerError(
            asked=f"opening the database {database.shown}",
            found=" ".join(str(error.orig).split()),
            do="Check its name, that it can be reached, and that Leyden may write to it.",
        ) from error
    except BaseException:
        database.close()
        raise
    return database

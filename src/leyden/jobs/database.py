"""What must a database do to keep the jobs, and which one is meant?

Above this everything is the same: SQLAlchemy's Core and one thread that writes (see store.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import Connection, Engine

from leyden.core.errors import UsageError


class Database(ABC):
    """An open database that no other server has open. Its `writer` makes one connection at a time."""

    shown: str  # its name in messages, without a password
    writer: Engine
    reader: Engine  # every transaction sees one snapshot and never waits for the writer

    @abstractmethod
    def gave_up(self, connection: Connection) -> bool:
        """Whether the whole transaction is undone, not only the work that failed in it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it: another server may open it."""


def open_database(where: Path | str) -> Database:
    """By path (SQLite) or URL (`sqlite:///…`, `postgresql://…`).

    Raises ServerError where another server has it open or it cannot be reached, UsageError where it is of another kind.
    """
    kind, _, rest = str(where).partition("://")
    if isinstance(where, Path) or not rest:
        from leyden.jobs.sqlite import SqliteDatabase

        return SqliteDatabase(Path(where))
    if kind == "sqlite":
        from leyden.jobs.sqlite import SqliteDatabase

        return SqliteDatabase(Path(rest.removeprefix("/")))
    if kind in {"postgres", "postgresql"}:
        from leyden.jobs.postgres import PostgresDatabase  # psycopg is an extra

        return PostgresDatabase(rest)
    raise UsageError(
        asked=f"the database {kind}://…",
        found="Leyden keeps its jobs in SQLite or PostgreSQL",
        do="Give the path of a file, or postgresql://user@host/name.",
    )

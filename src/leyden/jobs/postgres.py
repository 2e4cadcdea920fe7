"""How do the jobs lie in PostgreSQL, written by one server and never by two?

The connection that writes holds a lock of the database's own. Nothing is written without it, not even by a connection
made anew after the old one was lost, and it goes with the process, however that ends.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Any, Final, final

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from leyden.core.errors import ServerError, UsageError
from leyden.jobs.database import Database

try:
    import psycopg
    from psycopg.pq import TransactionStatus
except ImportError:
    raise ServerError(
        asked="the jobs are to be kept in PostgreSQL",
        found="psycopg, which speaks to it, is not installed",
        do="pip install 'leyden[postgres]'",
    ) from None

LOCK: Final = (0x4C65_7964, 1)  # two numbers, as pg_locks shows them; nobody else's in a database of our own
# A server that was killed a moment ago still holds the lock until PostgreSQL has noticed. One whose machine lost its
# power would hold it for two hours, which is when Linux first asks whether anybody is there: it is to ask after 10 s.
LOCK_WAIT_S: Final = 1
_SETTINGS: Final = {
    "lock_timeout": f"{LOCK_WAIT_S}s",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
_HOLDER: Final = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 2
      AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@final
class PostgresDatabase(Database):
    """A database of PostgreSQL 13 or newer."""

    def __init__(self, address: str) -> None:
        """`address` is user:password@host:port/name; what it leaves out libpq finds in PGHOST, ~/.pgpass and so on."""
        url = _url(address)
        self.shown = _shown(url)
        arguments = {
            "connect_timeout": 10,
            "application_name": f"leyden server: {socket.gethostname()}, pid {os.getpid()}",
        }
        # pre_ping: one round trip a commit, so that after a restart of PostgreSQL nobody's work fails.
        self.writer = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=arguments)
        self.reader = create_engine(
            url,
            pool_size=8,
            max_overflow=32,
            pool_pre_ping=True,
            connect_args=arguments,
            execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        )

        @event.listens_for(self.writer, "connect")
        def _lock(connection: psycopg.Connection[Any], _record: object) -> None:
            _take_lock(connection, self.shown)

    def gave_up(self, connection: Connection) -> bool:
        """So it is when the connection is lost."""
        if connection.invalidated:
            return True
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        return driver.info.transaction_status is not TransactionStatus.INTRANS

    def close(self) -> None:
        self.reader.dispose()
        self.writer.dispose()


def _url(address: str) -> URL:
    try:
        return make_url(f"postgresql+psycopg://{address}")
    except (ArgumentError, ValueError):
        raise UsageError(
            asked="a database in PostgreSQL",
            found="its URL cannot be understood",
            do="Write postgresql://user@host:port/name; a password belongs into ~/.pgpass.",
        ) from None


def _shown(url: URL) -> str:
    """Without a password, which libpq takes as a parameter too.

    >>> _shown(make_url("postgresql+psycopg://ada:s3cret@host/jobs?password=s3cret&sslmode=require"))
    'postgresql://ada:***@host/jobs?password=***&sslmode=require'
    """
    text = url.set(drivername="postgresql").render_as_string(hide_password=True)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", text)


def _take_lock(connection: psycopg.Connection[Any], shown: str) -> None:
    """Hold it for as long as the connection lives. Raises ServerError naming who does."""
    try:
        for name, value in _SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()
        connection.execute("SELECT pg_advisory_lock(%s, %s)", LOCK)
        connection.commit()
    except psycopg.errors.LockNotAvailable:
        connection.rollback()
        row = connection.execute(_HOLDER, LOCK).fetchone()
        connection.close()
        raise ServerError(
            asked=f"opening the database {shown}",
            found=f"another server has it open ({(row and row[0]) or 'it does not say where'})",
            do="One server a database: use that one, or stop it first.",
        ) from None

"""A real PostgreSQL for tests: a cluster of its own in a folder of its own, reached through a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import final

import pytest

from tests.conformance.until import until

_NAMES = count(1)
# Without fsync: it is about processes that die, not about power cuts, and the disk belongs to all tests.
_LIGHT = ("shared_buffers=16MB", "fsync=off")


@final
class Postgres:
    """One cluster. PostgreSQL refuses to run as root, so there it runs as the user its package made."""

    def __init__(self, folder: Path, settings: Sequence[str] = _LIGHT) -> None:
        self.folder = folder
        self._settings = settings
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        words = ("--no-sync", "--auth=trust", "--username=leyden", "--encoding=UTF8", "--locale=C")
        done = self._run("initdb", *words, "-D", str(folder / "data"))
        assert done.wait() == 0, (folder / "log").read_text()

    def start(self) -> None:
        """Until it answers."""
        own = ("listen_addresses=", f"unix_socket_directories={self.folder}")
        flags = [word for one in (*own, *self._settings) for word in ("-c", one)]
        self._process = self._run("postgres", "-D", str(self.folder / "data"), *flags)
        until(lambda: self._run("pg_isready", "-h", str(self.folder)).wait() == 0)

    def stop(self) -> None:
        """At once, as if it had crashed."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)

    def database(self) -> str:
        """The URL of a new, empty one."""
        name = f"jobs{next(_NAMES)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://leyden@/{name}?host={self.folder}"

    def sql(self, statement: str, database: str = "postgres") -> None:
        """As an administrator."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="leyden", dbname=database, autocommit=True) as connection:
            connection.execute(statement)

    def cut(self, url: str) -> None:
        """End every connection to the database."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def _run(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [_program(name) or name, *words],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
            )


@contextmanager
def postgres_cluster(settings: Sequence[str] = _LIGHT) -> Iterator[Postgres]:
    """Started; skips the test where PostgreSQL is not installed (Debian: postgresql)."""
    if _program("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    # Not pytest's own folder: that is root's alone, and too long a path for a socket.
    with tempfile.TemporaryDirectory(prefix="leyden-pg-", dir="/tmp") as folder:
        one = Postgres(Path(folder), settings)
        one.start()
        try:
            yield one
        finally:
            one.stop()


def _program(name: str) -> str | None:
    """Debian keeps them out of PATH, a folder for each version."""
    places = (str(one) for one in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    return shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))

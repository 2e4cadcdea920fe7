"""Does SQLite do what every database of jobs must, keep what it confirmed, and open what older Leydens wrote?"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from leyden.core.errors import ServerError, UsageError
from leyden.core.states import State
from leyden.jobs import life, migrations
from leyden.jobs.failpoint import Failpoint
from leyden.jobs.rows import all_attempts, held_devices, list_jobs
from leyden.jobs.store import Store
from tests.conformance.store import StoreSuite, Where, count
from tests.jobs.samples import a_job


class TestSqlite(StoreSuite):
    @pytest.fixture
    def where(self, tmp_path: Path) -> Where:
        return tmp_path / "leyden.db"


def test_commits_are_durable(store: Store) -> None:
    modes = store.read(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert modes == ["wal", 2]


def test_a_full_disk_fails_the_write_and_the_store_goes_on(store: Store) -> None:
    """SQLite's own page limit stands in for the disk: the same error from the same place."""
    pages = store.read(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar())
    store.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())
    job = a_job(spec="x" * 1_000_000)
    with pytest.raises(Exception, match="full"):
        store.write(lambda connection: life.submit(connection, job))
    store.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000").scalar())
    store.write(lambda connection: life.submit(connection, job))


def test_a_file_of_a_newer_leyden_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "leyden.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ServerError, match="a newer Leyden wrote it"):
        Store(tmp_path / "leyden.db")


def test_a_file_written_before_there_were_revisions_keeps_its_jobs(tmp_path: Path) -> None:
    """The dump of a real one: three jobs, one of them running."""
    path = tmp_path / "leyden.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(Path(__file__).with_name("first_version.sql").read_text())
    connection.close()
    store = Store(path)
    jobs = store.read(lambda connection: list_jobs(connection, since=None, limit=10))
    assert [job.state for job in jobs] == [State.QUEUED, State.RUNNING, State.SUCCEEDED]
    assert store.read(held_devices) == {"cpu:0": jobs[1].id, "cpu:1": jobs[1].id}
    assert store.read(lambda connection: all_attempts(connection, jobs[2].id))[0].outcome == "succeeded"
    version = store.read(lambda connection: connection.exec_driver_sql("PRAGMA user_version").scalar())
    assert version == int(migrations.HEAD)  # so that the Leyden which wrote it refuses it from now on
    store.close()


def test_the_newest_revision_is_the_one_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_opening_loads_nothing_of_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from leyden.jobs.store import Store; Store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    for _ in range(2):  # a new file, and one that is up to date
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "x.db"], capture_output=True, text=True, check=True
        )
        assert done.stdout == "False\n"


@pytest.mark.parametrize("url", ["sqlite:///{}", "{}"])
def test_a_path_may_be_written_as_a_url(tmp_path: Path, url: str) -> None:
    store = Store(url.format(tmp_path / "x.db"))
    assert count(store) == 0
    store.close()
    assert (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("where", "kind", "says"),
    [
        ("mysql://root@localhost/x", UsageError, "Leyden keeps its jobs in SQLite or PostgreSQL"),
        ("/nowhere/x.db", ServerError, "its folder cannot be written: .*No such file"),
        ("/dev/null/x.db", ServerError, "its folder cannot be written: .*Not a directory"),
    ],
)
def test_a_database_that_cannot_be_is_named(where: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Store(where)


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database, but long enough to be one " * 100)
    with pytest.raises(ServerError, match=r"opening the database .*; file is not a database"):
        Store(path)
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize("text", ["0:after", "x", "3", "3:during", "-1:before"])
def test_a_failpoint_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="LEYDEN_FAILPOINT"):
        Failpoint.parse(text)

"""Does one writer serve many threads, undo what fails alone, and keep what it confirmed?"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from leyden.core.errors import ServerError
from leyden.jobs import life
from leyden.jobs.store import Store
from leyden.jobs.tables import events, jobs
from tests.jobs.samples import a_job


def test_all_writes_happen_on_one_thread_in_few_commits(store: Store) -> None:
    seen: set[int] = set()

    def work(connection: Connection) -> None:
        seen.add(threading.get_ident())
        life.submit(connection, a_job())

    with ThreadPoolExecutor(8) as pool:
        futures = [
            future
            for batch in pool.map(lambda _: [store.submit(work) for _ in range(50)], range(8))
            for future in batch
        ]
    for future in futures:
        future.result()
    assert len(seen) == 1
    assert seen != {threading.get_ident()}
    assert store.read(lambda connection: connection.scalar(select(func.count()).select_from(jobs))) == 400


def test_work_that_fails_undoes_only_itself(store: Store) -> None:
    good, bad = a_job(), a_job()
    hold = threading.Event()
    first = store.submit(lambda _connection: hold.wait(10))  # so that the next three share a commit

    def fail(connection: Connection) -> None:
        life.submit(connection, bad)
        raise KeyError("on purpose")

    futures: list[Future[Any]] = [store.submit(lambda connection: life.submit(connection, good)), store.submit(fail)]
    hold.set()
    first.result()
    futures[0].result()
    with pytest.raises(KeyError):
        futures[1].result()
    assert store.read(lambda connection: connection.scalars(select(jobs.c.id)).all()) == [good.id]


def test_a_reader_does_not_wait_for_the_writer(store: Store) -> None:
    store.write(lambda connection: life.submit(connection, a_job()))
    hold, began = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        life.submit(connection, a_job())
        began.set()
        assert hold.wait(10)

    writing = store.submit(slow)
    assert began.wait(10)
    assert store.read(lambda connection: connection.scalar(select(func.count()).select_from(jobs))) == 1
    hold.set()
    writing.result()


def test_commits_are_durable(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.db")
    modes = store.read(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    store.close()
    assert modes == ["wal", 2]


def test_what_was_confirmed_outlives_sigkill(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from leyden.jobs import life
        from leyden.jobs.store import Store
        from tests.jobs.samples import a_job
        store = Store(Path(sys.argv[1]))
        while True:
            job = a_job()
            store.write(lambda connection: life.submit(connection, job))
            print(job.id, flush=True)
    """
    path = tmp_path / "leyden.db"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as writer:
        assert writer.stdout
        confirmed = [writer.stdout.readline().strip() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        confirmed += writer.stdout.read().splitlines()[:-1]  # the last line may be torn
    store = Store(path)
    kept = store.read(lambda connection: connection.scalars(select(jobs.c.id)).all())
    store.close()
    assert set(confirmed) <= set(kept)


def test_a_full_disk_fails_the_write_and_the_store_goes_on(store: Store) -> None:
    """SQLite's own page limit stands in for the disk: the same error from the same place."""
    pages = store.read(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar())
    store.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())
    job = a_job(spec="x" * 1_000_000)
    with pytest.raises(Exception, match="full"):
        store.write(lambda connection: life.submit(connection, job))
    store.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000").scalar())
    store.write(lambda connection: life.submit(connection, job))


def test_a_store_of_a_newer_leyden_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "leyden.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ServerError, match="a newer Leyden wrote it"):
        Store(tmp_path / "leyden.db")


def test_events_need_a_job(store: Store) -> None:
    row = {"job_id": "none", "at": 0.0, "before": "", "after": "", "who": "", "why": ""}
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.write(lambda connection: connection.execute(insert(events).values(**row)))

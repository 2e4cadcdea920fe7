"""What must every database of jobs do? A test class of one derives from StoreSuite and says how to make one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from leyden.core.errors import ServerError
from leyden.core.states import State
from leyden.engines.base import Ending, Machine, Outcome
from leyden.jobs import life
from leyden.jobs.database import open_database
from leyden.jobs.migrations import FIRST, upgrade
from leyden.jobs.queue import load_snapshot
from leyden.jobs.rows import all_attempts, find_job, get_job, held_devices, list_jobs, unclean_attempts
from leyden.jobs.store import Store
from leyden.jobs.tables import events, jobs, leases, metadata
from tests.jobs.samples import a_job

Where = Path | str
MACHINE = Machine(node="n", cpus=2, memory_bytes=1)


class StoreSuite:
    """Threads, failures, crashes, two servers, and databases of other versions."""

    @abstractmethod
    @pytest.fixture
    def where(self) -> Where:
        """A path or URL where there is nothing yet."""

    @pytest.fixture
    def store(self, where: Where) -> Iterator[Store]:
        one = Store(where)
        yield one
        one.close()

    def test_all_writes_happen_on_one_thread(self, store: Store) -> None:
        seen: set[int] = set()

        def work(connection: Connection) -> None:
            seen.add(threading.get_ident())
            life.submit(connection, a_job())

        with ThreadPoolExecutor(8) as pool:
            batches = list(pool.map(lambda _: [store.submit(work) for _ in range(50)], range(8)))
        for future in [one for batch in batches for one in batch]:
            future.result()
        assert len(seen) == 1
        assert seen != {threading.get_ident()}
        assert count(store) == 400

    def test_work_that_fails_undoes_only_itself(self, store: Store) -> None:
        good, bad, late = a_job(), a_job(), a_job()

        def fail(connection: Connection) -> None:
            life.submit(connection, bad)
            raise KeyError("on purpose")

        def refused(connection: Connection) -> None:  # by the database, which may give up more than the statement
            life.submit(connection, replace(bad, key=good.key + "x"))
            connection.execute(insert(jobs), replace(bad, id="other", key=good.key).columns())

        together = in_one_commit(
            store,
            lambda connection: life.submit(connection, good),
            fail,
            refused,
            lambda connection: life.submit(connection, late),
        )
        assert [type(one.exception()) for one in together] == [type(None), KeyError, IntegrityError, type(None)]
        assert store.read(lambda connection: connection.scalars(select(jobs.c.id)).all()) == [good.id, late.id]

    def test_work_that_fails_alone_leaves_nothing(self, store: Store) -> None:
        one = a_job()

        def fail(connection: Connection) -> None:
            life.submit(connection, one)
            raise KeyError("on purpose")

        with pytest.raises(KeyError):
            store.write(fail)
        assert count(store) == 0
        assert store.write(lambda connection: life.submit(connection, one)) == (one, True)

    def test_of_many_submits_each_key_makes_one_job(self, store: Store) -> None:
        first, second, third = a_job(), a_job(after=("a",)), a_job()
        store.write(lambda connection: life.submit(connection, first))
        twice = replace(third, id="other")
        again = [replace(first, id="new"), second, third, twice]
        found = store.write(lambda connection: life.submit_many(connection, again))
        assert found == [(first, False), (second, True), (third, True), (third, False)]
        assert store.write(lambda connection: life.submit_many(connection, again[:2])) == [
            (first, False),
            (second, False),
        ]
        told = store.read(lambda connection: connection.scalars(select(events.c.job_id).order_by(events.c.id)).all())
        assert told == [first.id, second.id, third.id]

    def test_a_batch_costs_no_statement_a_job(self, store: Store) -> None:
        statements: list[str] = []

        def work(connection: Connection) -> None:
            event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
            life.submit_many(connection, [a_job() for _ in range(500)])

        store.write(work)
        assert [one.split()[0] for one in statements] == ["SELECT", "INSERT", "INSERT"]
        assert count(store) == 500

    def test_a_reader_does_not_wait_for_the_writer_and_sees_one_moment(self, store: Store) -> None:
        store.write(lambda connection: life.submit(connection, a_job()))
        hold, began = threading.Event(), threading.Event()

        def slow(connection: Connection) -> None:
            life.submit(connection, a_job())
            began.set()
            assert hold.wait(60)

        def twice(connection: Connection) -> tuple[int | None, int | None]:
            first = connection.scalar(select(func.count()).select_from(jobs))
            hold.set()
            writing.result()
            return first, connection.scalar(select(func.count()).select_from(jobs))

        writing = store.submit(slow)
        assert began.wait(60)
        assert store.read(twice) == (1, 1)
        assert count(store) == 2

    def test_closing_finishes_what_was_asked_for(self, where: Where) -> None:
        store = Store(where)
        for _ in range(20):
            store.submit(lambda connection: life.submit(connection, a_job()))
        store.close()
        again = Store(where)
        assert count(again) == 20
        again.close()

    def test_what_was_confirmed_outlives_sigkill(self, where: Where) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SUBMITS), str(where)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as writer:
            assert writer.stdout
            confirmed = [writer.stdout.readline().strip() for _ in range(20)]
            with pytest.raises(ServerError, match=rf"pid {writer.pid}\b.*One server a database"):
                Store(where)
            os.kill(writer.pid, signal.SIGKILL)
            confirmed += writer.stdout.read().splitlines()[:-1]  # the last line may be torn
        store = Store(where)  # the lock went with the process
        kept = store.read(lambda connection: connection.scalars(select(jobs.c.id)).all())
        store.close()
        assert set(confirmed) <= set(kept)

    def test_a_whole_life_is_kept_as_it_was_told(self, store: Store) -> None:
        job = a_job(
            name="naïve “digits” 手 %s :x", gpus=1, gpu_memory_bytes=24_000_000_000, after=("a", "b"), time_s=0.1 + 0.2
        )
        store.write(lambda connection: life.submit(connection, job))
        assert store.read(lambda connection: get_job(connection, job.id)) == job
        attempt = store.write(lambda connection: life.admit(connection, job.id, ["gpu:0"], node="n", at=2.0))
        assert store.read(held_devices) == {"gpu:0": job.id}
        snapshot = store.read(lambda connection: load_snapshot(connection, MACHINE, now=3.0))
        assert [one.devices for one in snapshot.running] == [("gpu:0",)]
        store.write(lambda connection: life.started(connection, attempt, pid=4_194_304, at=3.5))
        outcome = Outcome(kind=Ending.FAILED, message="'; DROP TABLE jobs; --", ended_at=1.8e9 + 1 / 3, exit_code=137)
        assert store.write(lambda connection: life.ended(connection, attempt, outcome, at=9.0))
        assert store.read(held_devices) == {}
        ended = store.read(lambda connection: find_job(connection, job.id[-4:]))
        assert (ended.state, ended.reason, ended.ended_at) == (State.FAILED, outcome.message, outcome.ended_at)
        assert store.read(lambda connection: list_jobs(connection, since=None, limit=5)) == [ended]
        assert len(store.read(unclean_attempts)) == 1
        (kept,) = store.read(lambda connection: all_attempts(connection, job.id))
        assert (kept.outcome, kept.pid, kept.devices) == ("failed", 4_194_304, ("gpu:0",))
        said = store.read(lambda connection: connection.scalars(select(events.c.after).order_by(events.c.id)).all())
        assert said == ["queued", "admitted", "starting", "running", "failed"]

    def test_the_database_itself_refuses_what_must_never_be(self, store: Store) -> None:
        one, other = a_job(), a_job()
        for job in (one, other):
            store.write(lambda connection, job=job: life.submit(connection, job))  # type: ignore[misc]
        attempt = store.write(lambda connection: life.admit(connection, one.id, ["cpu:0"], node="n", at=2.0))
        row = {"node": "n", "device": "cpu:0", "job_id": other.id, "attempt_uid": attempt.uid, "acquired_at": 3.0}
        told = {"job_id": "none", "at": 0.0, "before": "", "after": "", "who": "", "why": ""}
        for table, values in ((leases, row), (events, told), (jobs, replace(other, id="x").columns())):
            with pytest.raises(IntegrityError):
                store.write(lambda connection, table=table, values=values: connection.execute(insert(table), values))  # type: ignore[misc]
        with pytest.raises(IntegrityError):
            store.write(lambda connection: life.admit(connection, other.id, ["cpu:1", "cpu:0"], node="n", at=2.0))
        assert store.read(held_devices) == {"cpu:0": one.id}
        assert store.read(lambda connection: get_job(connection, other.id)).state is State.QUEUED

    def test_a_second_server_is_refused_and_the_first_goes_on(self, store: Store, where: Where) -> None:
        with pytest.raises(ServerError, match=rf"pid {os.getpid()}\b.*One server a database"):
            Store(where)
        store.write(lambda connection: life.submit(connection, a_job()))
        assert count(store) == 1

    def test_a_database_of_the_first_version_is_brought_forward_with_its_jobs(self, where: Where) -> None:
        of_first_version(where)
        store = Store(where)
        job = store.read(lambda connection: get_job(connection, "0000000001"))
        assert (job.state, job.intent, job.after, job.time_s, job.infra_failures) == (State.QUEUED, "", (), None, 0)
        store.write(lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=2.0))
        store.close()
        Store(where).close()

    def test_what_is_brought_forward_is_what_is_made_anew(self, where: Where, store: Store) -> None:
        new = store.write(described)
        assert store.write(differences) == []
        store.write(metadata.drop_all)
        store.write(lambda connection: connection.execute(text("DELETE FROM alembic_version")))
        store.write(upgrade)
        assert store.write(differences) == []
        assert store.write(described) == new

    def test_a_step_forward_that_fails_changes_nothing(self, where: Where) -> None:
        of_first_version(where)
        in_database(where, "CREATE TABLE quotas (x INTEGER)")  # in the way of the last thing the revision makes
        with pytest.raises(ServerError, match=r"opening the database .*quotas"):
            Store(where)
        in_database(where, "DROP TABLE quotas")
        store = Store(where)
        assert count(store) == 1
        store.close()

    def test_a_database_of_a_newer_leyden_is_left_alone(self, where: Where) -> None:
        Store(where).close()
        in_database(where, "UPDATE alembic_version SET version_num = '0099'")
        with pytest.raises(ServerError, match=r"a newer Leyden wrote it.*99") as caught:
            Store(where)
        assert "Upgrade Leyden" in caught.value.do


SUBMITS = """
    import sys
    from leyden.jobs import life
    from leyden.jobs.store import Store
    from tests.jobs.samples import a_job
    store = Store(sys.argv[1])
    while True:
        job = a_job()
        store.write(lambda connection: life.submit(connection, job))
        print(job.id, flush=True)
"""


def in_one_commit(store: Store, *works: Any) -> list[Future[Any]]:
    """Have all of them wait while the writer is busy with another commit."""
    hold, began = threading.Event(), threading.Event()

    def block(_connection: Connection) -> None:
        began.set()
        assert hold.wait(60)

    store.submit(block)
    assert began.wait(60)
    futures = [store.submit(work) for work in works]
    hold.set()
    for future in futures:
        future.exception()
    return futures


def count(store: Store) -> int | None:
    """How many jobs there are."""
    return store.read(lambda connection: connection.scalar(select(func.count()).select_from(jobs)))


def of_first_version(where: Where) -> None:
    """Make a database as the first Leyden left it, with one job."""
    with closing(open_database(where)) as database, database.writer.begin() as connection:
        upgrade(connection, FIRST)
        columns = {column["name"] for column in inspect(connection).get_columns("jobs")}
        row = {key: value for key, value in a_job(id="0000000001").columns().items() if key in columns}
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({values})"), row)


def in_database(where: Where, statement: str) -> None:
    """Run it while no store has the database open."""
    with closing(open_database(where)) as database, database.writer.begin() as connection:
        connection.execute(text(statement))


def differences(connection: Connection) -> list[Any]:
    """Between the tables there are and those the code knows."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found: list[Any] = compare_metadata(context, metadata)
    return found


def described(connection: Connection) -> dict[str, Any]:
    """Every column and index of every table, conditions of partial indexes included."""
    known = inspect(connection)
    found: dict[str, Any] = {}
    for name in sorted(metadata.tables):
        columns = {one["name"]: (str(one["type"]), one["nullable"], one["default"]) for one in known.get_columns(name)}
        indexes = {one["name"]: (one["column_names"], one["unique"], _where(one)) for one in known.get_indexes(name)}
        unique = sorted(str(one["column_names"]) for one in known.get_unique_constraints(name))
        keys = sorted(str(one["constrained_columns"]) for one in known.get_foreign_keys(name))
        found[name] = (columns, indexes, unique, keys, known.get_pk_constraint(name)["constrained_columns"])
    return found


def _where(index: Any) -> list[str]:
    return [str(value) for key, value in index.get("dialect_options", {}).items() if key.endswith("_where")]

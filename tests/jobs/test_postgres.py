"""Does PostgreSQL do what every database of jobs must, and what of lost connections?"""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from leyden.core.errors import ServerError, UsageError
from leyden.jobs import life
from leyden.jobs.store import Store
from tests.conformance.postgres import Postgres
from tests.conformance.store import StoreSuite, Where, count, in_one_commit
from tests.jobs.samples import a_job


@pytest.fixture
def where(postgres: Postgres) -> Where:
    return postgres.database()


class TestPostgres(StoreSuite):
    @pytest.fixture
    def where(self, postgres: Postgres) -> Where:
        return postgres.database()


def test_commits_are_durable(postgres: Postgres, where: Where) -> None:
    postgres.sql(f"ALTER DATABASE {str(where).split('?')[0].split('/')[-1]} SET synchronous_commit = off")
    store = Store(where)
    assert store.write(lambda connection: connection.scalar(text("SHOW synchronous_commit"))) == "on"
    store.close()


def test_a_restart_of_postgresql_costs_nobody_their_work(postgres: Postgres, where: Where) -> None:
    store = Store(where)
    store.write(lambda connection: life.submit(connection, a_job()))
    assert count(store) == 1
    postgres.stop()
    with pytest.raises(OperationalError):
        store.write(lambda connection: life.submit(connection, a_job()))
    postgres.start()
    store.write(lambda connection: life.submit(connection, a_job()))
    assert count(store) == 2
    store.close()


def test_a_connection_lost_in_the_middle_undoes_all_of_the_commit(postgres: Postgres, where: Where) -> None:
    store = Store(where)

    def cut(connection: Connection) -> None:
        postgres.cut(str(where))
        connection.execute(text("SELECT 1"))

    good = lambda connection: life.submit(connection, a_job())  # noqa: E731
    together = in_one_commit(store, good, cut, good)
    assert [type(one.exception()) for one in together] == [OperationalError] * 3
    assert count(store) == 0
    store.write(good)
    assert count(store) == 1
    store.close()


def test_a_server_that_lost_its_lock_with_its_connection_cannot_write(postgres: Postgres, where: Where) -> None:
    first = Store(where)
    postgres.cut(str(where))
    second = Store(where)
    with pytest.raises(ServerError, match="another server has it open"):
        first.write(lambda connection: life.submit(connection, a_job()))
    second.write(lambda connection: life.submit(connection, a_job()))
    second.close()
    first.write(lambda connection: life.submit(connection, a_job()))  # the lock is free again
    assert count(first) == 2
    first.close()


def test_readers_cannot_write(where: Where) -> None:
    store = Store(where)
    with pytest.raises(Exception, match="read-only transaction"):
        store.read(lambda connection: life.submit(connection, a_job()))
    store.close()


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        (
            "postgresql://ada:secret@/nowhere?host=/nonexistent",
            ServerError,
            "opening the database .*ada:\\*\\*\\*@.*No such",
        ),
        ("postgresql://ada@host:port/x", UsageError, "its URL cannot be understood"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    url: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        Store(url)
    assert "secret" not in str(caught.value)

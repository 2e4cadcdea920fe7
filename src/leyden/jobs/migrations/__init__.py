"""How is a database that an older Leyden wrote brought forward, with its jobs kept?

A change of `tables` is a new revision in `versions/` and the new HEAD here. First expand (add what the new code needs,
with defaults), and only in a later release contract (drop what nothing reads any more). A new database is made from
`tables` at once; tests/jobs/test_store_migrations.py holds that both ways end at the same tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from leyden.core.errors import ServerError
from leyden.jobs.tables import metadata

FIRST: Final = "0001"  # what databases without a word about their revision are in
HEAD: Final = "0004"
_revisions = Table(
    "alembic_version",  # Alembic's own name and shape, so that its tools can be used on it
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def bring_forward(connection: Connection, shown: str) -> None:
    """In the caller's transaction: all of it or nothing. Raises ServerError where a newer Leyden wrote the database."""
    found = _revision(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise ServerError(
            asked=f"opening the database {shown}",
            found=f"a newer Leyden wrote it (version {int(found)}, this one knows {int(HEAD)})",
            do="Upgrade Leyden, or give another database or home.",
        )
    if found is None:
        metadata.create_all(connection)
        stamp(connection, HEAD)
    else:
        stamp(connection, found)
        upgrade(connection)
        _stamp_file(connection, HEAD)


def stamp(connection: Connection, revision: str) -> None:
    """Say which revision the tables are in, if nothing says so yet."""
    if not inspect(connection).has_table(_revisions.name):
        _revisions.create(connection)
        connection.execute(insert(_revisions), {"version_num": revision})
    _stamp_file(connection, revision)


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Run the revisions that are missing."""
    from alembic.config import Config  # 100 ms; only where a migration is due
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(found: Any, _context: Any) -> Any:
        return script._upgrade_revs(to, found)

    with EnvironmentContext(config, script, fn=steps, destination_rev=to) as environment:
        environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
        environment.run_migrations()


def _revision(connection: Connection) -> str | None:
    """Of the tables; None where there are none."""
    if connection.dialect.name == "sqlite":  # user_version is what Leydens before Alembic look at
        written: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if written > int(HEAD):
            return f"{written:04}"
    known = inspect(connection)
    if known.has_table(_revisions.name):
        return connection.scalar(select(_revisions.c.version_num))
    return FIRST if known.has_table("jobs") else None


def _stamp_file(connection: Connection, revision: str) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")

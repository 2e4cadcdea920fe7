"""How is a row changed without putting the statement together anew? That takes seven times as long as to execute it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, Update, and_, bindparam, update


def change(connection: Connection, table: Table, where: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Give the rows whose columns are as `where` says these values; how many there were."""
    statement = _update(table, tuple(where), tuple(values))
    is_ = {f"is_{name}": value for name, value in where.items()}
    return int(
        connection.execute(statement, {**is_, **{f"new_{name}": value for name, value in values.items()}}).rowcount
    )


@lru_cache(maxsize=500)
def _update(table: Table, where: tuple[str, ...], names: tuple[str, ...]) -> Update:
    those = and_(*(table.c[name] == bindparam(f"is_{name}") for name in where))
    return update(table).where(those).values({name: bindparam(f"new_{name}") for name in names})

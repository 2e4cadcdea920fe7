"""What was added for the record of runs: metrics, config, tags?"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, String, Text

revision = "0003"
down_revision = "0002"

_BIG = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Add it."""
    op.create_table(
        "runs",
        Column("id", String, primary_key=True),
        Column("path", Text, nullable=False),
        Column("project", String, nullable=False, server_default=""),
        Column("name", String, nullable=False),
        Column("user", String, nullable=False),
        Column("state", String, nullable=False, server_default=""),
        Column("created_at", Float, nullable=False),
        Column("ended_at", Float),
        Column("config", Text, nullable=False, server_default="{}"),
        Column("summary", Text, nullable=False, server_default="{}"),
        Column("tags", Text, nullable=False, server_default="[]"),
        Column("note", Text, nullable=False, server_default=""),
        Column("archived", Integer, nullable=False, server_default="0"),
        Column("settled", Integer, nullable=False, server_default="0"),
        Column("points", _BIG, nullable=False, server_default="0"),
        Column("snapshot", LargeBinary),
        Column("updated_at", Float, nullable=False),
    )

"""What was added for sweeps: they, their trials, what these reported, and parts of GPUs?"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add it."""
    op.add_column("jobs", Column("share", Integer, nullable=False, server_default="1"))
    op.create_table(
        "sweeps",
        Column("id", String, primary_key=True),
        Column("key", String, nullable=False, unique=True),
        Column("version", Integer, nullable=False),
        Column("state", String, nullable=False, index=True),
        Column("reason", Text, nullable=False, server_default=""),
        Column("name", String, nullable=False),
        Column("user", String, nullable=False),
        Column("job", Text, nullable=False),
        Column("spec", Text, nullable=False),
        Column("code", String, nullable=False),
        Column("cwd", String, nullable=False),
        Column("submit_dir", String, nullable=False),
        Column("environ", String, nullable=False),
        Column("created_at", Float, nullable=False),
        Column("ended_at", Float),
    )
    op.create_table(
        "trials",
        Column("sweep_id", String, ForeignKey("sweeps.id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("job_id", String, ForeignKey("jobs.id"), nullable=False, unique=True),
        Column("params", Text, nullable=False),
        Column("standing", String, nullable=False),
        Column("bracket", Integer, nullable=False),
        Column("allowed", Integer, nullable=False),
        Column("parent", Integer),
        Column("finals", Text, nullable=False, server_default="[]"),
        Column("note", Text, nullable=False, server_default=""),
    )
    op.create_table(
        "reports",
        Column("sweep_id", String, primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("rung", Integer, primary_key=True, autoincrement=False),
        Column("resource", Float, nullable=False),
        Column("value", Float),
        Column("at", Float, nullable=False),
    )

"""What did the first tables look like?"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, String, Text, UniqueConstraint, text

revision = "0001"
down_revision = None

_BIG = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "jobs",
        Column("id", String, primary_key=True),
        Column("key", String, nullable=False, unique=True),
        Column("version", Integer, nullable=False),
        Column("state", String, nullable=False, index=True),
        Column("reason", Text, nullable=False),
        Column("name", String, nullable=False),
        Column("user", String, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("spec", Text, nullable=False),
        Column("code", String, nullable=False),
        Column("cwd", String, nullable=False),
        Column("submit_dir", String, nullable=False),
        Column("gpus", Integer, nullable=False),
        Column("gpu_model", String, nullable=False),
        Column("gpu_memory_bytes", _BIG, nullable=False),
        Column("cpus", Integer, nullable=False),
        Column("ranks", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("fence", Integer, nullable=False),
        Column("created_at", Float, nullable=False),
        Column("started_at", Float),
        Column("ended_at", Float, index=True),
        Column("exit_code", Integer),
    )
    _attempts_and_leases()
    op.create_table(
        "events",
        Column("id", _BIG, primary_key=True),
        Column("job_id", String, ForeignKey("jobs.id"), nullable=False, index=True),
        Column("at", Float, nullable=False),
        Column("before", String, nullable=False),
        Column("after", String, nullable=False),
        Column("who", String, nullable=False),
        Column("why", Text, nullable=False),
    )


def _attempts_and_leases() -> None:
    op.create_table(
        "attempts",
        Column("uid", String, primary_key=True),
        Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
        Column("number", Integer, nullable=False),
        Column("engine_ref", String, nullable=False, unique=True),
        Column("fence", Integer, nullable=False),
        Column("node", String, nullable=False),
        Column("devices", Text, nullable=False),
        Column("created_at", Float, nullable=False),
        Column("launched_at", Float),
        Column("started_at", Float),
        Column("heartbeat_at", Float),
        Column("pid", Integer),
        Column("ended_at", Float),
        Column("outcome", String, nullable=False, server_default=""),
        Column("message", Text, nullable=False, server_default=""),
        Column("exit_code", Integer),
        Column("cleaned_at", Float),
        UniqueConstraint("job_id", "number"),
    )
    open_ = text("cleaned_at IS NULL")
    op.create_index("attempts_open", "attempts", ["cleaned_at"], sqlite_where=open_, postgresql_where=open_)
    op.create_table(
        "leases",
        Column("id", _BIG, primary_key=True),
        Column("node", String, nullable=False),
        Column("device", String, nullable=False),
        Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
        Column("attempt_uid", String, ForeignKey("attempts.uid"), nullable=False, index=True),
        Column("acquired_at", Float, nullable=False),
        Column("released_at", Float),
    )
    held = text("released_at IS NULL")
    op.create_index("leases_held", "leases", ["node", "device"], unique=True, sqlite_where=held, postgresql_where=held)

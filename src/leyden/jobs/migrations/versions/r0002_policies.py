"""What was added for policies (retry, preemption, time limits, `after`), fair share and quotas?"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, Integer, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add it."""
    for column in (
        Column("gpus_most", Integer, nullable=False, server_default="0"),
        Column("reason_code", String, nullable=False, server_default=""),
        Column("intent", String, nullable=False, server_default=""),
        Column("environ", String, nullable=False, server_default=""),
        Column("origin", String, nullable=False, server_default=""),
        Column("resume_from", Text, nullable=False, server_default=""),
        Column("time_s", Float),
        Column("preempt_grace_s", Float),
        Column("after", Text, nullable=False, server_default="[]"),
        Column("not_before", Float),
        Column("infra_failures", Integer, nullable=False, server_default="0"),
        Column("user_failures", Integer, nullable=False, server_default="0"),
    ):
        op.add_column("jobs", column)
    op.create_table(
        "usage",
        Column("user", String, primary_key=True),
        Column("at", Float, nullable=False),
        Column("device_s", Float, nullable=False),
    )
    op.create_table(
        "quotas",
        Column("user", String, primary_key=True),
        Column("gpus", Integer),
        Column("cpus", Integer),
    )

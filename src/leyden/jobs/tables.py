"""What is on record about jobs, and what does the database itself refuse?"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint, text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False, unique=True),  # of the submit: asking twice makes one job
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("name", String, nullable=False),
    Column("user", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("spec", Text, nullable=False),  # Job as JSON; the submitter's environment is never in here
    Column("code", String, nullable=False),
    Column("cwd", String, nullable=False),
    Column("submit_dir", String, nullable=False),
    Column("gpus", Integer, nullable=False),  # the size settled at submit
    Column("gpu_model", String, nullable=False),
    Column("gpu_memory_bytes", Integer, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("ranks", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),  # number of the current or last one
    Column("fence", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float, index=True),
    Column("exit_code", Integer),
)

attempts = Table(
    "attempts",
    metadata,
    Column("uid", String, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("engine_ref", String, nullable=False, unique=True),
    Column("fence", Integer, nullable=False),
    Column("node", String, nullable=False),
    Column("devices", Text, nullable=False),  # JSON list
    Column("created_at", Float, nullable=False),
    Column("launched_at", Float),
    Column("started_at", Float),
    Column("heartbeat_at", Float),
    Column("pid", Integer),
    Column("ended_at", Float),
    Column("outcome", String, nullable=False, server_default=""),
    Column("message", Text, nullable=False, server_default=""),
    Column("exit_code", Integer),
    Column("cleaned_at", Float),  # when the engine had nothing of it left
    UniqueConstraint("job_id", "number"),
    Index("attempts_open", "cleaned_at", sqlite_where=text("cleaned_at IS NULL")),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("node", String, nullable=False),
    Column("device", String, nullable=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("attempt_uid", ForeignKey("attempts.uid"), nullable=False, index=True),
    Column("acquired_at", Float, nullable=False),
    Column("released_at", Float),
    # A device belongs to one attempt: whatever the code above believes.
    Index("leases_held", "node", "device", unique=True, sqlite_where=text("released_at IS NULL")),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("who", String, nullable=False),
    Column("why", Text, nullable=False),
)

"""What is on record about jobs, and what does the database itself refuse?"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
_BIG = BigInteger().with_variant(Integer, "sqlite")  # PostgreSQL's Integer ends at 2^31
_OPEN, _HELD = text("cleaned_at IS NULL"), text("released_at IS NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False, unique=True),  # of the submit: asking twice makes one job
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("reason_code", String, nullable=False, server_default=""),
    Column("intent", String, nullable=False, server_default=""),  # what a stopping job becomes: see states.Intent
    Column("name", String, nullable=False),
    Column("user", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("spec", Text, nullable=False),  # Job as JSON; the submitter's environment is never in here
    Column("code", String, nullable=False),
    Column("cwd", String, nullable=False),
    Column("submit_dir", String, nullable=False),
    Column("gpus", Integer, nullable=False),  # the size settled at submit
    Column("gpus_most", Integer, nullable=False, server_default="0"),  # 0: exactly so many
    Column("gpu_model", String, nullable=False),
    Column("gpu_memory_bytes", _BIG, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("ranks", Integer, nullable=False),
    Column("share", Integer, nullable=False, server_default="1"),  # 4: a quarter of its GPU
    Column("environ", String, nullable=False, server_default=""),  # hash of the submitter's, a file of mode 600
    Column("origin", String, nullable=False, server_default=""),  # job that this one repeats or goes on from
    Column("resume_from", Text, nullable=False, server_default=""),  # checkpoint of another job that it begins with
    Column("time_s", Float),  # declared limit
    Column("preempt_grace_s", Float),  # NULL: it may not be preempted
    Column("after", Text, nullable=False, server_default="[]"),  # JSON list of job ids
    Column("not_before", Float),  # a failed job waits a while before it is tried again
    Column("infra_failures", Integer, nullable=False, server_default="0"),
    Column("user_failures", Integer, nullable=False, server_default="0"),
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
    Index("attempts_open", "cleaned_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

leases = Table(
    "leases",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("node", String, nullable=False),
    Column("device", String, nullable=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("attempt_uid", ForeignKey("attempts.uid"), nullable=False, index=True),
    Column("acquired_at", Float, nullable=False),
    Column("released_at", Float),
    # A device belongs to one attempt: whatever the code above believes.
    Index("leases_held", "node", "device", unique=True, sqlite_where=_HELD, postgresql_where=_HELD),
)

events = Table(
    "events",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("who", String, nullable=False),
    Column("why", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),  # a job's, or that of a run without one
    Column("path", Text, nullable=False),  # "": runs/<id> of the home
    Column("project", String, nullable=False, server_default=""),
    Column("name", String, nullable=False),
    Column("user", String, nullable=False),
    Column("state", String, nullable=False, server_default=""),  # "": the job's counts
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("config", Text, nullable=False, server_default="{}"),  # JSON, as are summary and tags
    Column("summary", Text, nullable=False, server_default="{}"),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("note", Text, nullable=False, server_default=""),
    Column("archived", Integer, nullable=False, server_default="0"),
    Column("settled", Integer, nullable=False, server_default="0"),  # nothing more is expected in its folder
    Column("points", _BIG, nullable=False, server_default="0"),
    Column("snapshot", LargeBinary),  # last values, and how far its files were read: server/tracking/stats.py
    Column("updated_at", Float, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("user", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("device_s", Float, nullable=False),  # seconds times GPUs, or an eighth of the CPUs, decayed to `at`
)

quotas = Table(
    "quotas",
    metadata,
    Column("user", String, primary_key=True),  # "*": everybody who has none of their own
    Column("gpus", Integer),
    Column("cpus", Integer),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False, unique=True),  # of the request: asking twice makes one sweep
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", Text, nullable=False, server_default=""),
    Column("name", String, nullable=False),
    Column("user", String, nullable=False),
    Column("job", Text, nullable=False),  # Job as JSON: what its trials are made from
    Column("spec", Text, nullable=False),  # Sweep as JSON
    Column("code", String, nullable=False),
    Column("cwd", String, nullable=False),
    Column("submit_dir", String, nullable=False),
    Column("environ", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
)

trials = Table(
    "trials",
    metadata,
    Column("sweep_id", ForeignKey("sweeps.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("params", Text, nullable=False),  # JSON: what the sweep chose
    Column("standing", String, nullable=False),  # see leyden.sweeps.state; a paused one is what its job says
    Column("bracket", Integer, nullable=False),
    Column("allowed", Integer, nullable=False),  # index of the rung up to which it may train
    Column("parent", Integer),  # trial from whose checkpoint it began
    Column("finals", Text, nullable=False, server_default="[]"),  # JSON: of each metric at its end, null where unknown
    Column("note", Text, nullable=False, server_default=""),
)

reports = Table(
    "reports",
    metadata,
    Column("sweep_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the trial
    Column("rung", Integer, primary_key=True, autoincrement=False),
    Column("resource", Float, nullable=False),
    Column("value", Float),  # as the metric says it; NULL: NaN
    Column("at", Float, nullable=False),
)

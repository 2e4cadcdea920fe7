"""Which figures of others stand beside ours, and where do they come from?

"seen": run for real, on two shared x86-64 cores; "read": in the project's own source, documentation or issues.
"""

from __future__ import annotations

from benchmarks.control.common import Asked

ROWS = (
    ("Slurm 22.05: `sbatch`", "7 ms", "seen"),
    ("Slurm 22.05: submit → first line, p50 / p90", "250 / 920 ms", "seen"),
    ("Slurm 22.05: array of tiny jobs, to their end", "76–79 jobs/s", "seen"),
    ("Slurm: throughput", "500 jobs/s", "read"),
    ("Slurm 22.05: controller killed 2 s after a submit", "accepted job lost, its id used again", "seen"),
    ("fork of a process with torch loaded → user's first line, p50", "17.6 ms (cold: 3.9–5.9 s)", "seen, prototype"),
    ("FastAPI + SQLite FULL: submit / submit → running, p50", "12 / 32 ms", "seen, prototype"),
    ("SQLite, a writer with group commit / one commit each", "28–33k / 2.4–2.6k commits/s", "seen"),
    ("PostgreSQL 15 claims, SKIP LOCKED: 4 workers / batches of 20", "481 / 7,220 a second", "seen"),
    ("Ray 2.60 Jobs API: submit → user's code", "900 ms", "seen"),
    ("Ray 2.60 Jobs API: throughput", "1.45 jobs/s; of 1,000 pending 721 failed at 900 s", "seen"),
    ("dstack, ready fleet: submitted → running", "85 s", "read (dstack#3551)"),
    ("Prefect: fixed start of a run", "5–7 s", "read (prefect#21944)"),
    ("SkyPilot: how often it looks; most jobs", "every 15 s; 2,000", "read"),
    ("Kueue: admission at 15,000 workloads", "43 a second", "read"),
    ("KAI: until a job is told that it cannot be scheduled", "249.5 s", "read"),
)


def peers(asked: Asked) -> None:
    """Measured elsewhere."""
    asked.title("Others, measured before or elsewhere")
    asked.say("Ratios hold between figures of one machine; these are here for their order of magnitude.\n")
    asked.head("what", "figure", "where it comes from")
    for row in ROWS:
        asked.row(*row)

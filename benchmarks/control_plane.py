"""What does the control plane cost, and what does Slurm's, measured in the same run?

    python benchmarks/control_plane.py                 all parts: seven minutes on a machine that does nothing else
    python benchmarks/control_plane.py --parts submit  only these, to the screen

`pass`        the scheduler over 1,000 to 100,000 jobs that wait, and a whole tick of the server, on both databases
`submit`      one job a request, by hand, a thousand a request; `sbatch`, and an array
`start`       submit → running → the user's first line, cold and warm, and by `sbatch`
`throughput`  many jobs that do nothing, to the end of the last
`live`        one job that can start at once, behind thousands that cannot
`recovery`    SIGKILL of the server: how long it is away, and what it has forgotten
`peers`       what others were seen or said to need

Slurm and PostgreSQL are left out, with a line that says so, where they are not installed. What is compared is measured
in turn, round after round: machines drift within a run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.control import slurm  # noqa: E402  ROOT is on the path from here on
from benchmarks.control.common import Asked  # noqa: E402
from benchmarks.control.passes import passes  # noqa: E402
from benchmarks.control.peers import peers  # noqa: E402
from benchmarks.control.recovery import recovery  # noqa: E402
from benchmarks.control.starts import starts  # noqa: E402
from benchmarks.control.submits import submits  # noqa: E402
from benchmarks.control.throughput import live, throughput  # noqa: E402

PARTS: dict[str, Callable[[Asked], None]] = {
    "submit": submits,
    "start": starts,
    "throughput": throughput,
    "live": live,
    "recovery": recovery,
    "pass": passes,
    "peers": peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="only these; nothing is written to a file")
    parser.add_argument("--pending", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/control_plane_…")
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    head(say)
    for name in given.parts or PARTS:
        begin = time.monotonic()
        PARTS[name](Asked.of(given, say))
        print(f"({name}: {time.monotonic() - begin:.0f} s)", file=sys.stderr)
    if given.out or not given.parts:
        name = f"control_plane_{os.cpu_count()}-core_{datetime.now(UTC):%Y-%m-%d}.md"
        out = given.out or Path(__file__).parent / "results" / name
        out.write_text("\n".join(lines) + "\n")


def head(say: Callable[[str], None]) -> None:
    """When, where, and beside whom."""
    say("# What does the control plane cost?\n")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    say(f"- {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {today}")
    say(f"- load before {os.getloadavg()[0]:.1f}; python benchmarks/control_plane.py {' '.join(sys.argv[1:])}".rstrip())
    if why := slurm.why_not():
        say(f"- Slurm was not measured: {why}")
    else:
        say(f"- {slurm.version()} beside it: one node of {os.cpu_count()} CPUs, no accounting database; its scheduler")
        say("  without pauses (batch_sched_delay=0, sched_min_interval=0), backfill as often as can be (bf_interval=1)")


if __name__ == "__main__":
    main()

"""What does logging ten metrics cost the training thread, and what does a kill cost the record? Leyden beside others.

Each measurement is a process of its own (tracking_peers/measure.py says what is measured), one library after the other
in rounds, so that a slower minute of the machine hits all of them.

    python benchmarks/tracking.py --install VENV     every library, in an environment of its own; once
    VENV/bin/python benchmarks/tracking.py           about four minutes on a machine that does nothing else
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.tracking_peers.peers import PEERS  # noqa: E402  ROOT is on the path from here on

MEASURE = ROOT / "benchmarks" / "tracking_peers" / "measure.py"
KILLED_AFTER_S = (2.89, 3.1, 2.97)  # not always at the same place of a cycle
LIMIT_S = 90
INSTALLED = (
    ("-c", "constraints.txt", "torch"),
    ("-c", "constraints.txt", "-e", ".[train]", "tensorboard"),
    ("mlflow>=3.1", "trackio"),  # as they come: held to our versions, pip goes back to an MLflow of years ago
)
LIBRARIES = ("torch", "tensorboard", "mlflow", "mlflow-skinny", "trackio")

Found = dict[str, Any]


def main() -> None:
    """Parse, measure in rounds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", metavar="VENV", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(PEERS))
    parser.add_argument("--out", type=Path, help="a Markdown file; default: only printed")
    options = parser.parse_args()
    if options.install:
        install(options.install)
        return
    names = [name for name in options.only if available(PEERS[name][1])]
    if absent := [name for name in options.only if name not in names]:
        print(f"not installed here, left out: {', '.join(absent)} (see --install)", flush=True)
    results: dict[str, dict[str, list[Found]]] = {name: {"burst": [], "paced": [], "kill": []} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for what in ("burst", "paced", "kill"):
                for name in names:
                    place = Path(folder) / f"{number}-{what}-{name.replace(' ', '_')}" / "data"
                    found = (
                        kill(name, place, KILLED_AFTER_S[number % 3]) if what == "kill" else measure(what, name, place)
                    )
                    print(f"round {number + 1}  {what:<6} {name:<22} {_line(found)}", flush=True)
                    results[name][what].append(found)
    text = report(results, options.rounds)
    print("\n" + text)
    if options.out:
        options.out.write_text(text)


def install(to: Path) -> None:
    """Make the environment `to`."""
    venv.create(to, with_pip=True)
    pip = [str(to.absolute() / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for step in INSTALLED:
        print(f"installing {' '.join(step)} …", flush=True)
        subprocess.run([*pip, "install", *step], cwd=ROOT, check=False)
    print(f"done; now: {to / 'bin' / 'python'} benchmarks/tracking.py")


def available(module: str) -> bool:
    """Whether this interpreter has it; the top package and, of MLflow, the part that skinny lacks."""
    try:
        return importlib.util.find_spec(module) is not None and (
            "sqlalchemy_store" not in module or importlib.util.find_spec("mlflow.store.db_migrations") is not None
        )
    except ImportError:
        return False


def measure(what: str, name: str, folder: Path) -> Found:
    """One measurement."""
    done = subprocess.run(
        [sys.executable, str(MEASURE), what, name, str(folder)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def kill(name: str, folder: Path, after_s: float) -> Found:
    """kill -9 after some three seconds of a row every 2 ms or so: how many rows are lost, how many seconds of them."""
    folder.mkdir(parents=True)
    newest = folder.parent / "newest"
    command = [sys.executable, str(MEASURE), "endless", name, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + LIMIT_S
            while not (newest.exists() and newest.stat().st_size) and process.poll() is None:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            time.sleep(after_s)
        finally:
            process.kill()
    if not newest.exists():
        return {"failed": "it did not start"}
    logged = int(newest.read_text().split()[0]) + 1
    back = measure("kept", name, folder)
    if "failed" in back:
        return back
    lost = logged - back["rows"]
    return {"logged_rows": logged, "lost_rows": lost, "lost_s": lost * after_s / logged}


def report(results: dict[str, dict[str, list[Found]]], rounds: int) -> str:
    """Markdown: a line a library, the median of the rounds."""
    lines = [
        "# What logging costs",
        "",
        f"`python benchmarks/tracking.py --rounds {rounds}` on {os.cpu_count()} × {_cpu()}, Python "
        f"{platform.python_version()}, {_versions()}; {time.strftime('%Y-%m-%d', time.gmtime())}. Rows of ten metrics. "
        f"Medians of {rounds} interleaved rounds, each measurement in a process of its own.",
        "",
        "| | at 5 ms a step: µs a call (median, p99) | CPU µs a step | burst: µs a call | points/s until kept "
        "| bytes a point | kill −9: rows lost of | seconds at most | `finish` s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in results.items():
        burst, paced, kills = (_good(found[what]) for what in ("burst", "paced", "kill"))
        cells = [
            name,
            f"{_mid(paced, 'log_us'):,.1f} ({_mid(paced, 'log_p50_us'):,.1f}, {_mid(paced, 'log_p99_us'):,.0f})",
            f"{_mid(paced, 'cpu_us'):,.0f}",
            f"{_mid(burst, 'log_us'):,.2f}",
            f"{_mid(burst, 'points_per_s'):,.0f}",
            f"{_mid(burst, 'bytes_per_point'):.1f}",
            f"{_mid(kills, 'lost_rows'):.0f} of {_mid(kills, 'logged_rows'):.0f}",
            f"{max((one['lost_s'] for one in kills), default=float('nan')):.2f}",
            f"{_mid(paced, 'close_s'):.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        missing = [one["missing"] for one in burst if one["missing"]]
        failed = [one["failed"] for what in found.values() for one in what if "failed" in one]
        if missing or failed:
            lines.append(f"\n{name}: rows missing after its close: {missing or 'none'}; failed: {failed or 'none'}\n")
    return "\n".join(lines) + "\n"


def _good(found: Sequence[Found]) -> list[Found]:
    return [one for one in found if "failed" not in one]


def _mid(found: Sequence[Found], key: str) -> float:
    return statistics.median([one[key] for one in found]) if found else float("nan")


def _line(found: Found) -> str:
    return "  ".join(f"{key} {one:,.3g}" if isinstance(one, float) else f"{key} {one}" for key, one in found.items())


def _versions() -> str:
    found = {one.name: one.version for one in distributions() if one.name in LIBRARIES}
    return ", ".join(f"{name} {found[name]}" for name in sorted(found))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()

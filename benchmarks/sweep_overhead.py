"""What does a trial cost beyond its own work? A thousand trials of 10 ms, and trials of a second that import torch.

Under Leyden each trial is a job of its own; Optuna and Ray Tune call a function in processes that stay, which is less
(sweep_peers/short.py). In rounds, each sweep in a process of its own, everything started before the time begins.

    python benchmarks/sweep_time_to_target.py --install VENV    once, the same environment
    VENV/bin/python benchmarks/sweep_overhead.py                about five minutes on a machine that does nothing else
    VENV/bin/python benchmarks/sweep_overhead.py --only leyden --trials 100 --long-trials 5
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHORT_S, LONG_S = 0.010, 1.0
LIMIT_S = 400
LIBRARIES = ("leyden", "torch", "optuna", "ray")
NAMES = {"leyden": "Leyden, a job a trial", "optuna": "Optuna, a function", "ray": "Ray Tune, a function"}
Found = dict[str, Any]


def main() -> None:
    """Measure in rounds, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="of 10 ms; of Ray a quarter, as it takes long")
    parser.add_argument("--long-trials", type=int, default=20, help="of a second")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/sweep_…")
    options = parser.parse_args()
    names = [name for name in options.only if importlib.util.find_spec(name)]
    load = os.getloadavg()[0]
    works = {
        **{("short", name): _short(name, options) for name in names},
        **{("long", name): _long(name, options) for name in names},
    }
    found: dict[tuple[str, str], list[Found]] = {key: [] for key in works}
    for number in range(options.rounds):
        for (kind, name), arguments in works.items():
            found[kind, name].append(measure(name, arguments))
            print(f"round {number + 1}  {kind:<5} {name:<6} {found[kind, name][-1]}", flush=True)
    text = "\n".join(report(found, options, load)) + "\n"
    print("\n" + text)
    name = f"sweep_overhead_{os.cpu_count()}-core_{time.strftime('%Y-%m-%d', time.gmtime())}.md"
    (options.out or ROOT / "benchmarks" / "results" / name).write_text(text)


def _short(name: str, options: argparse.Namespace) -> list[str]:
    trials = options.trials // 4 if name == "ray" else options.trials
    return [f"--trials={trials}", f"--parallel={options.parallel}", f"--work-s={SHORT_S}"]


def _long(name: str, options: argparse.Namespace) -> list[str]:
    return [f"--trials={options.long_trials}", "--parallel=1", f"--work-s={LONG_S}", "--torch"]


def measure(name: str, arguments: list[str]) -> Found:
    """One sweep; what it left is ended."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'src'}"
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sweep_peers.short", name, *arguments],
        env={key: value for key, value in os.environ.items() if not key.startswith("LEYDEN_")}
        | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        out, err = "", f"nothing within {LIMIT_S} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    asked = int(arguments[0].partition("=")[2])
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            found: Found = json.loads(line)
            return found if found["done"] == asked else {"failed": f"{found['done']} of {asked} trials succeeded"}
    return {"failed": (err.strip().splitlines() or ["ended without a word"])[-1][:200]}


def report(found: dict[tuple[str, str], list[Found]], options: argparse.Namespace, load: float) -> Iterator[str]:
    """Markdown."""
    versions = {one.name: one.version for one in distributions() if one.name in LIBRARIES}
    yield "# What does a trial cost beyond its own work?\n"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    yield f"- {machine}, {time.strftime('%Y-%m-%d', time.gmtime())}; load before {load:.1f}"
    yield f"- {', '.join(f'{name} {versions[name]}' for name in sorted(versions))}"
    yield f"- `{' '.join(['python benchmarks/sweep_overhead.py', *sys.argv[1:]])}`; medians of {options.rounds} rounds"
    yield f"\n## {options.trials:,} trials of {1e3 * SHORT_S:.0f} ms, {options.parallel} at a time\n"
    yield (
        f"Overhead of the sweep: its wall time a trial, less {1e3 * SHORT_S / options.parallel:.0f} ms, which is what "
        f"{options.parallel} workers without any would take. Overhead of a slot: {options.parallel} times that, which "
        "is how long a worker's place stands without work for each trial.\n"
    )
    yield "| | trials | wall s | overhead of the sweep, ms a trial | of a slot, ms | a slot is held, ms, p50 |"
    yield "|" + " --- |" * 6
    yield from _rows(found, "short", options.trials, options.parallel, SHORT_S)
    yield f"\n## {options.long_trials} trials of {LONG_S:.0f} s that import torch, one at a time\n"
    yield "| | trials | wall s | s a trial in all | overhead, ms | a slot is held, ms, p50 |\n|" + " --- |" * 6
    yield from _rows(found, "long", options.long_trials, 1, LONG_S)


def _rows(
    found: dict[tuple[str, str], list[Found]], kind: str, trials: int, parallel: int, work_s: float
) -> Iterator[str]:
    for (what, name), rounds in found.items():
        good = [one for one in rounds if "failed" not in one]
        if what != kind:
            continue
        if not good:
            yield f"| {NAMES[name]} | failed: {rounds[0]['failed']} | | | | |"
            continue
        wall_s, done = statistics.median(one["wall_s"] for one in good), good[0]["done"]
        beyond_ms = 1e3 * (wall_s / done - work_s / parallel)
        held = [1e3 * one["held_p50_s"] for one in good if "held_p50_s" in one]
        middle = [f"{beyond_ms:.1f}", f"{parallel * beyond_ms:.1f}"]
        if kind == "long":
            middle = [f"{wall_s / done:.3f}", f"{beyond_ms:.0f}"]
        last = f"{statistics.median(held):.0f}" if held else ""
        yield f"| {' | '.join([NAMES[name], str(done), f'{wall_s:.1f}', *middle, last])} |"


if __name__ == "__main__":
    main()

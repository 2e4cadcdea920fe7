"""How long does a search take until a model is good enough? Leyden's strategies, Optuna's pruning and Ray Tune's ASHA.

Two problems (sweep_peers/problems.py), the same training function, space, seeds and number of workers for all, each of
one thread. Every sweep is a process of its own (sweep_peers/one.py says what is counted), one after the other, and
seed by seed, so that a slower minute of the machine hits all of them. Wall time begins when everything stands ready.

    python benchmarks/sweep_time_to_target.py --install VENV    every library, in an environment of its own; once
    VENV/bin/python benchmarks/sweep_time_to_target.py          five seeds; on a machine that does nothing else
    VENV/bin/python benchmarks/sweep_time_to_target.py --quick --only "Leyden, ASHA" --problems digits    seconds
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
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.sweep_peers.problems import PROBLEMS, Problem  # noqa: E402  ROOT is on the path from here on

INSTALLED = (  # torch first and by version, so that nothing pulls a build for hardware that is not here
    ("-c", "constraints.txt", "torch==2.13.0"),
    ("-c", "constraints.txt", "-e", ".[train,examples]"),
    ("optuna", "ray[tune]"),
)
LIBRARIES = ("leyden", "torch", "optuna", "ray")
Found = dict[str, Any]
Results = dict[tuple[str, str], list[Found]]  # (problem, method) → a sweep a seed


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to search."""

    peer: str  # module of benchmarks.sweep_peers
    variant: str
    needs: str  # module that must be importable
    asked: bool = True  # measured where nobody says --only


METHODS = {
    "Leyden, random": Method(peer="leyden_peer", variant="random", needs="leyden"),
    "Leyden, TPE": Method(peer="leyden_peer", variant="tpe", needs="optuna"),
    "Leyden, ASHA that pauses": Method(peer="leyden_peer", variant="asha", needs="leyden"),
    "Optuna, TPE, successive halving": Method(peer="optuna_peer", variant="halving", needs="optuna"),
    "Optuna, TPE, Hyperband": Method(peer="optuna_peer", variant="hyperband", needs="optuna", asked=False),
    "Optuna, TPE, no pruning": Method(peer="optuna_peer", variant="none", needs="optuna", asked=False),
    "Ray Tune, ASHA": Method(peer="ray_peer", variant="asha", needs="ray"),
    "Ray Tune, random": Method(peer="ray_peer", variant="random", needs="ray", asked=False),
}


def main() -> None:
    """Measure seed by seed, print and write the tables."""
    options = _options()
    if options.install:
        install(options.install)
        return
    names = [
        name for name in METHODS if _is_asked(name, options.only) and importlib.util.find_spec(METHODS[name].needs)
    ]
    files = {name: PROBLEMS[name].data(options.data) for name in options.problems}
    load, began_at = os.getloadavg()[0], time.monotonic()
    results: Results = {(problem, name): [] for problem in options.problems for name in names}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for problem, name in results:
            found = measure(METHODS[name], PROBLEMS[problem], seed, files[problem], options)
            results[problem, name].append(found)
            print(f"seed {seed}  {problem:<7} {name:<32} {_line(found)}", flush=True)
    text = "\n".join(report(results, options, load, time.monotonic() - began_at)) + "\n"
    print("\n" + text)
    name = f"sweep_time_to_target_{os.cpu_count()}-core_{time.strftime('%Y-%m-%d', time.gmtime())}.md"
    out = options.out or (None if options.quick else ROOT / "benchmarks" / "results" / name)
    if out:
        out.write_text(text)
    if options.quick and not all(one.get("reached") for found in results.values() for one in found):
        raise SystemExit("not every sweep reached its target")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", metavar="VENV", type=Path, help="make an environment with every library, and end")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cap-s", type=float, default=75.0, help="of a sweep; it counts as that long")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="methods whose names contain one of these"
    )
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "leyden-sweep-benchmark")
    parser.add_argument("--quick", action="store_true", help="one seed, a target that every other trial reaches")
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/sweep_…")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.cap_s = 1, min(options.cap_s, 30.0)
    return options


def _is_asked(name: str, only: list[str]) -> bool:
    return any(one.lower() in name.lower() for one in only) if only else METHODS[name].asked


def install(to: Path) -> None:
    """Make the environment `to`."""
    venv.create(to, with_pip=True)
    pip = [str(to.absolute() / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for step in INSTALLED:
        print(f"installing {' '.join(step)} …", flush=True)
        subprocess.run([*pip, "install", *step], cwd=ROOT, check=False)
    print(f"done; now: {to / 'bin' / 'python'} benchmarks/sweep_time_to_target.py")


def measure(method: Method, problem: Problem, seed: int, data: Path, options: argparse.Namespace) -> Found:
    """One sweep, in a session of its own that is ended with it."""
    target = problem.easy if options.quick else problem.target
    command = [sys.executable, "-m", "benchmarks.sweep_peers.one", method.peer, method.variant, problem.name]
    command += [f"--seed={seed}", f"--data={data}", f"--workers={options.workers}", f"--cap-s={options.cap_s}"]
    path = f"{ROOT}{os.pathsep}{ROOT / 'src'}"
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [*command, f"--target={target}"],
        env={key: value for key, value in os.environ.items() if not key.startswith("LEYDEN_")}
        | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **one_thread},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=options.cap_s + 150)
    except subprocess.TimeoutExpired:
        out, err = "", "it did not end"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    return {"failed": (err.strip().splitlines() or ["ended without a word"])[-1][:200]}


def report(results: Results, options: argparse.Namespace, load: float, took_s: float) -> Iterator[str]:
    """Markdown: a table a problem, a line a method."""
    versions = {one.name: one.version for one in distributions() if one.name in LIBRARIES}
    yield "# How long does a search take until a model is good enough?\n"
    yield f"- {os.cpu_count()} × {_cpu()}, Python {platform.python_version()}, {time.strftime('%F', time.gmtime())}"
    yield f"- {', '.join(f'{name} {versions[name]}' for name in sorted(versions))}; load before {load:.1f}"
    given = " ".join(["python benchmarks/sweep_time_to_target.py", *sys.argv[1:]])
    yield f"- `{given}`: {took_s / 60:.0f} minutes"
    yield (
        f"- {options.workers} workers of one thread each; medians of {options.seeds} seeds, in brackets the least and "
        f"the most; seed by seed, every method in turn. A sweep that has not reached its target after "
        f"{options.cap_s:.0f} s is stopped and counts as that long."
    )
    yield (
        "- Random, ASHA and the first ten trials of TPE get the same points in the same order in every library. There "
        "is no GPU: slot-seconds are those in which a trial held one of the workers' places. Optuna's and Ray's "
        "processes keep theirs for the whole sweep. Start: until server, Ray or workers are ready; not in wall time."
    )
    for problem in options.problems:
        one = PROBLEMS[problem]
        sign, target = "≤" if one.goal == "min" else "≥", one.easy if options.quick else one.target
        yield f"\n## {one.name}: {one.metric} {sign} {target}\n"
        yield f"{one.found} A trial is {one.epochs} epochs long.\n"
        yield (
            "| | reached | wall s until the target | slot-seconds until then | trials begun | epochs trained "
            "| wall s until the sweep had ended | start s |\n|" + " --- |" * 8
        )
        for (name, method), found in results.items():
            if name == problem:
                yield _row(method, found, options.seeds)


def _row(method: str, found: list[Found], seeds: int) -> str:
    good = [one for one in found if "failed" not in one]
    if not good:
        return f"| {method} | failed: {found[0]['failed'] if found else 'not measured'} |" + " |" * 6
    keys = (("wall_s", 1), ("held_s", 1), ("trials", 0), ("epochs", 0), ("ended_s", 1), ("start_s", 1))
    cells = [_spread([one[key] for one in good], digits) for key, digits in keys]
    return f"| {method} | {sum(one['reached'] for one in good)} of {seeds} | {' | '.join(cells)} |"


def _spread(values: list[float], digits: int) -> str:
    """
    >>> _spread([3.0, 1.25, 2.0], 1)
    '2.0 (1.2–3.0)'
    """
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def _line(found: Found) -> str:
    return "  ".join(f"{key} {one:,.3g}" if isinstance(one, float) else f"{key} {one}" for key, one in found.items())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()

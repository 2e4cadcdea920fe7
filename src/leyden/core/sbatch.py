"""What does a script written for `sbatch` ask for? Its #SBATCH lines as the keys of a job; it runs as it is, by bash.

Options and units are those of Slurm's sbatch manual. What has no meaning on one machine is passed over in silence
(partition, account, output files); what would change results if it were passed over is refused.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from leyden.core.errors import SpecError

SUFFIXES: Final = (".sbatch", ".slurm")
_PASSED_OVER: Final = (
    *("-p --partition", "-A --account", "-q --qos", "-o --output", "-e --error", "-i --input", "-C --constraint"),
    *("-w --nodelist", "-x --exclude", "--mail-type", "--mail-user", "--export", "--open-mode", "--signal"),
    *("--mem", "--mem-per-cpu", "--mem-per-gpu", "--tmp", "--comment", "--ntasks-per-node", "--cpus-per-gpu"),
)
_FLAGS_PASSED_OVER: Final = ("--exclusive", "-Q --quiet", "--contiguous", "-s --oversubscribe")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def read_sbatch(path: Path) -> dict[str, Any]:
    """The keys of the job. Raises SpecError that names the line."""
    fields: dict[str, Any] = {"command": ["bash", str(path)], "name": path.stem}
    words: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#SBATCH"):
            words += _words(line, path, number)
        elif line.strip() and not line.startswith("#"):
            break  # as sbatch does: directives end where the program begins
    try:
        given, rest = _parser().parse_known_args(words)
    except ValueError as error:
        raise _refused(path, str(error)) from None
    if rest:
        raise _refused(path, f"{rest[0]} is no option that has a meaning here")
    if given.array:
        raise _refused(path, "--array makes many jobs of one", "Submit a job for each value, or use a sweep.")
    if given.nodes not in (None, "1", "1-1"):
        raise _refused(path, f"--nodes={given.nodes} asks for several machines", "This server has one.")
    return fields | _fields(given, path)


def _fields(given: argparse.Namespace, path: Path) -> dict[str, Any]:
    gpus = given.gpus or given.gpus_per_node
    if given.gres:
        gpus = _gres(given.gres, path)
    tasks = int(given.ntasks or 1)
    if given.gpus_per_task:
        gpus = str(tasks * int(given.gpus_per_task))
    found = {
        "name": given.job_name,
        "gpus": gpus,
        "cpus": tasks * int(given.cpus_per_task) if given.cpus_per_task else None,
        "time": None if given.time is None else slurm_seconds(given.time),
        "after": _after(given.dependency, path) if given.dependency else None,
        "hold": given.hold or None,
        "preempt": {} if given.requeue else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def slurm_seconds(text: str) -> float:
    """Seconds of Slurm's time formats: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].

    >>> slurm_seconds("90"), slurm_seconds("1:30:00"), slurm_seconds("2-12"), slurm_seconds("5:30")
    (5400.0, 5400.0, 216000.0, 330.0)
    """
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


def _words(line: str, path: Path, number: int) -> list[str]:
    try:
        return shlex.split(line.removeprefix("#SBATCH"), comments=True)
    except ValueError as error:
        raise _refused(path, f"line {number} cannot be read: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for names in (
        *("-J --job-name", "-t --time", "-G --gpus", "--gpus-per-node", "--gpus-per-task", "--gres", "-n --ntasks"),
        *("-c --cpus-per-task", "-N --nodes", "-d --dependency", "-a --array"),
        *_PASSED_OVER,
    ):
        parser.add_argument(*names.split())
    for names in ("-H --hold", "--requeue", "--no-requeue", *_FLAGS_PASSED_OVER):
        parser.add_argument(*names.split(), action="store_true")
    return parser


def _gres(text: str, path: Path) -> str:
    """GPUs of --gres: "gpu:2" or "gpu:a100:2"."""
    found = re.fullmatch(r"gpu(?::([A-Za-z][\w-]*))?(?::(\d+))?", text)
    if not found:
        raise _refused(path, f"--gres={text} asks for something else than GPUs")
    model, count = found[1], found[2] or "1"
    return f"{model}:{count}" if model else count


def _after(text: str, path: Path) -> Sequence[str]:
    """Jobs of --dependency: "afterok:q7k2:0abc"."""
    kind, _, ids = text.partition(":")
    if kind != "afterok" or not ids:
        raise _refused(path, f"--dependency={text} is not known", "Only afterok:JOB[:JOB…] is.")
    return ids.split(":")


def _refused(path: Path, found: str, do: str = "Mend that line, or write a job file instead.") -> SpecError:
    return SpecError(asked=f"the #SBATCH lines of {path}", found=found, do=do)

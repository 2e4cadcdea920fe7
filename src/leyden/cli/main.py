"""What does `leyden` do with its arguments? Finds the command, loads that one alone, and ends with its exit code.

The dispatch is our own (30 lines): a Typer group imports every command to know its name, and each costs its imports.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from leyden.core.errors import LeydenError, UsageError, nearest

COMMANDS = {
    "run": "run a script or program as a job, and watch it until it ends",
    "submit": "hand a job in, print its id and return",
    "sweep": "try many values of a script's arguments; list, stop and resume sweeps",
    "plan": "what a sweep would do: its trials, how long, how dear",
    "ps": "list jobs: what runs, what waits and why",
    "show": "everything about one job: state, devices, attempts, events, folders",
    "logs": "print a job's output; -f follows it",
    "metrics": "what a job logged: a table, curves (--plot), JSON or CSV",
    "diff": "what differed between two jobs: code, arguments, environment",
    "why": "why a job waits: for whom, and until when",
    "quota": "what users may hold at a time, and what they used of late",
    "top": "who is on which GPU just now, how busy it is, who comes next",
    "ui": "the dashboard, in a browser",
    "events": "every change of every job's state; -f as it happens",
    "cancel": "stop jobs",
    "pause": "have jobs save a checkpoint and give their devices back",
    "resume": "let paused jobs go on",
    "hold": "keep waiting jobs from starting",
    "release": "let held jobs start",
    "retry": "run an ended job once more, from its newest checkpoint",
    "fork": "a new job from a checkpoint of another, arguments changed",
    "wait": "wait until jobs have ended; exits with their code",
    "cp": "copy files a job left, its artifacts; list them",
    "ckpt": "list, copy, pin and remove checkpoints",
    "sync": "bring runs to the server: of a folder, or TensorBoard's",
    "export": "a run's metrics as event files of TensorBoard",
    "data": "store data sets as shards, look at them, check them",
    "server": "start, stop or look at the server (it starts by itself when needed)",
}
EXAMPLES = """\
  leyden run train.py --lr 0.1          run train.py here, as a job
  leyden run --gpus 2 --time 1h train.py
  leyden ps                             what runs and what waits
  leyden metrics --plot                 curves of the newest job"""


def main() -> None:
    """The `leyden` program."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `leyden logs | head`: what is left to say has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code. Errors are printed, never raised, unless LEYDEN_DEBUG is set."""
    try:
        return _dispatch(arguments)
    except LeydenError as error:
        if os.environ.get("LEYDEN_DEBUG"):
            raise
        _print_error(error)
        return error.exit_code


def _dispatch(arguments: list[str]) -> int:
    match arguments:
        case [] | ["-h" | "--help"] | ["help"]:
            print(overview())
            return 0
        case ["--version" | "-V"]:
            from leyden import __version__

            print(f"leyden {__version__}")
            return 0
        case ["help", name, *_]:
            return _command(name, ["--help"])
    return _command(arguments[0], arguments[1:])


def _command(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise UsageError(asked=f"`leyden {name}`", found="there is no such command", do=_advice(name))
    from leyden.cli import usage

    return usage.invoke(importlib.import_module(f"leyden.cli.{name}").command, name, arguments)


def _advice(name: str) -> str:
    if name.endswith((".py", ".toml", ".yaml", ".yml")) or Path(name).is_file():
        return f"Did you mean `leyden run {name}`?"
    advice = nearest(name, COMMANDS)
    return f"{advice[0].upper()}{advice[1:]}{'' if advice.endswith('?') else '.'} See `leyden --help`."


def overview() -> str:
    """The short help of `leyden` alone."""
    listed = "\n".join(f"  {name:<9}{text}" for name, text in COMMANDS.items())
    return (
        "Leyden runs training scripts as jobs: on this machine, on a shared server, on a cluster, unchanged.\n\n"
        f"Usage: leyden COMMAND [flags] …\n\n{EXAMPLES}\n\nCommands:\n{listed}\n\n"
        "`leyden COMMAND --help` explains one; -o json makes most print JSON. LEYDEN_HOME (~/.leyden) holds everything."
    )


def _print_error(error: LeydenError) -> None:
    from leyden.cli.screen import BOLD, RED, painter

    sys.stdout.flush()
    paint = painter(sys.stderr)
    found = f"{error.found}." if not error.found.endswith(("\n", ".", "?", "?)")) else error.found.rstrip("\n")
    print(f"{paint('error:', BOLD, RED)} {error.asked}; {found}\n       {error.do}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""What is to run? The words after `leyden run` and its flags become a Job, checked before anything is submitted."""

from __future__ import annotations

import difflib
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leyden.core.address import parse_git
from leyden.core.errors import NotFoundError, SpecError, UsageError

if TYPE_CHECKING:
    from leyden.core.job import Job

JOB_FILES = (".toml", ".yaml", ".yml")

_FLAGS = (
    click.argument("words", metavar="SCRIPT [ARGS]…", nargs=-1, type=click.UNPROCESSED),
    click.option("--gpus", metavar="N", help="GPUs: 2, A100:2, 24GB:1, 2..8 for 2 to 8; 0 for none."),
    click.option("--cpus", type=int, metavar="N", help="CPU cores."),
    click.option("--ranks", type=int, metavar="N", help="Processes; one a GPU by default."),
    click.option("--time", metavar="T", help="Stop it after that long: 90s, 10m, 1h30m."),
    click.option("--priority", type=int, metavar="N", help="0 to 100, higher first; 50 by default."),
    click.option("--preempt", metavar="T", help="It may be interrupted: it gets so long to save a checkpoint first."),
    click.option("--retry", type=int, metavar="N", help="Try again so often if the program fails; 0 by default."),
    click.option("--after", metavar="JOB", multiple=True, help="Only once that job has succeeded; may be repeated."),
    click.option("--hold", is_flag=True, help="Wait until `leyden release`."),
    click.option("--stall", metavar="T", help="Stop it after so long without a step or a line of output; then retry."),
    click.option("--idle", metavar="T", help="Stop it after so long without any use of its GPUs."),
    click.option("--cost", type=float, metavar="X", help="Stop it once all its attempts have cost X."),
    click.option("--name", metavar="TEXT", help="What to call it; the script's name by default."),
    click.option("--var", metavar="K=V", multiple=True, help="An environment variable; may be repeated."),
    click.option("--env", metavar="E", help="Packages: inherit (default), requirements.txt, uv.lock …, script, infer."),
    click.option("--git", metavar="URL", help="Code from URL[@ref][:path/train.py] instead of this folder."),
    click.option("--in-place", is_flag=True, help="Run in this folder itself, not in a copy of it."),
    click.option("--cold", "warm", flag_value=False, type=bool, default=None, help="Start Python anew; fork nothing."),
)
Function = TypeVar("Function", bound=Callable[..., Any])


def flags(function: Function) -> Function:
    """The arguments that `run` and `submit` share."""
    for one in reversed(_FLAGS):
        function = one(function)
    return function


def policies(
    *, preempt: str | None, retry: int | None, after: Sequence[str], hold: bool, **limits: str | float | None
) -> dict[str, Any]:
    """The flags that say by which rules a job runs, as a job's keys; None where nothing was said."""
    limits = {key: value for key, value in limits.items() if value is not None}
    return {
        "preempt": None if preempt is None else {"grace_s": preempt},
        "retry": None if retry is None else {"user": retry},
        "after": list(after) or None,
        "hold": hold or None,
        "limits": limits or None,
    }


def make(words: Sequence[str], given: dict[str, Any]) -> Job:
    """The job of these words, with the flags that were given laid over a job file's keys.

    Raises NotFoundError for a missing script or program, SpecError for what a job cannot be.
    """
    from leyden.core.job import load_job_file, make_job  # pydantic: 60 ms that the other commands need not pay
    from leyden.core.sbatch import SUFFIXES, read_sbatch

    if not words or _whole(given.get("git")):
        return _of_git(words, given)
    first, *rest = words
    source = "job"
    if first.endswith(JOB_FILES):
        _check_file(first)
        fields, source = load_job_file(Path(first)), first
        given = _laid_over(fields, given, rest)
    elif first.endswith(SUFFIXES):
        _check_file(first)
        fields = {**read_sbatch(Path(first)), "args": rest}
    elif first.endswith(".py"):
        fields = {"script": first, "args": rest}
    else:
        fields = {"command": list(words)}
    fields |= {key: value for key, value in given.items() if value is not None}
    job = make_job(fields, source=source)
    if not job.git:  # what a repository holds is known once it is here
        _check_program(job)
    return job.model_copy(update={"name": job.title})


def _whole(git: str | None) -> bool:
    """Whether `--git` names the script too, so that all words are its arguments."""
    return bool(git and parse_git(git).path)


def _of_git(words: Sequence[str], given: dict[str, Any]) -> Job:
    from leyden.core.job import make_job

    if not _whole(given.get("git")):
        raise click.MissingParameter(param_type="argument", param_hint="'SCRIPT [ARGS]…'")
    job = make_job({"args": list(words)} | {key: value for key, value in given.items() if value is not None})
    return job.model_copy(update={"name": job.title})


def _laid_over(fields: dict[str, Any], given: dict[str, Any], args: list[str]) -> dict[str, Any]:
    """The flags for a job file: its `vars` and `args` are added to, all other keys replaced."""
    merged = dict(given)
    if isinstance(fields.get("vars"), dict) and given.get("vars"):
        merged["vars"] = {**fields["vars"], **given["vars"]}
    if args and isinstance(fields.get("args", []), list):
        merged["args"] = [*fields.get("args", []), *args]
    return merged


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """K=V pairs as a mapping.

    >>> variables(["A=1", "B=x=y"])
    {'A': '1', 'B': 'x=y'}
    """
    for pair in pairs:
        if not pair.partition("=")[0].isidentifier() or "=" not in pair:
            raise UsageError(asked=f"`--var {pair}`", found="that is no K=V", do="Write it like --var SEED=3.")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _check_program(job: Job) -> None:
    if job.script:
        _check_file(job.script)
        if job.python == sys.executable:  # another Python may know another grammar
            _check_syntax(Path(job.script))
        return
    program = job.command[0]
    if shutil.which(program) or job.env != "inherit":  # it may come with the environment
        return
    if Path(program).is_file() and "/" in program:
        raise SpecError(
            asked=f"{program} is to run",
            found="it is not executable",
            do=f"Try `chmod +x {program}`, or name its program.",
        )
    here = Path(program).is_file()
    raise NotFoundError(
        asked=f"{program} is to run",
        found="no program of that name is on the PATH",
        do=f"For the file here write ./{program}." if here else _near(program),
    )


def _check_file(name: str) -> None:
    path = Path(name)
    if path.is_file():
        return
    found = "that is a folder" if path.is_dir() else "there is no such file"
    raise NotFoundError(asked=f"{name} is to run", found=found, do=_near(name))


def _near(name: str) -> str:
    path = Path(name)
    there = [one.name for one in path.parent.iterdir() if one.is_file()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, there, n=3, cutoff=0.7)
    scripts = sorted(one for one in there if one.endswith(".py"))[:5]
    listed = ", ".join(str(path.parent / one) for one in close or scripts)
    if close:
        return f"Did you mean {listed}?"
    return f"Scripts there: {listed}." if listed else f"There is no script in {path.parent.resolve()}."


def _check_syntax(path: Path) -> None:
    """Show a syntax error as Python does, before a job is made of it."""
    import warnings

    try:
        with warnings.catch_warnings(action="ignore"):
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        print("".join(traceback.format_exception_only(error)), end="", file=sys.stderr)
        where = f"line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else "it"
        raise BrokenScriptError(
            asked=f"{path} is to run",
            found=f"{where} is not Python",
            do="Nothing was submitted; correct it and try again.",
        ) from None


class BrokenScriptError(SpecError):
    """The script is not valid Python."""

    exit_code = 1

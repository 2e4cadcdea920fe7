"""What is to run? The words after `leyden run` and its flags become a Job, checked before anything is submitted."""

from __future__ import annotations

import difflib
import math
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leyden.core.address import parse_git, without_credentials
from leyden.core.environment import interpreter, kind_of
from leyden.core.errors import NotFoundError, SpecError, UsageError
from leyden.core.units import parse_duration

if TYPE_CHECKING:
    from leyden.core.job import Job

JOB_FILES = (".toml", ".yaml", ".yml")
_NAME = 120  # characters of a job's name


def _checked(noun: str, check: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """For a flag whose value a job would refuse without a word about the flag; `check` says why it is none."""

    def callback(context: click.Context, flag: click.Parameter, value: Any) -> Any:
        if value is None:
            return value
        asked, found, do = (
            f"`{flag.opts[0]} {without_credentials(str(value))}`",
            "",
            f"See `{context.command_path} -h`.",
        )
        try:
            found = check(str(value))
        except SpecError as error:
            found = f"{value!r} is no {noun}" if error.found == f"found {value!r}" else error.found
            do = error.do
        if found:
            raise UsageError(asked=asked, found=found, do=do)
        return value

    return callback


def _duration(value: str) -> str:
    seconds = parse_duration(value)
    return "" if 0 < seconds < math.inf else "it must be more than nothing" if not seconds else "that is too long"


def _gpus(value: str) -> str:
    from leyden.core.job import parse_gpus  # pydantic, which a job needs anyway

    parse_gpus(value)
    return ""


def _environment(value: str) -> str:
    kind_of(value)
    return ""


def _repository(value: str) -> str:
    parse_git(value)
    return ""


def _price(value: str) -> str:
    return "" if math.isfinite(float(value)) else "that is no price"


def _title(value: str) -> str:
    if not _is_text(value):
        return "it is no UTF-8"
    if len(value) > _NAME:
        return f"it has {len(value)} characters, where {_NAME} have room"
    return "" if value else "it is empty"


DURATION = _checked("duration", _duration)
_FLAGS = (
    click.argument("words", metavar="SCRIPT [ARGS]…", nargs=-1, type=click.UNPROCESSED),
    click.option(
        "--gpus",
        metavar="N",
        callback=_checked("number of GPUs", _gpus),
        help="GPUs: 2, A100:2, 24GB:1, 2..8 for 2 to 8; 0 for none.",
    ),
    click.option("--cpus", type=click.IntRange(1), metavar="N", help="CPU cores."),
    click.option("--ranks", type=click.IntRange(1, 1024), metavar="N", help="Processes; one a GPU by default."),
    click.option("--time", metavar="T", callback=DURATION, help="Stop it after that long: 90s, 10m, 1h30m."),
    click.option("--priority", type=click.IntRange(0, 100), metavar="N", help="0 to 100, higher first; 50 by default."),
    click.option(
        "--preempt",
        metavar="T",
        callback=DURATION,
        help="It may be interrupted: it gets so long to save a checkpoint first.",
    ),
    click.option(
        "--retry",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="Try again so often if the program fails; 0 by default.",
    ),
    click.option("--after", metavar="JOB", multiple=True, help="Only once that job has succeeded; may be repeated."),
    click.option("--hold", is_flag=True, help="Wait until `leyden release`."),
    click.option(
        "--stall",
        metavar="T",
        callback=DURATION,
        help="Stop it after so long without a step or a line of output; then retry.",
    ),
    click.option(
        "--idle",
        metavar="T",
        callback=DURATION,
        help="Stop it after so long without any use of its GPUs.",
    ),
    click.option(
        "--cost",
        type=click.FloatRange(0, 1e15, min_open=True),
        metavar="X",
        callback=_checked("price", _price),
        help="Stop it once all its attempts have cost X.",
    ),
    click.option(
        "--name",
        metavar="TEXT",
        callback=_checked("name", _title),
        help="What to call it; the script's name by default.",
    ),
    click.option("--var", metavar="K=V", multiple=True, help="An environment variable; may be repeated."),
    click.option(
        "--env",
        metavar="E",
        callback=_checked("environment", _environment),
        help="Packages: inherit (default), requirements.txt, uv.lock …, script, infer.",
    ),
    click.option(
        "--git",
        metavar="URL",
        callback=_checked("repository", _repository),
        help="Code from URL[@ref][:path/train.py] instead of this folder.",
    ),
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


def make(words: Sequence[str], given: dict[str, Any], *, aside: dict[str, Any] | None = None) -> Job:
    """The job of these words, with the flags that were given laid over a job file's keys.

    What the file says under `sweep` goes into `aside`. Raises NotFoundError for a missing script or program, SpecError
    for what a job cannot be.
    """
    from leyden.core.job import load_job_file, make_job  # pydantic: 60 ms that the other commands need not pay
    from leyden.core.sbatch import SUFFIXES, read_sbatch

    _check_text([*words, *(f"{key}={value}" for key, value in (given.get("vars") or {}).items())])
    if not words or _whole(given.get("git")):
        return _of_git(words, given)
    first, *rest = words
    source = "job"
    if first.endswith(JOB_FILES):
        _check_file(first)
        fields, source = load_job_file(Path(first)), first
        _set_aside(fields, aside, first)
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


def _set_aside(fields: dict[str, Any], aside: dict[str, Any] | None, file: str) -> None:
    sweep = fields.pop("sweep", None)
    if sweep is None:
        return
    if aside is None:
        found = "it describes a sweep"
        raise UsageError(asked=f"job file {file}", found=found, do=f"Use `leyden sweep {file}`.")
    if not isinstance(sweep, dict):
        raise SpecError(
            asked=f"job file {file}", found="its `sweep` holds no keys", do="Write e.g. [sweep] trials = 20."
        )
    aside.update(sweep)


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
    """The flags for a job file: its `args`, and what holds keys of its own, are added to, all else replaced."""
    merged = dict(given)
    for key in ("vars", "limits", "retry", "preempt"):
        if isinstance(fields.get(key), dict) and given.get(key):
            merged[key] = {**fields[key], **given[key]}
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


def _check_text(words: Sequence[str]) -> None:
    """A job is on record as text: bytes that are none cannot be, and are better refused than changed."""
    for word in words:
        if not _is_text(word):
            raise UsageError(asked=f"the word {word!a}", found="it is no UTF-8", do="Rename the file it names.")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_program(job: Job) -> None:
    if job.script:
        _check_file(job.script)
        if job.python == interpreter():  # another Python may know another grammar
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

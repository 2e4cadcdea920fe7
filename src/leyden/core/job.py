"""What did the user ask to be run?

`Job` is one pydantic model for three faces: the Python API, the TOML or YAML job file and the HTTP body.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from leyden.core.address import parse_git
from leyden.core.environment import Kind, interpreter, kind_of
from leyden.core.errors import NotFoundError, SpecError
from leyden.core.policy import Limits, Preempt, Retry, Seconds, checked
from leyden.core.units import format_size, parse_size

DEFAULT_PRIORITY = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What one attempt needs of one machine.

    `gpus` None means: one where the machine has any. `gpus_most` more than that: each attempt takes as many as are
    free, up to it. `share` 4: one part of a GPU that is split in four. `cpus` None means: the machine's share for
    `gpus` (all of them where it has no GPU), of which a part takes its part. `ranks` None means: one process a GPU, one
    in all without.
    """

    gpus: int | None = None
    gpus_most: int | None = None
    gpu_model: str | None = None
    gpu_memory_bytes: int = 0
    cpus: int | None = None
    ranks: int | None = None
    share: int = 1

    def describe(self) -> str:
        """In words, for messages.

        >>> Resources(gpus=2, gpu_model="A100", cpus=1).describe()
        '2 GPUs (A100) and 1 CPU'
        >>> Resources(gpus=1, share=4).describe()
        '1/4 of a GPU'
        """
        parts = []
        if self.gpus is not None:
            kind = self.gpu_model or (f"≥ {format_size(self.gpu_memory_bytes)}" if self.gpu_memory_bytes else "")
            count = f"1/{self.share} of a GPU" if self.share > 1 else count_gpus(self.gpus, self.gpus_most)
            parts.append(count + (f" ({kind})" if kind else ""))
        if self.cpus is not None:
            parts.append(f"{self.cpus} CPU{'s' * (self.cpus != 1)}")
        return " and ".join(parts) or "the machine's default device"


def count_gpus(fewest: int, most: int | None) -> str:
    """
    >>> count_gpus(1, None), count_gpus(2, 8)
    ('1 GPU', '2 to 8 GPUs')
    """
    if most and most > fewest:
        return f"{fewest} to {most} GPUs"
    return f"{fewest} GPU{'s' * (fewest != 1)}"


@dataclasses.dataclass(frozen=True)
class Gpus:
    """What "A100:2..8" says. `most` None: exactly `fewest`."""

    fewest: int | None = None
    most: int | None = None
    model: str | None = None
    memory_bytes: int = 0


def parse_gpus(text: str | int | None) -> Gpus:
    """GPUs from 8, "2..8", "A100", "A100:8" or "24GB:2".

    >>> parse_gpus("24GB:2")
    Gpus(fewest=2, most=None, model=None, memory_bytes=24000000000)
    >>> parse_gpus("A100:2..8"), parse_gpus(8).fewest
    (Gpus(fewest=2, most=8, model='A100', memory_bytes=0), 8)
    """
    if text is None:
        return Gpus()
    kind, _, number = str(text).strip().rpartition(":")
    if not kind and not number[:1].isdigit() and not number.startswith("-"):
        kind, number = number, "1"
    sized = bool(re.fullmatch(r"\d+(\.\d+)?\s*[gGtT]i?[bB]", kind or number))
    if sized and not kind:
        kind, number = number, "1"
    count = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", number)
    fewest, most = (int(count[1]), int(count[2] or count[1])) if count else (0, 0)
    if not count or most < fewest or (most > fewest and not fewest):
        raise SpecError(
            asked="a number of GPUs", found=f"found {text!r}", do="Write 8, A100:8 or 24GB:2, or 2..8 for 2 to 8."
        )
    return Gpus(
        fewest=fewest,
        most=most if most > fewest else None,
        model=None if sized or not kind else kind,
        memory_bytes=parse_size(kind) if sized else 0,
    )


class Job(BaseModel):
    """A description of what to run, where, and by which policy.

    Exactly one of `script` (with the current interpreter) and `command` (any program) says what runs. `after` names
    jobs that must have succeeded before; a job on `hold` waits until it is released. `env` is "inherit", "script",
    "infer" or a file of the tree that lists packages (leyden.core.environment); `git` is a repository, with `@` and a
    branch, tag or commit, whose code runs in place of the current folder's. `share` 4 is for small jobs of one process:
    four of them run on one GPU, each with all of its memory in sight; nothing but the programs' own care divides it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=120)] = ""
    script: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    python: str = interpreter()
    vars: dict[str, str] = {}
    env: str = Kind.INHERIT
    git: str = ""
    gpus: int | str | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    ranks: Annotated[int, Field(ge=1, le=1024)] | None = None
    share: Annotated[int, Field(ge=1, le=64)] = 1
    time: Seconds | None = None
    priority: Annotated[int, Field(ge=0, le=100)] = DEFAULT_PRIORITY
    retry: Retry = Retry()
    preempt: Preempt | None = None
    limits: Limits = Limits()
    after: tuple[str, ...] = ()
    hold: bool = False
    warm: bool = True

    @field_validator("gpus")
    @classmethod
    def _gpus(cls, value: int | str | None) -> int | str | None:
        parse_gpus(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _script_of_git(cls, fields: Any) -> Any:
        """`git` may name the script too."""
        git = fields.get("git") if isinstance(fields, dict) else None
        address = parse_git(git) if git and isinstance(git, str) else None
        if address and address.path and not fields.get("script"):
            return {**fields, "git": address.without_path(), "script": address.path}
        return fields

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if (self.script is None) == (not self.command):
            raise SpecError(
                asked="a job runs either a script or a command",
                found="both are given" if self.script else "neither is given",
                do='Write script = "train.py", or command = ["bash", "run.sh"].',
            )
        if kind_of(self.env) in {Kind.SCRIPT, Kind.INFER} and not self.script:
            raise SpecError(
                asked=f"the job's environment is to come from its script (env = {self.env!r})",
                found="it runs a command",
                do="Name a file that lists the packages, e.g. requirements.txt.",
            )
        return self

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Keys that cannot both be meant."""
        gpus = parse_gpus(self.gpus)
        if gpus.most and self.ranks:
            raise SpecError(
                asked=f"the job asks for {count_gpus(gpus.fewest or 0, gpus.most)} and for {self.ranks} ranks",
                found="the number of ranks follows that of the GPUs it gets",
                do="Leave ranks out, or ask for one number of GPUs.",
            )
        several = gpus.fewest not in {None, 1} or gpus.most
        if self.share > 1 and (several or (self.ranks or 1) > 1):
            raise SpecError(
                asked=f"the job takes one part of a GPU that is split in {self.share}",
                found=f"it asks for {count_gpus(gpus.fewest or 0, gpus.most) if several else f'{self.ranks} ranks'}",
                do="Ask for one GPU and one rank, or leave share out.",
            )
        return self

    @property
    def resources(self) -> Resources:
        """What one attempt needs."""
        gpus = parse_gpus(self.gpus)
        return Resources(
            gpus=gpus.fewest,
            gpus_most=gpus.most,
            gpu_model=gpus.model,
            gpu_memory_bytes=gpus.memory_bytes,
            cpus=self.cpus,
            ranks=self.ranks,
            share=self.share,
        )

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        first = (self.python, self.script) if self.script else self.command
        return (*first, *self.args)

    @property
    def title(self) -> str:
        """The job's name, else the script's or the program's."""
        return self.name or Path(self.script or self.command[0]).stem


def make_job(fields: dict[str, Any], *, source: str = "job") -> Job:
    """A Job from plain data; raises SpecError naming `source`, the key and what to do.

    >>> make_job({"script": "train.py", "pririty": 3})
    Traceback (most recent call last):
    leyden.core.errors.SpecError: job has a key 'pririty'; a job has no such key. Check it: did you mean 'priority'?
    """
    return checked(Job, fields, noun="job", source=source)


def load_job_file(path: Path) -> dict[str, Any]:
    """The fields of a TOML or YAML job file; not yet checked, so that flags can be laid over them."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotFoundError(asked=f"job file {path}", found="there is no such file", do="Check the path.") from None
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        import yaml  # 20 ms; only for YAML job files

        fields = yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise SpecError(asked=f"job file {path}", found=f"it cannot be read: {error}", do="Mend the file.") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            found = f"it cannot be read: {' '.join(str(error).split())}"
            raise SpecError(asked=f"job file {path}", found=found, do="Mend the file.") from None
        raise
    if not isinstance(fields, dict):
        raise SpecError(asked=f"job file {path}", found="it holds no keys", do="Write e.g. `script: train.py`.")
    return fields

"""Which Python environment may a job ask for, and what is on record about the one it got?

"inherit" is the submitter's own interpreter; a file in the tree lists packages; "script" means the PEP 723 block in the
script; "infer" means its imports, with the versions that the submitter has.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from leyden.core.errors import SpecError

RECORD = "environment.json"  # in the attempt's folder: an EnvironmentView
INFERRED = ".leyden/requirements.txt"  # where a captured tree holds what was inferred from imports


class Kind(StrEnum):
    """What an environment is made from; the patterns of file names that say so are in `_FILES`."""

    INHERIT = "inherit"
    SCRIPT = "script"
    INFER = "infer"
    REQUIREMENTS = "requirements"
    PROJECT = "pyproject"
    UV_LOCK = "uv.lock"
    PYLOCK = "pylock"


_FILES = {
    "uv.lock": Kind.UV_LOCK,
    "pyproject.toml": Kind.PROJECT,
    "pylock.toml": Kind.PYLOCK,
    "pylock.*.toml": Kind.PYLOCK,
    "*.txt": Kind.REQUIREMENTS,
    "*.in": Kind.REQUIREMENTS,
}


def kind_of(env: str) -> Kind:
    """What that word or path stands for; raises SpecError.

    >>> kind_of("inherit").value, kind_of("sub/requirements-dev.txt").value, kind_of("uv.lock").value
    ('inherit', 'requirements', 'uv.lock')
    """
    if env in (Kind.INHERIT, Kind.SCRIPT, Kind.INFER):
        return Kind(env)
    name = PurePosixPath(env).name
    for pattern, kind in _FILES.items():
        if fnmatch.fnmatchcase(name, pattern):
            return kind
    raise SpecError(
        asked=f"the job is to run in the environment {env!r}",
        found="that is neither a word Leyden knows nor a file that lists packages",
        do="Say inherit, script or infer, or name a requirements.txt, pyproject.toml, uv.lock or pylock.toml.",
    )


@dataclass(frozen=True, kw_only=True)
class EnvironmentView:
    """The environment one attempt ran in."""

    env: str  # as the job asked for it
    key: str = ""  # content hash of what it was built from, "" where it was inherited
    python: str = ""  # the interpreter
    version: str = ""  # of that interpreter, e.g. "3.11.7"
    packages: tuple[str, ...] = ()  # "name==version", sorted


def interpreter() -> str:
    """This one, by the name it has for all programs of its environment: `python3` of a venv is its `python`.

    What is kept for an interpreter, as a process to fork ranks off, is kept once.
    """
    if sys.executable and (plain := Path(sys.executable).with_name("python")).exists():
        return str(plain) if plain.samefile(sys.executable) else sys.executable
    return sys.executable


def write_environment(folder: Path, view: EnvironmentView) -> None:
    """Leave it in the attempt's folder."""
    draft = folder / f".{RECORD}"
    draft.write_text(json.dumps(vars(view)))
    draft.replace(folder / RECORD)


def read_environment(folder: Path) -> EnvironmentView | None:
    """What an attempt left; None where it left nothing."""
    try:
        plain = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    return EnvironmentView(**{**plain, "packages": tuple(plain["packages"])})


def installed(folder: Path) -> tuple[str, ...]:
    """The distributions of a site-packages folder, by the names of their metadata folders: one listing, no imports."""
    found = set()
    for path in folder.glob("*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
        if name:
            found.add(f"{name.lower().replace('_', '-')}=={version}")
    return tuple(sorted(found))

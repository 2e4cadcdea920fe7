"""What is an environment built from, and which steps build it? The same content gives the same key, and so the same
environment, whatever the files are called."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leyden.core.environment import INFERRED, Kind, kind_of
from leyden.core.errors import NotFoundError, SpecError
from leyden.engines.base import Launch
from leyden.worker.environ import working_folder

OURS: Final = Path(__file__).parents[1]  # the package `leyden` that runs this
_KEY = 16  # hex digits: 64 bits
_NO_PART = frozenset({"UV_CACHE_DIR", "UV_PROJECT_ENVIRONMENT", "UV_NO_PROGRESS", "UV_PYTHON", "UV_LINK_MODE"})
_INCLUDE = re.compile(r"^(?:-r|--requirement|-c|--constraint)[ =]?\s*(?P<path>\S+)")
_LOCAL = re.compile(r"^(-e\b|--editable\b|\.{1,2}(/|$|\[)|/|file:)|@\s*file:")
_BLOCK = re.compile(r"^# /// script\n(?P<body>(?:#(?: .*)?\n)*?)# ///$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to build one environment."""

    kind: Kind
    file: Path
    key: str
    wants: str  # what uv is told about the Python: versions such as ">=3.11", or the path of one
    interpreter: str  # folder of the job's own Python

    @property
    def folder(self) -> Path:
        """Where uv runs: there it finds the project's own settings."""
        return self.file.parent

    def steps(self, python: str) -> Iterator[tuple[str, ...]]:
        """The command lines of uv that fill a fresh environment whose interpreter is `python`."""
        match self.kind:
            case Kind.UV_LOCK:
                # The project itself is not part of it: its code is the job's copy, which the next job has not.
                leave_out = ("--no-install-project", "--no-install-workspace", "--no-dev")
                yield ("sync", "--frozen", *leave_out, "--python", python)
            case _:
                yield ("pip", "install", "--python", python, "-r", str(self.file))


def make_recipe(launch: Launch) -> Recipe:
    """What the job's `env` asks for. Raises SpecError, NotFoundError."""
    kind, file = _file(launch)
    content = _CONTENT[kind](file)
    version, interpreter = _interpreter(launch.python)
    wants = _wanted_python(kind, file)
    parts = {
        "kind": kind,
        "content": content,
        "settings": _settings(file.parent),
        "python": [version, interpreter, wants],
        "platform": sysconfig.get_platform(),
        "leyden": str(OURS),
        "uv": _uv_settings({**launch.environ, **launch.vars}),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_KEY]
    return Recipe(kind=kind, file=file, key=key, wants=wants or launch.python, interpreter=interpreter)


def _file(launch: Launch) -> tuple[Kind, Path]:
    kind, here = kind_of(launch.env), working_folder(launch)
    match kind:
        case Kind.INFER:
            file = Path(launch.run_dir) / "code" / INFERRED
        case Kind.SCRIPT:
            file = here / launch.script
        case _:
            file = here / launch.env
    if kind is Kind.PROJECT and file.with_name("uv.lock").exists():
        kind, file = Kind.UV_LOCK, file.with_name("uv.lock")
    if not file.is_file():
        raise NotFoundError(
            asked=f"the environment is to be built from {launch.env}", found="there is no such file", do="Check it."
        )
    return kind, Path(os.path.normpath(file))


def _requirements(file: Path) -> str:
    """The text, with that of every file it includes."""
    parts = []
    for line in file.read_text().splitlines():
        bare = line.split(" #")[0].strip()
        if _LOCAL.search(bare):
            raise SpecError(
                asked=f"{file.name} asks for {bare}",
                found="that is code of this machine; an environment is shared by all jobs with the same packages",
                do="Take the line out: the job's own code is in its copy, on Python's path beside the script.",
            )
        included = _INCLUDE.match(bare)
        if included and "://" not in included["path"]:
            parts.append(_requirements(file.parent / included["path"]))
        elif bare and not bare.startswith("#"):
            parts.append(bare)
    return "\n".join(parts)


def _project(file: Path) -> str:
    """What of a pyproject.toml says which packages there are: its other tables may change as they like."""
    plain = _toml(file, file.read_text())
    project: dict[str, Any] = plain.get("project", {})
    if "dependencies" in project.get("dynamic", ()):
        raise SpecError(
            asked=f"the environment is to be built from {file.name}",
            found="its dependencies are dynamic: they are known only to its build system",
            do="Write them to a requirements.txt or lock them with `uv lock`, and name that file.",
        )
    for name, source in plain.get("tool", {}).get("uv", {}).get("sources", {}).items():
        if isinstance(source, dict) and {"path", "workspace"} & source.keys():
            raise SpecError(
                asked=f"{file.name} takes {name} from a folder",
                found="an environment is shared by all jobs that ask for the same packages: it cannot hold that code",
                do="Publish it, or give it by its git address.",
            )
    return json.dumps([project.get("dependencies", []), project.get("requires-python", "")])


def _locked(file: Path) -> str:
    project = file.with_name("pyproject.toml")
    if not project.is_file():
        raise NotFoundError(
            asked="the environment is to be built from uv.lock",
            found="there is no pyproject.toml beside it, which uv needs",
            do="Take that file into the tree.",
        )
    return file.read_text() + _project(project)


def _script(file: Path) -> str:
    """The block of PEP 723, https://peps.python.org/pep-0723/."""
    found = list(_BLOCK.finditer(file.read_text()))
    if len(found) != 1:
        raise SpecError(
            asked=f"the environment is to be built from the block `# /// script` of {file.name}",
            found="there is none" if not found else f"there are {len(found)}",
            do="Write it as PEP 723 says, or name a file that lists the packages: --env requirements.txt.",
        )
    text = "\n".join(line[2:] for line in found[0]["body"].splitlines())
    _toml(file, text)
    return text


_CONTENT: Mapping[Kind, Callable[[Path], str]] = {
    Kind.REQUIREMENTS: _requirements,
    Kind.INFER: _requirements,
    Kind.PROJECT: _project,
    Kind.UV_LOCK: _locked,
    Kind.PYLOCK: Path.read_text,
    Kind.SCRIPT: _script,
}


def _settings(folder: Path) -> str:
    """The project's own word about indexes and the like."""
    own = folder / "uv.toml"
    project = folder / "pyproject.toml"
    table = _toml(project, project.read_text()).get("tool", {}).get("uv", {}) if project.is_file() else {}
    return (own.read_text() if own.is_file() else "") + json.dumps(table, sort_keys=True, default=str)


def _uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """UV_INDEX_URL, UV_TORCH_BACKEND and their like change what is installed."""
    return {key: environ[key] for key in sorted(environ) if key.startswith("UV_") and key not in _NO_PART}


def _toml(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(
            asked=f"the environment is to be built from {file.name}", found=f"it is no TOML: {error}", do="Mend it."
        ) from None


def _wanted_python(kind: Kind, file: Path) -> str:
    """What the project or the script says about versions; "" where nothing, and the job's own Python it is."""
    match kind:
        case Kind.SCRIPT:
            return str(_toml(file, _script(file)).get("requires-python", ""))
        case Kind.PROJECT | Kind.UV_LOCK:
            project = file.with_name("pyproject.toml")
            return str(_toml(project, project.read_text()).get("project", {}).get("requires-python", ""))
    return ""


def _interpreter(python: str) -> tuple[str, str]:
    """The version of that Python, and the folder of the one it was made from where it is that of an environment."""
    if python == sys.executable:
        return ".".join(map(str, sys.version_info[:3])), str(Path(sys.base_prefix) / "bin")
    ask = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.base_prefix)"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    except OSError as error:
        raise _no_python(python, error.strerror or str(error)) from None
    if done.returncode:
        raise _no_python(python, done.stderr.strip()[-200:])
    version, _, prefix = done.stdout.strip().partition(" ")
    return version, str(Path(prefix) / "bin")


def _no_python(python: str, why: str) -> NotFoundError:
    return NotFoundError(
        asked=f"the environment is to be built for {python}", found=why, do="Check the job's `python`."
    )

"""Which packages do the ranks see? Put on record for each attempt, so that two jobs can be compared.

A listing of folders and no import: 1 ms, taken while the ranks already run. A process that bears workers takes its own
once, as it ends when anything is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from leyden.core.environment import EnvironmentView, installed, write_environment
from leyden.engines.base import Launch


def record_environment(launch: Launch, *, key: str = "") -> None:
    """Leave the interpreter of the launch and its packages in the attempt's folder."""
    python = launch.argv[0]
    own = python == sys.executable
    packages = own_packages() if own else _packages(site_packages(Path(python)))
    version = ".".join(map(str, sys.version_info[:3])) if own else _version(Path(python))
    view = EnvironmentView(env=launch.env, key=key, python=python, version=version, packages=packages)
    write_environment(launch.folder, view)


@cache
def own_packages() -> tuple[str, ...]:
    """Those of this interpreter."""
    return _packages([Path(one) for one in sys.path if one.endswith("site-packages")])


def _packages(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({one for folder in folders for one in installed(folder)}))


def site_packages(python: Path) -> Sequence[Path]:
    """Where the environment of that interpreter keeps its packages."""
    return sorted((python.parent.parent / "lib").glob("python*/site-packages"))


def _version(python: Path) -> str:
    """As the environment's own pyvenv.cfg says; venv and uv name the line differently."""
    try:
        lines = (python.parent.parent / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return ""
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return pairs.get("version_info") or pairs.get("version", "")

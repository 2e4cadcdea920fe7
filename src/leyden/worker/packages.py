"""Which packages do the ranks see? Put on record for each attempt, so that two jobs can be compared.

A listing of folders and no import: 1 ms, taken while the ranks already run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from leyden.core.environment import EnvironmentView, installed, write_environment
from leyden.engines.base import Launch


def record_environment(launch: Launch, *, key: str = "") -> None:
    """Leave the interpreter of the launch and its packages in the attempt's folder."""
    python = launch.argv[0]
    own = python == sys.executable
    folders = [Path(one) for one in sys.path if one.endswith("site-packages")] if own else site_packages(Path(python))
    packages = sorted({one for folder in folders for one in installed(folder)})
    version = ".".join(map(str, sys.version_info[:3])) if own else _version(Path(python))
    view = EnvironmentView(env=launch.env, key=key, python=python, version=version, packages=tuple(packages))
    write_environment(launch.folder, view)


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

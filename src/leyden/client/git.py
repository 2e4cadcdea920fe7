"""How is git asked, and how does it say no?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# What points git at another repository than the one it is run in: set within hooks, `git rebase -x` and the like.
_POINTERS = frozenset({
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES", "GIT_CONFIG", "GIT_GRAFT_FILE"),
})  # fmt: skip


def git(folder: Path, *args: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end, whatever it says. Raises FileNotFoundError where there is no git."""
    return subprocess.run(["git", *args], cwd=folder, env=environ or local(), capture_output=True, check=False)


def local() -> dict[str, str]:
    """The environment for questions about a checkout: nothing of a git around us, and messages we can read."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {"LC_ALL": "C"}


def remote() -> dict[str, str]:
    """The environment for asking a server: the user's own ways to it (GIT_SSH_COMMAND …), and no questions asked."""
    kept = {key: value for key, value in os.environ.items() if key not in _POINTERS}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git complained of, on one line."""
    return " ".join(done.stderr.decode(errors="replace").split())


def lines(done: subprocess.CompletedProcess[bytes], *, ends: bytes = b"\0") -> Sequence[str]:
    """The parts of what it printed."""
    return [os.fsdecode(one) for one in done.stdout.split(ends) if one]

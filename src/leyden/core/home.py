"""Where does the embedded platform keep its things?

$LEYDEN_HOME (~/.leyden), mode 700
  server.json   url, pid, token of the running server, mode 600      server.lock   held for the server's life
  server.log    what it printed; before that, server.log.1           leyden.db     SQLite: jobs, attempts, events
  code/         captured trees by content hash                       runs/<id>/    the record of each job's run
  environs/     submitters' environments by content hash, mode 600   store/        artifacts by content hash
  settings.json what the server was told, for those that start later
  envs/         Python environments built for jobs, by content hash    git/          mirrors of repositories (--git)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder all of the embedded platform lives in."""

    root: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """$LEYDEN_HOME, else ~/.leyden."""
        return cls(Path(environ.get("LEYDEN_HOME") or "~/.leyden").expanduser().absolute())

    def create(self) -> Home:
        """Make the folders; only their owner may look inside."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.code.mkdir(exist_ok=True)
        self.runs.mkdir(exist_ok=True)
        return self

    @property
    def server_file(self) -> Path:
        """Where the running server says how to reach it."""
        return self.root / "server.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the running server."""
        return self.root / "server.lock"

    @property
    def log_file(self) -> Path:
        """What the server printed."""
        return self.root / "server.log"

    @property
    def database(self) -> Path:
        """The store of jobs."""
        return self.root / "leyden.db"

    @property
    def code(self) -> Path:
        """Captured working trees."""
        return self.root / "code"

    @property
    def git(self) -> Path:
        """Bare mirrors of the repositories that jobs were submitted from."""
        return self.root / "git"

    @property
    def envs(self) -> Path:
        """Python environments by content hash."""
        return self.root / "envs"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.root / "runs"

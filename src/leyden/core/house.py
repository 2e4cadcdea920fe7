"""What does the HTTP API say about the server itself, and about what lies in its home?

As leyden.core.views, but apart from it: most commands ask for none of these, and each costs them a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ServerView:
    """The server and what it keeps, as `leyden server status` shows it."""

    version: str
    pid: int
    started_at: float
    home: str
    database: str  # without a password
    store: str  # of artifacts
    trouble: str  # why the store keeps nothing just now
    home_bytes: int | None  # None: not counted yet
    disk_bytes: int
    free_bytes: int
    node: str
    gpus: int
    gpus_held: float  # 1.25 with a quarter of one
    cpus: int
    cpus_held: int
    jobs: dict[str, int]  # state -> how many
    warm: int  # processes that stand ready to be forked, torch imported
    keep_checkpoints: int  # the rules of settings.json
    keep_days: float
    keep_artifacts_days: float
    clean_days: float


@dataclass(frozen=True, kw_only=True)
class WasteView:
    """A piece of the home, or of the store of artifacts, that nobody needs."""

    kind: str
    name: str
    size_bytes: int  # that become free
    used_at: float
    why: str


@dataclass(frozen=True, kw_only=True)
class CleanView:
    """What nobody needs: what went, or what would go."""

    removed: bool
    waste: list[WasteView] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what was not even looked at, and why

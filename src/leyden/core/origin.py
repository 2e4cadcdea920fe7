"""Where does a captured tree come from: which commit, and what differs from it?

The answer travels inside the tree's archive under reserved names, first of all entries: whatever runs that code again,
a retry or a fork, has it too, and it is read without unpacking the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

RESERVED = ".leyden/"  # nothing of the user's own tree lies below this name
ORIGIN = RESERVED + "origin.json"
PATCH = RESERVED + "changes.patch"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The commit below a tree."""

    commit: str
    branch: str = ""  # "" where HEAD is on none
    remote: str = ""  # its URL, without any credentials
    changed: tuple[str, ...] = ()  # files that differ from the commit, new and deleted ones included
    patch: bool = False  # whether the archive holds the difference as text

    @property
    def dirty(self) -> bool:
        """Whether anything differs from the commit."""
        return bool(self.changed)

    def describe(self) -> str:
        """In a few words.

        >>> Origin(commit="1a2b3c4d5e6f", branch="main", changed=("a.py", "b.py")).describe()
        'commit 1a2b3c4 (main) +2 files'
        """
        branch = f" ({self.branch})" if self.branch else ""
        count = len(self.changed)
        return f"commit {self.commit[:7]}{branch}" + (f" +{count} file{'s' * (count != 1)}" if count else "")


def to_bytes(origin: Origin) -> bytes:
    """As the archive holds it."""
    return json.dumps(vars(origin), ensure_ascii=True).encode()


def from_bytes(text: bytes) -> Origin:
    """As it was written."""
    plain = json.loads(text)
    return Origin(**{**plain, "changed": tuple(plain["changed"])})


def read_origin(archive: Path) -> Origin | None:
    """Of a captured tree (tar.gz); None where it came from no commit, or is gone."""
    import tarfile  # 10 ms, only for who looks at one job

    try:
        with tarfile.open(archive) as tar:
            first = tar.next()
            content = tar.extractfile(first) if first and first.name == ORIGIN else None
            return from_bytes(content.read()) if content else None
    except (FileNotFoundError, tarfile.TarError):
        return None

"""Which repository, commit and script does `--git URL[@ref][:path/train.py]` name?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from leyden.core.errors import SpecError

# What stands before the repository's path: a scheme with its host, or ssh's user@host: and host.name:
_HOST = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://[^/]*|[\w.-]+@[\w.-]+:|[\w-]+(\.[\w-]+)+:)")


@dataclass(frozen=True, kw_only=True)
class GitAddress:
    """What `--git` names."""

    url: str
    ref: str = ""  # a branch, tag or commit; "" is what the repository's HEAD names
    path: str = ""  # of the script inside

    @property
    def shown(self) -> str:
        """The URL as anybody may see it."""
        return without_credentials(self.url)

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return not _HOST.match(self.url)

    def without_path(self) -> str:
        """URL and ref, as a job keeps them."""
        return self.url + (f"@{self.ref}" if self.ref else "")


def parse_git(text: str) -> GitAddress:
    """The parts of URL[@ref][:path]. Raises SpecError.

    >>> parse_git("https://example.org/lab/model.git@v1.2:src/train.py")
    GitAddress(url='https://example.org/lab/model.git', ref='v1.2', path='src/train.py')
    >>> parse_git("git@example.org:lab/model@feature/a")
    GitAddress(url='git@example.org:lab/model', ref='feature/a', path='')
    >>> parse_git("../model:train.py")
    GitAddress(url='../model', ref='', path='train.py')
    """
    host = _HOST.match(text)
    start = host[0] if host else ""
    rest, _, path = text[len(start) :].partition(":")
    repository, _, ref = rest.partition("@")
    if not repository or ref.startswith("-") or text.startswith("-"):
        raise SpecError(
            asked=f"the job's code is to come from {without_credentials(text)!r}",
            found="that is no address of a repository",
            do="Write it like https://example.org/lab/model.git@main:train.py.",
        )
    return GitAddress(url=start + repository, ref=ref, path=path)


def without_credentials(url: str) -> str:
    """The same address without user and password; an ssh user, who is nobody's secret, stays.

    >>> without_credentials("https://ada:s3cret@example.org/lab/model.git")
    'https://example.org/lab/model.git'
    >>> without_credentials("git@example.org:lab/model.git")
    'git@example.org:lab/model.git'
    """
    if url.startswith("ssh://"):
        return re.sub(r"^(ssh://[^/@:]*):[^/@]*@", r"\1@", url)
    return re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/]*@", r"\1", url)

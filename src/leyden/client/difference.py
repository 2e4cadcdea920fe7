"""What differed between two jobs: code, arguments, variables, environment, size, policy?

Two captured trees are compared by content; lines are compared where both files are text that a person would read.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from leyden.client.api import Client
from leyden.core.environment import EnvironmentView
from leyden.core.origin import RESERVED
from leyden.core.units import format_size, spell
from leyden.core.views import JobDetail

MAX_TEXT_BYTES = 1_000_000  # beyond it a file is data, and comparing its lines takes long
HIDDEN: Final = "(hidden)"
NOT_KNOWN: Final = "(not on record)"
_SECRET = re.compile(r"token|secret|key|passw|credential", re.IGNORECASE)
_SIZE: Final = ("gpus", "share", "cpus", "ranks")
_ELSEWHERE: Final = frozenset({"script", "command", "args", "vars", "env", "python", "git", *_SIZE})


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that is not the same. None: one side has no such thing."""

    section: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """One file that is not the same. `text` is a unified diff, "" where there is nothing for a person to read."""

    path: str
    what: str  # added, removed, changed
    note: str = ""  # e.g. that it is binary
    added: int = 0  # lines
    removed: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """All that differs between two jobs, from the first to the second."""

    before: str
    after: str
    facts: tuple[Fact, ...]
    files: tuple[FileChange, ...]

    @property
    def empty(self) -> bool:
        """Whether the two are the same in all that is on record."""
        return not self.facts and not self.files


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file of a tree, without its content."""

    sha256: str
    size_bytes: int
    mode: int
    link: str


def compare(client: Client, first: str, second: str) -> Difference:
    """Ask the server for both jobs and their trees. Raises NotFoundError, UnreachableError."""
    one, other = client.job(first), client.job(second)
    views = client.environment(one.job.id), client.environment(other.job.id)
    files: list[FileChange] = []
    if differ_in_code(one, other):
        with tempfile.TemporaryFile() as old, tempfile.TemporaryFile() as new:
            client.get_code(one.code, old)
            client.get_code(other.code, new)
            files = list(compare_trees(old, new))
    return difference(one, other, views, files)


def differ_in_code(one: JobDetail, other: JobDetail) -> bool:
    """Whether both have a tree on record, and not the same one."""
    return bool(one.code and other.code and one.code != other.code)


def difference(
    one: JobDetail,
    other: JobDetail,
    environments: tuple[EnvironmentView | None, EnvironmentView | None],
    files: Sequence[FileChange],
) -> Difference:
    """Of two jobs whose trees are compared already."""
    facts = [
        *_code_facts(one, other),
        *spec_facts(whole(one.spec), whole(other.spec)),
        *environment_facts(*environments),
    ]
    return Difference(before=one.job.id, after=other.job.id, facts=tuple(facts), files=tuple(files))


def _code_facts(one: JobDetail, other: JobDetail) -> Iterator[Fact]:
    def place(job: JobDetail) -> str:
        return job.commit.describe() if job.commit else "a folder without a commit" if job.code else "in place, no copy"

    def remote(job: JobDetail) -> str | None:
        return job.commit.remote or None if job.commit else None

    yield from _fact("code", "from", place(one), place(other))
    yield from _fact("code", "remote", remote(one), remote(other))


def whole(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with what it does not say filled in, as two jobs may say the same in different words."""
    from leyden.core.job import Job

    filled: dict[str, Any] = Job.model_construct().model_dump(mode="json", exclude={"python"})
    for key, value in spec.items():
        default = filled.get(key)
        filled[key] = {**default, **value} if isinstance(default, dict) and isinstance(value, dict) else value
    return filled


def spec_facts(one: Mapping[str, object], other: Mapping[str, object]) -> list[Fact]:
    """What the jobs asked for."""
    facts: list[Fact] = []
    for key in ("script", "command"):
        facts += _fact("arguments", key, _said(one, key), _said(other, key))
    facts += _mappings("arguments", _arguments(one.get("args")), _arguments(other.get("args")))
    facts += _mappings("variables", _strings(one.get("vars")), _strings(other.get("vars")))
    for key in ("env", "python"):
        facts += _fact("environment", key, _said(one, key), _said(other, key))
    for key in _SIZE:
        facts += _fact("size", key, _said(one, key), _said(other, key))
    for key in sorted((one.keys() | other.keys()) - _ELSEWHERE):
        facts += _fact("policy", key, _said(one, key), _said(other, key))
    return facts


def environment_facts(one: EnvironmentView | None, other: EnvironmentView | None) -> list[Fact]:
    """What the jobs got."""
    if one is None or other is None:
        shown = [NOT_KNOWN if view is None else f"{len(view.packages)} packages" for view in (one, other)]
        return list(_fact("environment", "packages", shown[0], shown[1]))
    facts = [*_fact("environment", "key", one.key or None, other.key or None)]
    facts += _fact("environment", "Python", one.version or None, other.version or None)
    return facts + _mappings("environment", _packages(one), _packages(other))


def compare_trees(old: BinaryIO, new: BinaryIO) -> Iterator[FileChange]:
    """Every file that is not the same in two archives, by path."""
    before, after = _entries(old), _entries(new)
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    texts = _contents(old, paths), _contents(new, paths)
    for path in paths:
        yield _changed(path, before.get(path), after.get(path), texts[0].get(path), texts[1].get(path))


def _changed(path: str, one: _Entry | None, other: _Entry | None, old: bytes | None, new: bytes | None) -> FileChange:
    what = "added" if one is None else "removed" if other is None else "changed"
    notes = []
    if one and other and one.mode != other.mode:
        notes.append(f"mode {one.mode:o} → {other.mode:o}")
    if (one and one.link) or (other and other.link):
        ends = [entry.link or "a file" if entry else "nothing" for entry in (one, other)]
        return FileChange(path=path, what=what, note=f"link to {ends[0]} → {ends[1]}")
    if one and other and one.sha256 == other.sha256:
        return FileChange(path=path, what=what, note=notes[0])
    sizes = [format_size(entry.size_bytes) if entry else "nothing" for entry in (one, other)]
    if (one and old is None) or (other and new is None):
        notes.append(f"too large to compare by line: {sizes[0]} → {sizes[1]}")
    elif b"\0" in (old or b"") or b"\0" in (new or b""):
        notes.append(f"binary: {sizes[0]} → {sizes[1]}")
    else:
        return _by_line(path, what, ", ".join(notes), old, new)
    return FileChange(path=path, what=what, note=", ".join(notes))


def _by_line(path: str, what: str, note: str, old: bytes | None, new: bytes | None) -> FileChange:
    before, after = (_lines(text) for text in (old, new))
    names = "/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}"
    found = list(difflib.unified_diff(before, after, *names, lineterm=""))
    return FileChange(
        path=path,
        what=what,
        note=note,
        added=sum(line.startswith("+") for line in found[2:]),
        removed=sum(line.startswith("-") for line in found[2:]),
        text="\n".join(found),
    )


def _lines(text: bytes | None) -> list[str]:
    """Split at newlines alone: other characters that end lines somewhere are part of them."""
    if not text:
        return []
    lines = text.decode(errors="backslashreplace").split("\n")
    return lines[:-1] if lines[-1] == "" else [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


def _members(archive: BinaryIO) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            if not member.name.startswith(RESERVED):
                yield tar, member


def _entries(archive: BinaryIO) -> dict[str, _Entry]:
    found = {}
    for tar, member in _members(archive):
        content = tar.extractfile(member) if member.isfile() else None
        digest = hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]  # typeshed asks for readinto's exact type
        found[member.name] = _Entry(
            sha256=digest, size_bytes=member.size, mode=member.mode, link=member.linkname if member.issym() else ""
        )
    return found


def _contents(archive: BinaryIO, paths: Sequence[str]) -> dict[str, bytes]:
    """The contents of those that are not too large."""
    wanted, found = set(paths), {}
    for tar, member in _members(archive):
        if member.name in wanted and member.isfile() and member.size <= MAX_TEXT_BYTES:
            content = tar.extractfile(member)
            found[member.name] = content.read() if content else b""
    return found


def _fact(section: str, name: str, before: str | None, after: str | None) -> Iterator[Fact]:
    if before == after:
        return
    if section in {"arguments", "variables"} and _SECRET.search(name):
        before, after = (None if value is None else HIDDEN for value in (before, after))
    yield Fact(section=section, name=name, before=before, after=after)


def _mappings(section: str, one: Mapping[str, str], other: Mapping[str, str]) -> list[Fact]:
    names = [*one, *(name for name in other if name not in one)]
    return [fact for name in names for fact in _fact(section, name, one.get(name), other.get(name))]


def _arguments(args: object) -> dict[str, str]:
    """Arguments by name, so that their order does not count; the others by their place.

    >>> _arguments(["--lr", "0.1", "model.depth=3", "data.csv", "--fast", "--bias=-1"])
    {'--lr': '0.1', 'model.depth': '3', 'argument 1': 'data.csv', '--fast': '', '--bias': '-1'}
    """
    words = [str(word) for word in args] if isinstance(args, list | tuple) else []
    found: dict[str, str] = {}
    place, at = 0, 0
    while at < len(words):
        word = words[at]
        name, equals, value = word.partition("=")
        at += 1
        if word.startswith("-") and not _number(word):
            if not equals and at < len(words) and (not words[at].startswith("-") or _number(words[at])):
                value = words[at]
                at += 1
        elif not equals or not re.fullmatch(r"\+{0,2}[\w.@/]+", name):
            place += 1
            name, value = f"argument {place}", word
        # Said twice (--tag a --tag b): both count.
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def _number(word: str) -> bool:
    return re.fullmatch(r"-\d*\.?\d+([eE][+-]?\d+)?", word) is not None


def _packages(view: EnvironmentView) -> dict[str, str]:
    return {name: version for name, _, version in (one.partition("==") for one in view.packages)}


def _strings(value: object) -> dict[str, str]:
    return {str(key): str(one) for key, one in value.items()} if isinstance(value, Mapping) else {}


def _said(spec: Mapping[str, object], key: str) -> str | None:
    value = spec.get(key)
    if value in (None, "", [], (), {}):
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {spell(name, one)}" for name, one in value.items() if one is not None) or None
    return spell(key, value)

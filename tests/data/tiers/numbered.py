"""A data set whose every byte is known, and a reader of tickets that checks each of them."""

from __future__ import annotations

import hashlib
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from leyden.data.errors import DataError
from leyden.data.sources.base import RECORD, Fetch, Ints, Reader, Records, Shard, Source
from leyden.data.tiers.base import Local, Tiers

Wanted = Mapping[int, list[int]]


class Numbered(Source):
    """Shards of random bytes; sample j is bytes j*length:(j+1)*length."""

    def __init__(
        self, root: str, *, shards: int = 6, samples: int = 12, length: int = 20_000, sha: bool = True,
        locates: bool = True, names: tuple[str, ...] = (), size: int | None = None, crc: bool = True,
    ) -> None:  # fmt: skip
        self.root, self.samples, self.length, self.sha, self.locates, self.crc = (
            root,
            samples,
            length,
            sha,
            locates,
            crc,
        )
        self.size = samples * length if size is None else size
        self.names = names or tuple(f"shard-{number:03}.bin" for number in range(shards))
        self.prepared: list[int] = []

    @property
    def counts(self) -> Ints:
        return np.full(len(self.names), self.samples, np.int64)

    def shard(self, number: int) -> Shard:
        sha256 = hashlib.sha256(self.bytes_of(number)).hexdigest() if self.sha else None
        return Shard(name=self.names[number], size_bytes=self.size, sha256=sha256)

    def prepare(self, shard: int, fetch: Fetch) -> None:
        self.prepared.append(shard)
        if "index" in self.root:
            assert fetch(self.names[shard] + ".idx") == b"index"

    def locate(self, shard: int, samples: Ints) -> Records | None:
        return self.records(shard, samples) if self.locates else None

    def records(self, shard: int, samples: Any) -> Records:
        found = np.zeros(len(samples), RECORD)
        found["offset"] = np.asarray(samples) * self.length
        found["length"] = self.length
        found["crc32c"] = [
            google_crc32c.value(self.sample(shard, int(sample))) if self.crc else -1 for sample in samples
        ]
        return found

    def open(self, shard: int, path: Path | None) -> Reader:
        raise NotImplementedError

    def bytes_of(self, shard: int) -> bytes:
        return _bytes(shard, self.samples * self.length)

    def sample(self, shard: int, sample: int) -> bytes:
        return self.bytes_of(shard)[sample * self.length : (sample + 1) * self.length]

    def write(self, folder: Path) -> None:
        """All shards, as files."""
        folder.mkdir(parents=True, exist_ok=True)
        for shard, name in enumerate(self.names):
            (folder / name).write_bytes(self.bytes_of(shard))

    def everything(self) -> list[Wanted]:
        """Tickets for all samples: windows of three shards, mixed."""
        tickets: list[Wanted] = []
        chance = np.random.default_rng(1)
        for first in range(0, len(self.names), 3):
            window = range(first, min(first + 3, len(self.names)))
            pairs = [(shard, sample) for shard in window for sample in range(self.samples)]
            chance.shuffle(pairs)
            for at in range(0, len(pairs), 8):
                wanted: dict[int, list[int]] = {}
                for shard, sample in pairs[at : at + 8]:
                    wanted.setdefault(int(shard), []).append(int(sample))
                tickets.append(wanted)
        return tickets


_made: dict[tuple[int, int], bytes] = {}


def _bytes(shard: int, length: int) -> bytes:
    if (shard, length) not in _made:
        _made[shard, length] = np.random.default_rng(shard).bytes(length)
    return _made[shard, length]


def ask(tiers: Tiers, ticket: int, wanted: Wanted) -> None:
    tiers.ask(ticket, {shard: np.array(samples) for shard, samples in wanted.items()})


def answers(tiers: Tiers, count: int, within_s: float = 15) -> dict[int, dict[int, Local] | DataError]:
    """Wait for so many answers, on the file descriptor alone."""
    found: dict[int, dict[int, Local] | DataError] = {}
    deadline_s = time.monotonic() + within_s
    while len(found) < count:
        ready = select.select([tiers.fileno()], [], [], max(0, deadline_s - time.monotonic()))[0]
        assert ready, f"no answer within {within_s} s: {tiers.why()}"
        found.update(tiers.answers())
    return found


def check(source: Numbered, wanted: Wanted, answer: dict[int, Local] | DataError) -> int:
    """Read what was asked for as a worker does; every byte must be right. How many samples."""
    if isinstance(answer, DataError):
        raise answer
    assert {*answer} == {*wanted}
    for shard, samples in wanted.items():
        records = answer[shard].records
        if records is None:
            records = source.records(shard, samples)
        with Path(answer[shard].path).open("rb") as file:
            for sample, (offset, length, _) in zip(samples, records.tolist(), strict=True):
                file.seek(offset)
                assert file.read(length) == source.sample(shard, sample), (shard, sample)
    return sum(map(len, wanted.values()))


def epoch(tiers: Tiers, source: Numbered, start: int = 0, open_at_once: int = 3, within_s: float = 15) -> int:
    """Read everything once, with a few tickets open. How many samples."""
    tickets = source.everything()
    total = asked = 0
    waiting: dict[int, dict[int, Local] | DataError] = {}
    for at, wanted in enumerate(tickets):
        while asked < min(len(tickets), at + open_at_once):
            ask(tiers, start + asked, tickets[asked])
            asked += 1
        while start + at not in waiting:
            waiting.update(answers(tiers, 1, within_s))
        total += check(source, wanted, waiting.pop(start + at))
        tiers.done(start + at)
    return total

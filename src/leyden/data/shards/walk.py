"""How is a source read from end to end without a loader? For conversion, checks and statistics, a shard at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.shards.encode import stored
from leyden.data.sources.base import Reader, Source
from leyden.data.sources.sample import Sample
from leyden.data.tiers.here import check_name, local_folder
from leyden.data.tiers.remote import open_root


@final
class Walk:
    """Keeps the shard it reads open. A remote one is fetched: `whole`, or only the samples asked for.

    Used by one thread; pickles as if new. A sequence of samples, so that `write_shards` takes it.
    """

    def __init__(self, source: Source, *, whole: bool = True, options: Mapping[str, str] | None = None) -> None:
        self.source, self._whole, self._options = source, whole, options
        self._ends = np.cumsum(source.counts)
        self._held = ExitStack()
        weakref.finalize(self, self._held.close)  # where nobody calls close
        self._root = open_root(source.root, options) if source.root else None
        self._forget()

    def _forget(self) -> None:
        self._at = -1
        self._reader: Reader | None = None
        self._path: Path | None = None
        self._sparse = False  # only some ranges of it are there

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = bisect_right(self._ends, number)
        return self.read(shard, number - int(self._ends[shard] - self.source.counts[shard]))

    def read(self, shard: int, sample: int) -> Any:
        """One sample, by its number in the shard."""
        reader = self._open(shard)
        records = self.source.locate(shard, np.array([sample]))
        record = None if records is None else records[0].item()
        if record is not None and self._sparse:
            self._fill(shard, record[0], record[0] + record[1])
        return reader.read(sample, record)

    def samples(self, shard: int) -> Iterator[tuple[int, Any]]:
        """Those of a shard, with their numbers; in place of one that cannot be read its error."""
        for sample in range(int(self.source.counts[shard])):
            try:
                yield sample, self.read(shard, sample)
            except DataError as error:
                yield sample, error

    def path(self, shard: int) -> Path | None:
        """The shard's whole file on this machine."""
        self._open(shard)
        return self._path

    def close(self) -> None:
        """Remove what was fetched."""
        self._held.close()
        self._forget()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "whole": self._whole, "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["source"], whole=state["whole"], options=state["options"])

    def _open(self, shard: int) -> Reader:
        if self._reader is None or self._at != shard:
            self.close()
            self._path = self._put(shard) if self._root else None
            self._reader, self._at = self.source.open(shard, self._path), shard
            self._held.callback(self._reader.close)
        return self._reader

    def _put(self, shard: int) -> Path:
        """The shard's file: where it lies, or fetched."""
        assert self._root is not None
        found = self.source.shard(shard)
        self.source.prepare(shard, self._fetch)
        local = local_folder(self.source.root)
        if local is not None and not found.packed:
            return local / check_name(self.source.root, found.name)
        folder = Path(tempfile.mkdtemp(prefix="leyden-walk-"))
        self._held.callback(shutil.rmtree, folder, ignore_errors=True)
        path = folder / Path(found.name).name
        self._sparse = not self._whole and not found.packed and self.source.locate(shard, np.arange(1)) is not None
        path.write_bytes(b"" if self._sparse else self._root.get(found.name))
        if not self._sparse:
            self.source.arrived(shard, path)
        return path

    def _fill(self, shard: int, start: int, stop: int) -> None:
        assert self._root is not None
        assert self._path is not None
        raw = self._root.get_range(self.source.shard(shard).name, start, stop)
        with self._path.open("r+b") as file:
            os.pwrite(file.fileno(), raw, start)

    def _fetch(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        assert self._root is not None
        if start == 0 and stop is None:
            return self._root.get(name)
        return self._root.get_range(name, start, self._root.size(name) if stop is None else stop)


@final
class Samples:
    """All samples of a source, numbered through, for `write_shards`. Without `keep_keys` they are named by number."""

    def __init__(self, source: Source, *, keep_keys: bool) -> None:
        self._walk, self._keep_keys = Walk(source), keep_keys

    def __len__(self) -> int:
        return len(self._walk)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        sample: Mapping[str, Any] = self._walk[number]
        if isinstance(sample, Sample) and self._keep_keys:
            return {"__key__": sample.key, **stored(sample)}
        return sample

    def close(self) -> None:
        """Remove what was fetched."""
        self._walk.close()

    def per_shard(self, limit: int) -> int | None:
        """How many samples fill so many bytes, by the sizes of a remote source's files: to try some costs downloads."""
        source = self._walk.source
        if "://" not in source.root:
            return None
        files = {shard.name: shard.size_bytes for shard in map(source.shard, range(len(source.counts)))}
        total = sum(files.values())
        return max(1, int(limit * len(self) / total)) if min(files.values()) > 0 else None

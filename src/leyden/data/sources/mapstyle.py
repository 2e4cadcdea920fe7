"""How is any data set with len() and [] used? As one shard that has no file: workers ask it for its items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from leyden.core.errors import ConfigurationError
from leyden.data.sources.base import Ints, Reader, Shard, Source


class Sized(Protocol):
    """What torch calls a map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@final
class MapStyle(Source):
    """Items of a map-style data set, as it returns them. It is sent to each worker once, by cloudpickle."""

    def __init__(self, dataset: Sized) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise ConfigurationError(
                asked=f"samples of a {type(dataset).__name__}",
                found="it has no len() or no []",
                do="Give a map-style data set, or store an iterable's samples with write_shards first.",
            )
        self.dataset = dataset

    @property
    def counts(self) -> Ints:
        """One shard with all of them."""
        return np.array([len(self.dataset)], np.int64)

    def shard(self, number: int) -> Shard:
        """There is no file."""
        raise AssertionError("a source without a root has no files")

    def open(self, shard: int, path: Path | None) -> Reader:
        """Reads nothing itself."""
        return ItemReader(self.dataset)

    def fingerprint(self) -> str:
        """By type and length: what the items are cannot be known cheaply."""
        return f"{type(self.dataset).__qualname__}:{len(self.dataset)}"


@final
class ItemReader(Reader):
    """Asks the data set."""

    def __init__(self, dataset: Sized) -> None:
        self._dataset = dataset

    def read(self, sample: int, record: Sequence[int] | None) -> Any:
        """What the data set returns; whatever it raises is raised."""
        return self._dataset[sample]

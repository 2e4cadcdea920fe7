"""Do mixed, bucketed and packed data arrive as planned, and after a resume on another number of ranks bit for bit?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from leyden.data import Loader, Shards, write_shards
from leyden.data.plan import Bucketed, Mix, Packed, Shuffled
from leyden.data.plan.base import Order

LENGTHS = np.random.default_rng(1).integers(1, 60, 400)
DOCUMENTS = [np.arange(length, dtype=np.int64) + 1000 * (number + 1) for number, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_shards([{"tokens": tokens} for tokens in DOCUMENTS], folder, samples_per_shard=40, workers=0, progress=False)
    return folder


def orders(folder: Path) -> dict[str, Order]:
    data = Shards(str(folder))
    shuffled = Shuffled(data, seed=3, window_shards=4)
    return {
        "split": Packed(shuffled, length=64, pad=-1),
        "fit": Packed(shuffled, length=64, method="fit", pad=-1),
        "packed mixture": Packed(Mix({"a": data, "b": data}, weights={"a": 1, "b": 2}, epoch_size=300), length=64),
        "mixed packs": Mix({"a": Packed(shuffled, length=64)}, weights={"a": 1}, epoch_size=100),
        "buckets": Bucketed(shuffled, "tokens", window=100, group=20),
    }


def draw(sample: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """What came, as one row of 64, and a random number of the sample."""
    tokens = sample["tokens"]
    row = np.full(64, -1, dtype=np.int64)
    row[: len(tokens)] = tokens
    return {"row": row, "draw": rng.random()}


def rows(batches: Iterator[Any]) -> list[tuple[Any, ...]]:
    return [
        (*row.tolist(), draw)
        for batch in batches
        for row, draw in zip(batch["row"], batch["draw"].tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", ["split", "fit", "packed mixture", "mixed packs", "buckets"])
def test_resumed_on_other_ranks(shards: Path, name: str) -> None:
    """An epoch by two workers; the same, broken off after 3 batches and finished by 3 ranks with other batches."""

    def loader(batch_size: int) -> Loader:
        return Loader(orders(shards)[name], batch_size=batch_size, transform=draw, seed=5, kind="none")

    kind: Literal["process", "thread"] = "process" if name == "fit" else "thread"  # a process takes a second to start
    with Loader(orders(shards)[name], batch_size=8, transform=draw, seed=5, workers=2, kind=kind) as whole:
        expected = rows(iter(whole))
    with loader(8) as first:
        seen = rows(islice(iter(first), 3))
        state = first.state_dict()
    ranks = []
    for rank in range(3):
        with loader(5) as rest:
            rest.shard(rank=rank, size=3)
            rest.load_state_dict(state)
            ranks.append([rows(iter([batch])) for batch in rest])
    for together in zip(*ranks, strict=True):
        seen += [row for part in together for row in part]
    assert seen == expected
    assert len(seen) == orders(shards)[name].length(0)


@pytest.mark.parametrize("name", ["split", "fit"])
def test_every_token_arrives(shards: Path, name: str) -> None:
    with Loader(orders(shards)[name], batch_size=8, kind="none") as loader:
        for _ in range(2):  # epochs
            batches = [{field: tensor.numpy().copy() for field, tensor in batch.items()} for batch in loader]
            tokens, segments, positions = (
                np.concatenate([batch[field] for batch in batches]) for field in ("tokens", "segments", "positions")
            )
            assert sorted(tokens[segments > 0].tolist()) == sorted(np.concatenate(DOCUMENTS).tolist())
            assert (tokens[segments == 0] == -1).all()
            same = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
            assert (np.diff(tokens)[same] == 1).all(), "a segment is a run of one document"
            assert (np.diff(positions)[same] == 1).all()


def test_a_stream_without_an_end_goes_on(shards: Path) -> None:
    """A loop broken off and begun again reads on; so does a new loader from the state."""
    data = Shards(str(shards))

    def make() -> Loader:
        mix = Mix({"a": data, "b": data}, weights={"a": 1, "b": 3}, seed=1)
        return Loader(mix, batch_size=4, transform=draw, kind="none")

    with make() as loader, make() as other:
        expected = rows(islice(iter(make()), 300))
        seen = rows(islice(iter(loader), 100))
        loader.set_epoch(1)
        seen += rows(islice(iter(loader), 100))
        other.load_state_dict(loader.state_dict())
        assert seen + rows(islice(iter(other), 100)) == expected
        assert loader.batches_left is None

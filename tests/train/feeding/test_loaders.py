"""Does every rank get its share, and only that?"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, WeightedRandomSampler

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.feeding.feed import TrainFeed
from leyden.train.feeding.loaders import RankSampler, as_list, count_batches, shard, to_device
from tests.train.models import loader, regression, seeded


def indices(loader: Any) -> list[int]:
    return [int(index) for batch in loader for index in batch]


def numbers(count: int, **settings: Any) -> Any:
    return DataLoader(list(range(count)), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("count", [12, 13, 15])
@pytest.mark.parametrize("shuffle", [False, True])
def test_shares_are_disjoint(size: int, count: int, shuffle: bool) -> None:
    def shares(training: bool) -> list[list[int]]:
        return [
            indices(shard(numbers(count, batch_size=2, shuffle=shuffle), rank=r, size=size, training=training, seed=1))
            for r in range(size)
        ]

    even, exact = shares(True), shares(False)
    assert {len(share) for share in even} == {count // size}
    assert len({index for share in even for index in share}) == count // size * size
    assert sorted(index for share in exact for index in share) == list(range(count))


def test_order_changes_with_the_epoch_and_comes_again() -> None:
    twin = shard(numbers(20, batch_size=2, shuffle=True), rank=0, size=2, training=True, seed=1)
    first = indices(twin)
    twin.sampler.epoch = 1
    second = indices(twin)
    twin.sampler.epoch = 0
    assert first != second
    assert indices(twin) == first


def test_a_resumed_epoch_has_the_order_it_began_with() -> None:
    """Also where nobody seeded: the new process would shuffle with another seed."""

    def feed(seed: int) -> TrainFeed:
        twin = shard(numbers(20, batch_size=2, shuffle=True), rank=0, size=2, training=True, seed=seed)
        return TrainFeed(twin, limit=None, move=None)

    first = feed(1)
    whole = [batch.tolist() for _, batch in first.epoch(3, None, 0)]
    resumed = feed(2)
    assert [batch.tolist() for _, batch in resumed.epoch(3, first.state_dict(), 2)] == whole[2:]


def test_sharding_draws_no_global_random_number() -> None:
    twin = shard(numbers(20, batch_size=2, shuffle=True), rank=0, size=2, training=True, seed=1)
    before = torch.get_rng_state()
    list(twin.sampler)
    assert torch.equal(before, torch.get_rng_state())


def test_other_samplers_and_settings_are_kept() -> None:
    sampler = WeightedRandomSampler([0.0] * 5 + [1.0] * 5, 40)
    given = numbers(10, batch_size=3, sampler=sampler, drop_last=True)
    twin = shard(given, rank=1, size=2, training=True, seed=1)
    seen = indices(twin)
    assert min(seen) >= 5
    assert len(seen) == 18  # 20 of 40 samples, in 6 full batches of 3
    assert isinstance(twin.sampler, RankSampler)
    assert given.sampler is sampler


def test_alone_the_loader_stays_as_it_is() -> None:
    given = loader()
    assert shard(given, rank=0, size=1, training=True, seed=0) is given


class Pairs:
    """A batch sampler of the user's own, which shuffles with Python's random numbers."""

    def __iter__(self) -> Any:
        order = list(range(14))
        random.shuffle(order)
        return iter([order[first : first + 2] for first in range(0, 14, 2)])

    def __len__(self) -> int:
        return 7


def test_a_batch_sampler_of_the_users_own_is_split_by_batches() -> None:
    def shares(training: bool, epoch: int = 0) -> list[Any]:
        twins = [shard(numbers(14, batch_sampler=Pairs()), rank=r, size=2, training=training, seed=3) for r in (0, 1)]
        for twin in twins:
            twin.batch_sampler.epoch = epoch
        return twins

    before = random.getstate()
    even, exact = [indices(one) for one in shares(True)], [indices(one) for one in shares(False)]
    assert [len(one) for one in shares(True)] == [3, 3]
    assert len({*even[0], *even[1]}) == 12
    assert sorted(exact[0] + exact[1]) == list(range(14))
    assert even[0] != indices(shares(True, epoch=1)[0])
    assert random.getstate() == before


def test_a_list_of_batches_is_a_loader() -> None:
    batches = list(loader(20, 4))
    assert as_list(batches)[0] is batches
    assert len(as_list([loader(), loader()])) == 2
    assert [len(shard(batches, rank=r, size=2, training=True, seed=0)) for r in (0, 1)] == [2, 2]
    assert [len(shard(batches, rank=r, size=2, training=False, seed=0)) for r in (0, 1)] == [3, 2]
    line = seeded()
    trainer = leyden.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    trainer.fit(line, batches, batches)
    assert trainer.global_step == 10
    with pytest.raises(ConfigurationError, match="2 loaders"):
        trainer.fit(line, [loader(), loader()])


def test_what_shards_itself_is_left_alone_and_told_the_epoch() -> None:
    sampler: Any = DistributedSampler(range(10), num_replicas=2, rank=1)  # type: ignore[arg-type]
    own = numbers(10, sampler=sampler)
    assert shard(own, rank=1, size=2, training=True, seed=0) is own
    list(TrainFeed(own, limit=None, move=None).epoch(5, None, 0))
    assert sampler.epoch == 5
    with pytest.warns(UserWarning, match="every rank gets all"):
        shard(iter([1, 2, 3]), rank=0, size=2, training=True, seed=0)


def test_an_empty_loader_says_why() -> None:
    def found(loader: Any, size: int = 1) -> str:
        with pytest.raises(ConfigurationError) as caught:
            TrainFeed(shard(loader, rank=0, size=size, training=True, seed=0), limit=None, move=None)
        return caught.value.found

    assert "batch_size=8 is larger than the data, 5 samples, and drop_last=True" in found(
        numbers(5, batch_size=8, drop_last=True)
    )
    assert "9 samples (4 for each of 2 ranks)" in found(numbers(9, batch_size=8, drop_last=True), size=2)
    assert "3 samples, fewer than the 4 ranks" in found(numbers(3), size=4)
    assert found(numbers(0)) == "the training loader has no batch: its data set has 0 samples"
    assert found([]) == "the training loader has no batch"


def test_limits() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(regression(8))

    stream: Any = DataLoader(Stream())
    assert count_batches(loader(), None, "train") == 8
    assert count_batches(loader(), 1.0, "train") == 8
    assert count_batches(loader(), 0.25, "train") == 2
    assert count_batches(loader(), 3, "train") == 3
    assert count_batches(loader(), 99, "train") == 8
    assert count_batches(stream, None, "train") is None
    assert count_batches(stream, 5, "train") == 5
    with pytest.raises(ConfigurationError, match=r"limit_train_batches=0\.5"):
        count_batches(stream, 0.5, "train")


def test_containers_are_kept_on_the_way_to_the_device() -> None:
    class Pair(NamedTuple):
        x: torch.Tensor
        name: str

    batch = {"pair": Pair(torch.zeros(2), "a"), "list": [torch.ones(1), 3], "text": "b"}
    moved = to_device(batch, torch.device("cpu"))
    assert isinstance(moved["pair"], Pair)
    assert moved["list"][1] == 3
    assert moved["text"] == "b"

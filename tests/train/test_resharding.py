"""Does another number of ranks, or another strategy, go on where a checkpoint stood?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from leyden.core.errors import CheckpointError
from leyden.train.checkpoints import checkpoint
from leyden.train.feeding import dealing
from leyden.train.feeding.feed import TrainFeed
from leyden.train.feeding.loaders import shard
from tests import hatchery
from tests.train.reshard_script import SAMPLES

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("reshard_script.py")


def run(folder: Path, devices: int, *args: str, code: int = 0) -> list[dict[str, Any]]:
    """What every rank told, where training came to its end."""
    environ = {**os.environ, "RESULTS": str(folder), "DEVICES": str(devices), "PYTHONPATH": str(ROOT)}
    found, output = hatchery.run([str(SCRIPT), *args], cwd=folder, environ=environ)
    assert (found != 0) == (code != 0), output
    if code:
        return []
    name = args[2]
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(devices)]


def same(one: Path, other: Path) -> bool:
    """Weights and optimizer of two checkpoints, bit for bit."""
    left, right = checkpoint.read(one), checkpoint.read(other)
    pairs = [(left.weights, right.weights), (left.optimizer, right.optimizer)]
    assert len(left.optimizer) == 3 * len(left.weights)  # exp_avg, exp_avg_sq, step
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder where two ranks, each with its part of the model, have left the checkpoint end-a after two steps."""
    folder = tmp_path_factory.mktemp("resharding")
    return folder, run(folder, 2, "parts", "2", "a")


@pytest.mark.slow
def test_two_then_one_then_four_then_two(broken_off: tuple[Path, list[dict[str, Any]]]) -> None:
    """Parts of two ranks, one rank alone, four ranks with FSDP, two with DDP, all within one epoch of 48 samples."""
    folder, a = broken_off
    b = run(folder, 1, "ddp", "5", "b", str(folder / "end-a"))
    c = run(folder, 4, "fsdp", "6", "c", str(folder / "end-b"))
    d = run(folder, 2, "ddp", "-1", "d", str(folder / "end-c"))
    for before, after in ("ab", "bc", "cd"):
        assert same(folder / f"end-{before}", folder / f"begin-{after}")
    assert [one[0]["at"] for one in (a, b, c, d)] == [[0, 0, 0], [0, 4, 2], [0, 1, 5], [0, 5, 6]]
    seen = [tuple(one) for told in (a, b, c, d) for rank in told for one in rank["seen"]]
    assert [sum(len(rank["seen"]) for rank in told) for told in (a, b, c)] == [16, 12, 16]
    assert sorted(seen) == [(epoch, number) for epoch in (0, 1) for number in range(SAMPLES)]
    assert d[0]["metrics"]["number_epoch"] == pytest.approx((SAMPLES - 1) / 2)
    assert len({told["first"] for told in c}) == 4  # each rank draws its own random numbers


@pytest.mark.slow
def test_parts_resume_bit_for_bit_and_a_torn_one_is_stepped_over(
    broken_off: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, _ = broken_off
    run(folder, 2, "parts", "7", "whole")
    run(folder, 2, "parts", "7", "rest", str(folder / "end-a"))
    newest = folder / "end-rest"
    assert same(folder / "end-whole", newest)
    assert not same(folder / "end-a", newest)
    parts = [f"{kind}-{rank}-of-2.safetensors" for kind in ("model", "optimizer") for rank in (1, 2)]
    assert sorted(one.name for one in newest.iterdir()) == sorted(["manifest.json", "training.pt", *parts])
    sizes = [(newest / name).stat().st_size for name in parts[2:]]
    assert max(sizes) < 1.5 * min(sizes)
    assert checkpoint.newest_whole(folder) == newest
    (newest / parts[1]).unlink()
    with pytest.raises(CheckpointError, match=r"model-2-of-2\.safetensors is missing"):
        checkpoint.read(newest)
    with pytest.warns(UserWarning, match="stepped over"):
        assert checkpoint.newest_whole(folder) != newest


@pytest.mark.slow
def test_an_error_on_one_of_two_ranks_leaves_a_checkpoint_of_rank_0(tmp_path: Path) -> None:
    run(tmp_path, 2, "ddp", "-1", "crash", code=1)
    saved = checkpoint.read(tmp_path / "on_exception")
    assert (saved.step, len(saved.training["ranks"]), saved.training["shares"]) == (2, 1, 2)
    told = run(tmp_path, 1, "ddp", "10", "after", str(tmp_path / "on_exception"))
    assert same(tmp_path / "on_exception", tmp_path / "begin-after")
    assert told[0]["at"] == [0, 4, 2]
    numbers = [number for rank in told for _, number in rank["seen"]]
    assert len(numbers) == len(set(numbers)) == SAMPLES - 16


def numbers(count: int = 24, **settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(count)), **{"batch_size": 2, "shuffle": True} | settings)


def drawn(loader: Any, rank: int, size: int, seed: int, deal: dealing.Deal | None, most: int = 99) -> list[int]:
    """What one rank trains on, and the state it leaves in `feeds`."""
    torch.manual_seed(seed)
    feed = TrainFeed(shard(loader, rank=rank, size=size, training=True, seed=5), limit=None, move=None)
    resume = {"deal": vars(deal)} if deal else None
    found: list[int] = []
    for index, (batch,) in feed.epoch(1, resume, deal.at if deal else 0):
        found += batch.tolist()
        if index + 1 >= most:
            break
    drawn.state = feed.state_dict()  # type: ignore[attr-defined]
    feed.close()
    return found


@pytest.mark.parametrize(
    "make",
    [
        numbers,
        lambda: numbers(generator=torch.Generator().manual_seed(8)),
        lambda: numbers(num_workers=1),
        lambda: numbers(shuffle=False),
        lambda: DataLoader(
            TensorDataset(torch.arange(24)),
            batch_sampler=Own(RandomSampler(range(24)), batch_size=2, drop_last=False),
        ),
    ],
    ids=["shuffled", "generator", "workers", "in order", "own batches"],
)
def test_one_rank_then_three_then_one(make: Any) -> None:
    """An order that one rank drew from its random numbers goes on over three, and back."""
    first = drawn(make(), 0, 1, 77, None, most=3)
    deal = dealing.deal_again(drawn.state, 3, 1)  # type: ignore[attr-defined]
    second = [one for rank in range(3) for one in drawn(make(), rank, 3, 1, deal, most=2)]
    deal = dealing.deal_again(drawn.state, 2, 3)  # type: ignore[attr-defined]
    third = drawn(make(), 0, 1, 2, deal)
    assert [len(first), len(second), len(third)] == [6, 12, 6]
    assert sorted(first + second + third) == list(range(24))


class Own(BatchSampler):
    """A batch sampler of the user's own."""


class Endless(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(8))


@pytest.mark.parametrize("loader", [[torch.zeros(1)], DataLoader(Endless())])
def test_an_order_nobody_knows_cannot_be_dealt_again(loader: Any) -> None:
    with pytest.raises(
        CheckpointError, match="Use devices=2, a checkpoint from the end of an epoch, or only the weights"
    ):
        dealing.check(loader, {"start": {}}, Path("x"), 2, 1)

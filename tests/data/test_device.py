"""Does a batch arrive before the step, and as the one it is?"""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from leyden.data import Loader
from leyden.data.device import CudaLane, Lane, Prefetcher, lane_for, normalize

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]


class Pair(NamedTuple):
    image: Tensor
    name: str


class Source:
    """Counts what was asked of it; keeps its place as a loader does."""

    def __init__(self, length: int, broken: int | None = None) -> None:
        self.length, self.broken, self.place = length, broken, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self.place < self.length:
            if self.place == self.broken:
                raise RuntimeError("no such sample")
            self.place += 1
            yield {"x": torch.full((3,), self.place - 1), "name": str(self.place - 1)}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_order_and_lookahead(depth: int) -> None:
    source = Source(7)
    seen = []
    for batch in Prefetcher(source, "cpu", depth=depth):
        seen.append(int(batch["x"][0]))
        assert source.place == min(7, len(seen) + depth)
    assert seen == [*range(7)]


def test_what_is_fetched_ahead_does_not_count() -> None:
    source = Source(9)
    prefetcher = Prefetcher(source, "cpu", depth=2)
    assert prefetcher.state_dict() == {"place": 0}
    batches = iter(prefetcher)
    assert [int(next(batches)["x"][0]) for _ in range(4)] == [0, 1, 2, 3]
    assert source.place == 6
    state = prefetcher.state_dict()
    again = Prefetcher(Source(9), "cpu", depth=2)
    again.load_state_dict(state)
    assert [int(batch["x"][0]) for batch in again] == [4, 5, 6, 7, 8]
    assert len(again) == 9


def test_early_break_lets_go_of_what_was_ahead() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[Tensor]:
        for i in range(5):
            tensor = torch.full((2,), i)
            alive.append(weakref.ref(tensor))
            yield tensor
            del tensor

    for batch in Prefetcher(batches(), "cpu", depth=2):
        assert int(batch[0]) == 0
        break
    del batch
    gc.collect()
    assert len(alive) == 3
    assert [ref() for ref in alive] == [None] * 3


def test_an_error_comes_after_the_batches_before_it() -> None:
    seen: list[str] = []
    with pytest.raises(RuntimeError, match="no such sample"):
        seen.extend(batch["name"] for batch in Prefetcher(Source(9, broken=3), "cpu", depth=2))
    assert seen == ["0", "1", "2"]


def test_an_error_on_the_device_belongs_to_its_batch() -> None:
    def check(batch: dict[str, Any]) -> dict[str, Any]:
        if batch["name"] == "1":
            raise ValueError("cannot flip batch 1")
        return batch | {"x": batch["x"] * 10}

    batches = iter(Prefetcher(Source(4), "cpu", on_device=check, depth=2))
    assert next(batches)["x"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="cannot flip batch 1"):
        next(batches)


def test_on_a_cpu_a_batch_is_handed_through() -> None:
    lane = lane_for("cpu")
    assert type(lane) is Lane
    batch = {"pair": Pair(torch.arange(3), "a"), "list": [torch.ones(1), 2], "tuple": (None, "b")}
    lane.pin(mmap.mmap(-1, 4096))
    taken = lane.take(lane.put(batch))
    assert taken["pair"].image is batch["pair"].image  # type: ignore[attr-defined]
    assert isinstance(taken["pair"], Pair)
    assert (taken["list"][1], taken["tuple"]) == (2, (None, "b"))
    lane.close()


def test_normalize() -> None:
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    out = normalize(images, mean, std)
    want = (images.permute(0, 3, 1, 2).double() / 255 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(
        std
    ).double()[:, None, None]
    torch.testing.assert_close(out.double(), want, rtol=0, atol=1e-6)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert normalize(images, mean, std, torch.bfloat16).dtype == torch.bfloat16


class Items:
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": np.full((64, 64), index, np.int64), "name": str(index)}


def _double(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"x": batch["x"] * 2}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
def test_the_loader_delivers_on_the_device(device: str) -> None:
    with Loader(Items(), batch_size=8, kind="thread", workers=2, device=device, on_device=_double) as loader:
        for epoch in range(2):
            batches = [*loader]  # held, so that slots cannot be used again
            assert {batch["x"].device.type for batch in batches} == {device}
            assert torch.cat([batch["x"][:, 5, 7] for batch in batches]).tolist() == [2 * i for i in range(50)], epoch
            assert [name for batch in batches for name in batch["name"]] == [str(i) for i in range(50)]


def _pages(size: int) -> tuple[mmap.mmap, Tensor]:
    pages = mmap.mmap(-1, size)
    return pages, torch.frombuffer(pages, dtype=torch.uint8)


class TestCuda:
    pytestmark = gpu

    def test_pages_are_pinned_and_given_back(self) -> None:
        lane = lane_for("cuda")
        pages, memory = _pages(1 << 20)
        assert not memory.is_pinned()
        lane.pin(pages)
        lane.pin(pages)
        assert memory.is_pinned()
        address = memory.data_ptr()
        del pages, memory
        gc.collect()
        again, memory = _pages(1 << 20)
        lane.pin(again)  # would fail, with a warning, where the same address is still registered
        assert memory.is_pinned(), hex(address)

    def test_a_slow_consumer_gets_the_right_values(self) -> None:
        """Slots are written again as soon as the lane lets go of them; the step is still at earlier batches."""
        lane = lane_for("cuda")
        assert isinstance(lane, CudaLane)
        pages, memory = _pages(4 << 22)
        lane.pin(pages)
        slots = [memory[i << 22 : (i + 1) << 22] for i in range(4)]
        sums: list[Tensor] = []
        weight = torch.randn(2048, 2048, device="cuda")
        put = None
        for i in range(24):
            slot = slots[i % 4]
            while any(held is slot for _, held in lane._reading):
                lane._let_go()
            slot.fill_(i)
            following = lane.put(slot)
            if put is not None:
                batch = lane.take(put)
                for _ in range(20):
                    weight = torch.tanh(weight @ weight)  # the device is behind the host
                sums.append(batch.sum(dtype=torch.int64))
                del batch
            put = following
        assert [int(one) for one in sums] == [i << 22 for i in range(23)]
        lane.close()
        assert not lane._reading

    def test_copies_overlap_with_the_step(self) -> None:
        lane = lane_for("cuda")
        pages, memory = _pages(1 << 28)
        lane.pin(pages)
        weight = torch.randn(4096, 4096, device="cuda")

        def step() -> None:
            for _ in range(60):
                torch.mm(weight, weight)

        def elapsed(copies: int, steps: int) -> float:
            torch.cuda.synchronize()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            puts = [lane.put(memory) for _ in range(copies)]
            for _ in range(steps):
                step()
            for put in puts:
                lane.take(put)
            end.record()
            torch.cuda.synchronize()
            return float(begin.elapsed_time(end))

        elapsed(1, 1)
        alone = elapsed(1, 0), elapsed(0, 1)
        both = min(elapsed(1, 1) for _ in range(3))
        assert both < 0.75 * sum(alone) or both < 1.1 * max(alone), (alone, both)

    def test_nothing_leaks(self) -> None:
        prefetcher = Prefetcher((torch.ones(1 << 20) for _ in range(50)), "cuda", on_device=lambda x: x * 2, depth=2)
        before = torch.cuda.memory_allocated()
        total = sum(float(batch.mean()) for batch in prefetcher)
        assert total == 100
        gc.collect()
        torch.cuda.synchronize()
        assert torch.cuda.memory_allocated() - before <= 4 << 20  # the last batch may still be held by the sum's frame

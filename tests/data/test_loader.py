"""Does a Loader give the same batches whoever makes them, and go on exactly where another stopped?"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from statistics import LinearRegression
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from leyden.data import Loader, Shards, write_shards
from leyden.data.errors import DataError
from leyden.data.plan import Sequential
from leyden.data.sources import MapStyle

cloudpickle.register_pickle_by_value(sys.modules[__name__])
Line: Any = LinearRegression  # a named tuple of the standard library
KINDS = [("none", 0), ("thread", 2), ("process", 1), ("process", 3)]


class Items:
    """Item i is i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def augment(item: int, rng: np.random.Generator) -> dict[str, Any]:
    return {"item": item, "noise": rng.random(5, dtype=np.float32), "name": f"n{item}", "pair": (item / 2, None)}


def items(batches: Any) -> list[int]:
    return [item for batch in batches for item in batch["item"].tolist()]


def noise(batches: Any) -> dict[int, list[float]]:
    return {item: row for b in batches for item, row in zip(b["item"].tolist(), b["noise"].tolist(), strict=True)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(
        ({"item": i, "x": np.full((4, 3), i, np.int16)} for i in range(100)), str(folder), samples_per_shard=30
    )
    return Shards(str(folder))


def from_shard(sample: Any, rng: np.random.Generator) -> dict[str, Any]:
    return {"item": sample["item"], "x": sample["x"], "noise": rng.random(5, dtype=np.float32)}


def test_batches_are_the_same_whoever_makes_them(shards: Shards) -> None:
    seen = []
    for kind, workers in KINDS:
        with Loader(shards, batch_size=8, transform=from_shard, shuffle=True, kind=kind, workers=workers) as loader:  # type: ignore[arg-type]
            seen.append([list(loader) for _ in range(2)])
    assert len(seen[0][0]) == 13
    assert sorted(items(seen[0][0])) == [*range(100)]
    assert items(seen[0][0]) != items(seen[0][1])
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert all(torch.equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x)
    assert torch.equal(seen[0][0][0]["x"][:, 0, 0].long(), seen[0][0][0]["item"])


def test_global_generators_are_keyed_too_and_the_trainings_own_stay() -> None:
    def draw(item: int) -> tuple[Any, ...]:
        half = torch.full((2,), item, dtype=torch.bfloat16)
        return item, random.random(), np.random.random(), torch.rand(2), half

    seen = []
    for workers in (0, 1):
        before = random.getstate(), torch.get_rng_state()
        with Loader(Items(20), batch_size=8, transform=draw, workers=workers, kind="process") as loader:
            seen.append([*loader])
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])
    for a, b in zip(*seen, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert seen[1][0][4].tolist() == [[i, i] for i in range(8)]


@pytest.mark.parametrize(("size", "batch_size", "workers"), [(1, 7, 1), (2, 4, 0), (3, 5, 2)])
def test_any_number_of_ranks_and_workers_goes_on_where_another_stopped(
    size: int, batch_size: int, workers: int
) -> None:
    with Loader(Items(203), batch_size=8, transform=augment, shuffle=True, workers=2, kind="process") as first:
        all_of_it = noise(first)
        loop = iter(first)
        before = [next(loop) for _ in range(5)]
        state = first.state_dict()
    assert state["epoch"] == 1
    assert state["position"] == 40
    assert {type(value) for value in state.values()} == {int}
    after, steps = [], set()
    for rank in range(size):
        with Loader(Items(203), batch_size=batch_size, transform=augment, shuffle=True, workers=workers) as loader:
            loader.shard(rank=rank, size=size)
            loader.load_state_dict(state)
            left = loader.batches_left
            mine = [*loader]
            assert left == len(mine)
            assert loader.state_dict()["epoch"] == 2
            steps.add(len(mine))
            after += mine
    assert len(steps) == 1
    assert sorted(items(before) + items(after)) == [*range(203)]
    with Loader(Items(203), batch_size=8, transform=augment, shuffle=True, workers=0) as again:
        again.set_epoch(1)
        assert noise(before) | noise(after) == noise(again)
        again.set_epoch(0)
        assert noise(again) == all_of_it


def test_transforms_that_take_a_generator() -> None:
    def named(item: int, scale: float = 2.0, *, rng: Any = None) -> Any:
        return item * scale, rng.random()

    def second(item: int, generator: Any, /) -> Any:
        return item * 2.0, generator.random()

    def alone(item: int, scale: float = 2.0) -> Any:
        return item * scale, np.random.random()

    seen = []
    for transform in (named, second, alone):
        with Loader(Items(4), batch_size=4, transform=transform, workers=0, seed=3) as loader:
            (batch,) = loader
        assert batch[0].tolist() == [0, 2, 4, 6]
        seen.append(batch[1].tolist())
    assert seen[0] == seen[1]
    with pytest.raises(DataError, match="Leave shuffle and window out"):
        Loader(Sequential(MapStyle(Items(4))), batch_size=4, shuffle=True)


def test_a_state_of_other_data_is_refused() -> None:
    with pytest.raises(DataError, match="another order"):
        Loader(Items(3), batch_size=1).load_state_dict(Loader(Items(4), batch_size=1).state_dict())


def test_a_loop_broken_off_is_followed_by_the_next_epoch() -> None:
    with Loader(Items(20), batch_size=4, transform=augment, shuffle=True, workers=0) as loader:
        whole = [items(loader) for _ in range(3)]
        loader.set_epoch(0)
        for _ in loader:
            break
        assert loader.state_dict()["position"] == 4
        assert items(loader) == whole[1]
        loader.set_epoch(2)  # stands there anyway
        assert items(loader) == whole[2]
        assert len(loader) == loader.batches_left == 5


def test_two_loops_at_once_are_refused() -> None:
    with Loader(Items(20), batch_size=4, workers=0) as loader:
        first, _ = iter(loader), next(iter(loader))
        with pytest.raises(DataError, match="another loop"):
            next(first)


def test_batches_that_are_kept_never_change() -> None:
    def large(item: int) -> Any:
        return np.full(50_000, item, np.int32)

    for kind, workers in KINDS:
        with Loader(Items(200), batch_size=4, transform=large, kind=kind, workers=workers) as loader:  # type: ignore[arg-type]
            kept = [*loader]
            views = [batch[0] for batch in loader]
        assert [row for batch in kept for row in batch[:, -1].tolist()] == [*range(200)]
        assert all((batch == batch[:, :1]).all() for batch in kept)
        assert [int(view[49_999]) for view in views] == [*range(0, 200, 4)]


def test_a_slot_is_free_when_the_last_tensor_over_it_is_gone() -> None:
    with Loader(Items(400), batch_size=4, transform=augment, workers=1, kind="process") as loader:
        pointers = {batch["noise"].data_ptr() for batch in loader}
    assert len(pointers) <= 6  # of 100 batches: no copies, no new memory


def test_trees_of_any_kind() -> None:
    def tree(item: int) -> Any:
        return {
            "line": Line(np.float32(item), f"é{item}"),
            "list": [item, item > 1],
            "raw": bytes([item]),
            "none": None,
            "big": 2**80,
            "half": item if item == 0 else item + 0.5,
        }

    for kind, workers in KINDS:
        with Loader(Items(3), batch_size=3, transform=tree, kind=kind, workers=workers) as loader:  # type: ignore[arg-type]
            (batch,) = loader
        assert type(batch["line"]) is Line
        assert batch["line"].slope.dtype == torch.float32
        assert batch["line"].intercept == ["é0", "é1", "é2"]
        assert batch["list"][0].tolist() == [0, 1, 2]
        assert batch["list"][1].dtype == torch.bool
        assert batch["raw"] == [b"\0", b"\1", b"\2"]
        assert batch["none"] == [None] * 3
        assert batch["big"] == [2**80] * 3
        assert batch["half"].tolist() == [0, 1.5, 2.5]


def test_collate_and_batches_that_grow() -> None:
    def grow(item: int) -> Any:
        return np.full(1 + item**2, item, np.int64)

    def collate(rows: list[Any]) -> Any:
        return {"data": np.concatenate(rows), "rows": len(rows)}

    for kind, workers in KINDS:
        with Loader(Items(200), batch_size=2, transform=grow, collate=collate, kind=kind, workers=workers) as loader:  # type: ignore[arg-type]
            batches = [*loader]
        assert all(batch["rows"] == 2 for batch in batches)
        assert [len(batch["data"]) for batch in batches] == [2 + i**2 + (i + 1) ** 2 for i in range(0, 200, 2)]
        assert all(batch["data"][-1] == 2 * i + 1 for i, batch in enumerate(batches))


def test_a_data_set_in_memory_is_there_once() -> None:
    class Array:
        def __init__(self) -> None:
            self.rows = np.arange(4_000_000).reshape(1000, 4000)

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            private = Path("/proc/self/smaps_rollup").read_text().split("Private_Dirty:")[1].split()[0]
            self.rows[index, 1] = -1  # may be written to
            return self.rows[index], int(private) * 1024

    data = Array()
    with Loader(data, batch_size=4, workers=1, kind="process") as loader:
        rows, private = next(iter(loader))
    assert rows[:, :3].tolist() == [[4000 * i, -1, 4000 * i + 2] for i in range(4)]
    assert data.rows[1, 1] == 4001
    assert private.max() < 28e6 < data.rows.nbytes


def test_numpy_batches() -> None:
    with Loader(Items(4), batch_size=4, transform=augment, workers=0, output="numpy") as loader:
        (batch,) = loader
    assert isinstance(batch["noise"], np.ndarray)


def test_transforms_on_the_way_to_a_device() -> None:
    with Loader(
        Items(50), batch_size=4, transform=augment, workers=1, on_device=lambda b: b | {"item": b["item"] + 1}
    ) as loader:
        for _ in range(2):
            assert items(loader) == [*range(1, 51)]
        loop = iter(loader)
        next(loop), next(loop)
        assert loader.state_dict()["position"] == 8  # what is on its way does not count


def test_epochs_without_a_leak() -> None:
    with Loader(Items(8), batch_size=4, transform=augment, shuffle=True, workers=2, kind="process") as loader:
        assert len(items(loader)) == 8
        gc.collect()
        fds, threads, memory = descriptors(), threading.active_count(), resident()
        for _ in range(200):
            assert sorted(items(loader)) == [*range(8)]
        assert descriptors() <= fds + 10  # each slot's mapping has one
        assert threading.active_count() == threads
        assert resident() - memory < 8e6
    assert descriptors() < fds


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_fork_is_refused() -> None:
    with Loader(Items(8), batch_size=4, workers=1, kind="process") as loader:
        next(iter(loader))
        pid = os.fork()
        if pid == 0:
            try:
                iter(loader)
            except DataError as error:
                os._exit(7 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert len([*loader]) == 2


def test_closed_it_starts_again() -> None:
    loader = Loader(Items(8), batch_size=4, workers=1, kind="process")
    assert len([*loader]) == 2
    loader.close()
    loader.close()
    assert len([*loader]) == 2
    loader.close()


def test_after_a_keyboard_interrupt_it_goes_on() -> None:
    def late(item: int) -> int:
        time.sleep(5 * (item == 4))
        return item

    with Loader(Items(12), batch_size=4, transform=late, workers=1, kind="process") as loader:
        loop = iter(loader)
        assert next(loop).tolist() == [0, 1, 2, 3]
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            next(loop)
        assert next(iter(loader)).tolist() == [0, 1, 2, 3]
        assert loader.state_dict()["epoch"] == 1


def test_a_loader_that_is_forgotten_ends_its_workers() -> None:
    loader = Loader(Items(8), batch_size=4, workers=1, kind="process")
    next(iter(loader))
    pids = [worker.pid for worker in loader._engine.crew.pool.workers]  # type: ignore[union-attr]
    del loader
    gc.collect()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_map_style_sources_and_iterators_do() -> None:
    with Loader(MapStyle(Items(5)), batch_size=2, workers=0, drop_last=True) as loader:
        assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    with pytest.raises(Exception, match=r"no len\(\)"):
        Loader(iter(range(3)), batch_size=1)

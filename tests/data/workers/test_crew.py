"""Which workers are chosen, and does a loop wait for them at an epoch's end?"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from leyden.data import Loader, Shards, write_shards
from leyden.data.workers import crew
from leyden.data.workers.crew import usable_cpus

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = str(tmp_path_factory.mktemp("shards"))
    write_shards(({"item": i} for i in range(80)), folder, samples_per_shard=20, progress=False)
    return Shards(folder)


def sleeps(sample: Any, rng: np.random.Generator) -> Any:
    time.sleep(0.005)  # as a decoder that lets go of the lock
    return sample["item"], rng.random(), os.getpid()


def counts(sample: Any, rng: np.random.Generator) -> Any:
    end = time.thread_time() + 0.003
    while time.thread_time() < end:  # holds it
        pass
    return sample["item"], rng.random(), os.getpid()


def slow(sample: Any) -> Any:
    time.sleep(0.02)
    return sample["item"], 0, os.getpid()


def test_threads_stay_where_they_are_as_good(shards: Shards) -> None:
    chosen: list[str] = []
    while not chosen or (len(chosen) < 10 and not chosen[-1].startswith("2 threads (two are ")):
        with Loader(shards, batch_size=4, transform=sleeps, workers=2, shuffle=True) as loader:
            found = [*loader]
            chosen.append(loader.describe())
            assert loader.meter.read().workers == loader.describe()
    assert chosen[-1].startswith("2 threads (two are ")
    with Loader(shards, batch_size=4, transform=sleeps, workers=0, shuffle=True) as alone:
        for a, b in zip(found, alone, strict=True):
            assert torch.equal(a[1], b[1])


def test_processes_take_over_where_threads_are_in_each_others_way(shards: Shards) -> None:
    with Loader(shards, batch_size=4, transform=counts, workers=2, shuffle=True) as loader:
        found = [*loader, *loader]
        assert any(os.getpid() not in batch[2].tolist() for _ in range(50) for batch in loader)
        assert loader.describe().startswith("2 processes (two threads were only ")
    assert sorted(i for batch in found[:20] for i in batch[0].tolist()) == [*range(80)]
    assert found[0][2][0] == os.getpid()
    with Loader(shards, batch_size=4, transform=counts, workers=0, shuffle=True) as alone:
        for a, b in zip(found, [*alone, *alone], strict=True):
            assert torch.equal(a[1], b[1])


def test_threads_that_get_into_each_others_way_later_give_way_to_processes(shards: Shards) -> None:
    def changes(sample: Any, rng: np.random.Generator) -> Any:
        return sleeps(sample, rng) if sample["item"] < 30 else [counts(sample, rng) for _ in range(3)][-1]

    with Loader(shards, batch_size=2, transform=changes, workers=2) as loader:
        found = [*loader, *loader]
        assert any(loader.describe().startswith("2 processes (two threads") for _ in range(5) for _ in loader)
    assert [i for batch in found for i in batch[0].tolist()] == 2 * [*range(80)]


def test_code_that_may_not_be_safe_in_threads_goes_to_processes(shards: Shards) -> None:
    with Loader(shards, batch_size=4, transform=slow, workers=2) as loader:
        pids = [pid for batch in loader for pid in batch[2].tolist()]
        assert loader.describe().startswith("2 processes (its code may use")
    assert pids[0] == os.getpid()  # the first batch does not wait for them
    assert len(set(pids[-16:]) - {os.getpid()}) == 2


def test_there_are_as_many_workers_as_the_steps_need(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "usable_cpus", lambda: 5)
    with Loader(shards, batch_size=4, transform=sleeps, kind="thread") as loader:
        for _ in loader:
            time.sleep(0.03)
        assert loader.describe().startswith(("2 threads", "3 threads"))  # 3 where the machine is busy
        for _ in loader:
            time.sleep(0.008)
        assert loader.describe().startswith(("3 threads", "4 threads", "5 threads"))
        for _ in loader:
            pass
        assert loader.describe().startswith("5 threads")


def test_no_wait_at_the_end_of_an_epoch() -> None:
    def late(item: int) -> int:
        time.sleep(0.02)
        return item

    waits = []
    with Loader(range(24), batch_size=4, transform=late, workers=2, kind="thread") as loader:
        for _ in range(5):
            asked = time.perf_counter()
            for step, _ in enumerate(loader):
                if step == 0:
                    waits.append(time.perf_counter() - asked)
                time.sleep(0.06)  # a batch takes 0.08
    assert sorted(waits[1:])[1] < 0.03


def test_cpus_of_affinity_cgroup_and_ranks(tmp_path: Path) -> None:
    have = len(os.sched_getaffinity(0))
    assert usable_cpus({}, tmp_path) == have
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus({}, tmp_path) == have
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert usable_cpus({}, tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus({}, tmp_path) == 1
    assert usable_cpus({"LOCAL_WORLD_SIZE": "64"}, tmp_path) == 1

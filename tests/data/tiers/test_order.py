"""Does what is needed last leave first, are quotas kept, and does what leaves RAM go to the disk?"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from leyden.data.tiers import make_tiers
from leyden.data.tiers.ahead import Ahead
from leyden.data.tiers.gate import MOST, Gate
from leyden.data.tiers.shelf import NEVER, Shelf
from leyden.data.tiers.spec import Place
from tests.data.faults.proxy import Proxy
from tests.data.tiers.numbered import Numbered, epoch


def test_distance_is_the_number_of_uses_before_the_next_one() -> None:
    ahead = Ahead(itertools.cycle([3, 1, 2, 0]), 4)
    assert [ahead.distance(shard) for shard in (3, 1, 2, 0, 9)] == [1, 2, 3, 4, NEVER]
    ahead.ask([3])
    assert [ahead.distance(shard) for shard in (3, 1, 2, 0)] == [0, 1, 2, 3]
    for _ in range(70):
        ahead.ask([1])
    assert [ahead.distance(shard) for shard in (1, 2, 0, 3)] == [0, 1, 2, 3]  # 3 is not in use any more
    assert ahead.upcoming() == [1, 2, 0, 3]  # each once


def test_an_order_that_ends_and_shards_out_of_order() -> None:
    ahead = Ahead(iter([0, 1, 2]), 3)
    ahead.ask([2, 5])
    assert [ahead.distance(shard) for shard in (0, 1, 2, 5)] == [NEVER, NEVER, 0, 0]


def put(shelf: Shelf, key: str, size_bytes: int) -> None:
    part = shelf.part(key)
    part.write_bytes(bytes(size_bytes))
    shelf.commit(key, part, {})
    part.unlink()


def test_what_is_needed_last_by_any_process_leaves_first(tmp_path: Path) -> None:
    place = Place(folder=tmp_path / "cache", ram=True, quota_bytes=1000)
    ours, other = Shelf(place), Shelf(place)
    for key in "abcd":
        put(ours, key, 250)
    needs = {"a": 5, "b": 9, "c": 2}
    assert ours.room("x", 250, 1, needs) == ["d"]  # nobody needs it
    assert ours.room("x", 500, 1, needs) == ["d", "b"]
    assert ours.room("x", 500, 9, needs) is None  # b is needed sooner
    other.beat({"d": 0, "b": 1})
    assert ours.room("x", 250, 1, needs) == ["a"]
    assert ours.room("x", 750, 1, needs) is None
    other.close()
    assert ours.room("x", 250, 1, needs) == ["d"]
    assert ours.lease("y", 250)
    assert ours.room("x", 250, 1, needs) == ["d", "b"]  # room for what comes is taken
    ours.close()


def test_what_leaves_ram_goes_to_the_disk_and_is_not_fetched_again(
    store: tuple[Proxy, Path], tmp_path: Path, ram: Path
) -> None:
    name = uuid.uuid4().hex
    source = Numbered(f"s3://bucket/{name}", shards=12)
    source.write(store[1] / name)
    tiers = make_tiers([source], cache=["ram:1MB", f"{tmp_path}:3MB"], timeout_s=5)
    tiers.follow(itertools.cycle(range(12)))
    for at in range(4):
        assert epoch(tiers, source, start=1000 * at) == 144
        assert sum(path.stat().st_size for path in ram.glob("*/whole/*")) <= 1_000_000
        assert sum(path.stat().st_size for path in tmp_path.glob("*/whole/*")) <= 3_000_000
    tiers.close()
    assert len({path.name for folder in (ram, tmp_path) for path in folder.glob("*/whole/*")}) == 12
    assert store[0].sent < 2 * 12 * 240_000


def test_the_number_of_requests_halves_once_for_a_burst_of_503s() -> None:
    async def run() -> list[float]:
        gate, seen = Gate(), []
        began_s = 1e-9
        for _ in range(5):
            gate.slow_down(began_s)
        seen.append(gate.limit)
        for _ in range(10_000):
            gate.well()
        return [*seen, gate.limit]

    assert asyncio.run(run()) == [8.0, MOST]


def test_urgent_requests_overtake(tmp_path: Path) -> None:
    async def run() -> list[str]:
        gate, order = Gate(), []
        gate.limit = 1

        async def one(name: str, urgent: bool) -> None:
            async with gate.slot(urgent):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(one("first", False), one("second", False), one("urgent", True))
        return order

    assert asyncio.run(run()) == ["first", "urgent", "second"]


FORK = """
import os, sys
from leyden.data.errors import FetchError
from leyden.data.tiers.remote import open_root
print(len(open_root(sys.argv[1]).get("shard-000.bin")), flush=True)
if os.fork() == 0:
    try:
        open_root(sys.argv[1]).get("shard-000.bin")
    except FetchError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_forked_process_is_told_instead_of_waiting_for_ever(store: tuple[Proxy, Path], tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    source = Numbered(f"s3://bucket/{name}", shards=1)
    source.write(store[1] / name)
    done = subprocess.run(
        [sys.executable, "-c", FORK, source.root], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.startswith("240000\n")
    assert "forked from one that had used an object store" in done.stdout


@pytest.mark.parametrize("cache", [["ram"], "ram:8GB"])
def test_a_cache_may_be_one_word(cache: list[str] | str, ram: Path) -> None:
    tiers = make_tiers([Numbered("memory://word")], cache=cache)
    assert next(ram.iterdir()).name.startswith("leyden-cache-")
    tiers.close()

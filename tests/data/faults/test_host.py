"""What if jobs of a host share a cache, die while they fill it, or fill the disk? One copy, none of it half."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from leyden.data.tiers import make_tiers
from leyden.data.tiers.shelf import Shelf
from leyden.data.tiers.spec import Place
from tests.conformance.until import until
from tests.data.faults.proxy import Proxy
from tests.data.faults.test_store import all_whole
from tests.data.tiers.numbered import Numbered, answers, ask, check, epoch


@pytest.fixture
def source(store: tuple[Proxy, Path]) -> Numbered:
    """Six shards in the bucket."""
    name = uuid.uuid4().hex
    source = Numbered(f"s3://bucket/{name}")
    source.write(store[1] / name)
    return source


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of 1 MB: the shards are 240 kB each, six of them."""
    folder = Path(f"/tmp/leyden-full-{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def job(source: Numbered, cache: Path | str, *how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.data.faults.filler", source.root, str(cache), *how]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3], env=os.environ
    )


def said(process: subprocess.Popen[str], within_s: float = 30) -> str:
    out, _ = process.communicate(timeout=within_s)
    return out.split("\n", 1)[1].strip()


def test_two_jobs_share_one_copy(store: tuple[Proxy, Path], source: Numbered, tmp_path: Path) -> None:
    jobs = [job(source, tmp_path, "open") for _ in range(2)]
    until(lambda: len([*tmp_path.glob("leyden-cache-*/whole/*")]) == 6)
    assert [said(each) for each in jobs] == ["ok 72\nopen", "ok 72\nopen"]
    assert all_whole(tmp_path, source)
    before = store[0].sent
    assert said(job(source, tmp_path)) == "ok 72"
    assert store[0].sent == before  # all from the cache


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_jobs_killed_while_they_fill_the_cache(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path, share: float
) -> None:
    store[0].bytes_per_s = 400_000
    jobs = [job(source, tmp_path) for _ in range(2)]
    until(lambda: store[0].sent > share * 6 * 240_000)
    jobs[0].kill()
    jobs[0].communicate()
    until(lambda: store[0].sent > (share + 0.1) * 6 * 240_000)
    jobs[1].kill()
    jobs[1].communicate()
    cache = tmp_path / f"leyden-cache-{os.getuid()}"
    good = {source.bytes_of(shard) for shard in range(6)}
    assert all(path.read_bytes() in good for path in (cache / "whole").iterdir())
    assert [*(cache / "leases").iterdir(), *(cache / "parts").iterdir()]  # they were at work
    store[0].bytes_per_s = None
    began_s = time.monotonic()
    assert said(job(source, tmp_path)) == "ok 72"
    assert time.monotonic() - began_s < 8  # nobody waits for the dead
    assert all_whole(tmp_path, source)
    assert [*(cache / "pins").iterdir()] == []


def test_the_other_job_is_killed_while_this_one_waits_for_its_shard(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    source.locates = False  # only the whole file will do
    store[0].bytes_per_s = 50_000
    other = job(source, tmp_path)
    cache = tmp_path / f"leyden-cache-{os.getuid()}"
    until(lambda: [*cache.glob("leases/*")])
    key = source.shard(0).sha256
    until((cache / f"leases/{key}").exists)
    tiers = make_tiers([source], cache=[str(tmp_path)], timeout_s=10)
    ask(tiers, 1, {0: [0]})
    until(lambda: f"process {other.pid} of this host fetches it" in tiers.why())
    other.kill()
    other.communicate()
    store[0].bytes_per_s = None
    assert check(source, {0: [0]}, answers(tiers, 1)[1]) == 1
    tiers.close()


def test_a_stopped_holder_is_taken_over_and_may_wake_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Shelf(Place(folder=tmp_path / "cache", ram=True)) for _ in range(2))
    assert first.lease("key", 10)
    assert not second.lease("key", 10)
    os.utime(tmp_path / "cache/leases/key", (time.time() - 20, time.time() - 20))
    assert second.lease("key", 10)
    first.release("key")
    assert (held := first.leased("key")) is not None
    assert held.who == second.who
    second.close()
    assert first.leased("key") is None


def test_what_one_job_reads_another_may_evict(store: tuple[Proxy, Path], source: Numbered, tmp_path: Path) -> None:
    reader = make_tiers([source], cache=[f"{tmp_path}:1MB"], timeout_s=10)
    ask(reader, 1, {0: [0, 1]})
    reader.follow(iter([0]))
    until(lambda: [*tmp_path.glob("leyden-cache-*/whole/*")])
    ask(reader, 2, {0: [2]})
    found = answers(reader, 2)
    for path in tmp_path.glob("leyden-cache-*/whole/*"):
        path.unlink()
    check(source, {0: [0, 1]}, found[1])
    check(source, {0: [2]}, found[2])
    reader.close()


@pytest.mark.parametrize("quota", ["", ":200GB"])
def test_a_full_disk_makes_it_slower_not_wrong(
    store: tuple[Proxy, Path], source: Numbered, disk: Path, quota: str
) -> None:
    (disk / "other").write_bytes(bytes(600_000))
    tiers = make_tiers([source], cache=[f"{disk}{quota}"], timeout_s=5)
    tiers.follow(itertools.cycle(range(6)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert epoch(tiers, source) == 72
        with suppress(OSError):
            (disk / "more").write_bytes(bytes(1_000_000))
        assert epoch(tiers, source, start=100) == 72
    assert sum("no cache tier has room" in str(warning.message) for warning in warned) == 1
    tiers.close()
    assert all_whole(disk, source)


def test_a_disk_that_fills_up_meanwhile(store: tuple[Proxy, Path], source: Numbered, disk: Path, ram: Path) -> None:
    """ENOSPC in the middle of a shard: on to the next tier."""
    store[0].bytes_per_s = 200_000
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        tiers = make_tiers([source], cache=[f"{disk}", "ram:5MB"], timeout_s=10)
        tiers.follow(itertools.cycle(range(6)))
        until(lambda: store[0].sent > 100_000)
        with pytest.raises(OSError, match="No space"):
            (disk / "other").write_bytes(bytes(1_500_000))
        store[0].bytes_per_s = None
        assert epoch(tiers, source) == 72
        until(lambda: [*ram.glob("*/whole/*")])
        tiers.close()
    assert all_whole(disk, source)
    assert all_whole(ram, source)


def test_an_interpreter_that_ends_without_close_does_not_hang(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    store[0].rule = lambda request: None
    process = job(source, tmp_path, "leave")
    assert said(process, within_s=10) == "ok 72"
    assert process.returncode == 0
    cache = tmp_path / f"leyden-cache-{os.getuid()}"
    assert [*(cache / "parts").iterdir(), *(cache / "leases").iterdir(), *(cache / "pins").iterdir()] == []


def test_ctrl_c_while_the_store_is_silent(store: tuple[Proxy, Path], source: Numbered, tmp_path: Path) -> None:
    from tests.data.faults.proxy import Silence

    store[0].rule = lambda request: Silence()
    process = job(source, tmp_path)
    until(lambda: store[0].counts)
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert time.monotonic() - began_s < 5
    assert process.returncode != 0
    cache = tmp_path / f"leyden-cache-{os.getuid()}"
    assert [*(cache / "parts").iterdir(), *(cache / "leases").iterdir()] == []

"""What if the store is slow, overloaded, broken, lying or gone? Right data, or an error that names object and cause."""

from __future__ import annotations

import itertools
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.tiers import Tiers, make_tiers
from tests.conformance.until import until
from tests.data.faults.proxy import Fault, Flip, Proxy, Request, Reset, Silence, Status, Truncate, Whole, first, some
from tests.data.tiers.numbered import Numbered, answers, ask, check, epoch

TIMEOUT_S = 2.0
OBJECT = "shard-001.bin"


@pytest.fixture
def source(store: tuple[Proxy, Path]) -> Numbered:
    """Six shards in the bucket."""
    name = uuid.uuid4().hex
    source = Numbered(f"s3://bucket/{name}")
    source.write(store[1] / name)
    return source


@contextmanager
def made(source: Numbered, tmp_path: Path, timeout_s: float = TIMEOUT_S, cache: str = "5MB") -> Iterator[Tiers]:
    tiers = make_tiers([source], cache=[f"{tmp_path}:{cache}"], timeout_s=timeout_s)
    try:
        yield tiers
    finally:
        tiers.close()


def object_only(fault: Fault) -> Callable[[Request], Fault | None]:
    return lambda request: fault if OBJECT in request.path else None


@pytest.mark.parametrize(
    "fault", [Status(503), Status(429), Reset(), Reset(after=3000), Truncate(), Truncate(0.0)], ids=repr
)  # fmt: skip
def test_a_fifth_of_requests_failing_costs_time_only(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path, fault: Fault
) -> None:
    store[0].rule = some(0.2, fault)
    with made(source, tmp_path, timeout_s=10) as tiers:
        tiers.follow(itertools.cycle(range(6)))
        assert epoch(tiers, source) == 72


def test_six_503s_in_a_row_on_one_shard(store: tuple[Proxy, Path], source: Numbered, tmp_path: Path) -> None:
    store[0].rule = first(6, OBJECT, Status(503))
    with made(source, tmp_path, timeout_s=20) as tiers:
        ask(tiers, 1, {1: [3, 4]})
        until(lambda: "HTTP 503, try" in tiers.why())
        assert OBJECT in tiers.why()
        assert check(source, {1: [3, 4]}, answers(tiers, 1)[1]) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(Status(503), "HTTP 503"), (Reset(), "connection"), (Truncate(), "body ended early"), (Silence(), "no answer"),
     (Silence(after=50), "no answer")],
    ids=repr,
)  # fmt: skip
def test_what_never_gets_better_is_an_error_within_the_time_out(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path, fault: Fault, cause: str
) -> None:
    store[0].rule = object_only(fault)
    with made(source, tmp_path) as tiers:
        tiers.follow(itertools.cycle(range(6)))
        ask(tiers, 1, {0: [0]})
        ask(tiers, 2, {1: [0]})
        began_s = time.monotonic()
        found = answers(tiers, 2, within_s=TIMEOUT_S + 1)
        assert time.monotonic() - began_s > TIMEOUT_S / 3
        check(source, {0: [0]}, found[1])
        error = found[2]
        assert isinstance(error, FetchError)
        assert OBJECT in str(error)
        assert cause in str(error)
        store[0].rule = None
        ask(tiers, 3, {1: [0]})
        assert check(source, {1: [0]}, answers(tiers, 1)[3]) == 1


@pytest.mark.parametrize(("code", "cause"), [(404, "no such object"), (403, "access is denied (HTTP 403)")])
def test_what_cannot_get_better_is_an_error_at_once(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path, code: int, cause: str
) -> None:
    store[0].rule = object_only(Status(code))
    with made(source, tmp_path, timeout_s=60) as tiers:
        ask(tiers, 1, {1: [0]})
        error = answers(tiers, 1, within_s=2)[1]
        assert isinstance(error, FetchError)
        assert cause in str(error)
        assert OBJECT in str(error)


def test_one_request_that_never_answers_is_overtaken(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    store[0].rule = first(1, OBJECT, Silence(after=500))
    with made(source, tmp_path, timeout_s=10) as tiers:
        began_s = time.monotonic()
        ask(tiers, 1, {1: [5]})
        assert check(source, {1: [5]}, answers(tiers, 1)[1]) == 1
        assert time.monotonic() - began_s < 3  # not the time-out: other requests were sent beside it


@pytest.mark.parametrize("ranged", [True, False])
def test_a_byte_flipped_once_is_fetched_again(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path, ranged: bool
) -> None:
    flipped = first(1, OBJECT, Flip(60_100))
    store[0].rule = flipped if ranged else lambda request: flipped(request) or Whole()
    with made(source, tmp_path) as tiers:
        ask(tiers, 1, {1: [3]})
        assert check(source, {1: [3]}, answers(tiers, 1)[1]) == 1
        tiers.follow(itertools.cycle(range(6)))
        assert epoch(tiers, source, start=10) == 72
    assert all_whole(tmp_path, source)


def test_a_byte_flipped_always_is_an_error_that_names_the_object(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    store[0].rule = object_only(Flip(60_100))
    with made(source, tmp_path) as tiers:
        tiers.follow(itertools.cycle(range(6)))
        ask(tiers, 1, {1: [3]})
        error = answers(tiers, 1)[1]
        assert isinstance(error, CorruptError)
        assert OBJECT in str(error)
        assert "crc32c" in str(error)
        ask(tiers, 2, {0: [3], 2: [3]})
        check(source, {0: [3], 2: [3]}, answers(tiers, 1)[2])
    assert all_whole(tmp_path, source)


def test_a_byte_flipped_always_in_a_file_without_an_index(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    source.locates = False
    store[0].rule = object_only(Flip(60_100))
    with made(source, tmp_path) as tiers:
        ask(tiers, 1, {1: [3]})
        error = answers(tiers, 1)[1]
        assert isinstance(error, CorruptError)
        assert OBJECT in str(error)
        assert "sha256" in str(error)
    assert store[0].counts[f"/bucket/{source.root.rpartition('/')[2]}/{OBJECT}"] == 3


def test_bytes_that_rot_on_this_host_are_fetched_again(
    store: tuple[Proxy, Path], source: Numbered, tmp_path: Path
) -> None:
    with made(source, tmp_path) as tiers:
        tiers.follow(iter(range(6)))
        epoch(tiers, source)
        until(lambda: len([*tmp_path.glob("*/whole/*")]) == 6)
        ask(tiers, 50, {1: [3]})
        found = answers(tiers, 1)[50]
        assert not isinstance(found, DataError)
        with Path(found[1].path).open("r+b") as file:
            file.seek(60_100)
            file.write(b"rot")
        with pytest.raises(AssertionError):
            check(source, {1: [3]}, found)
        assert tiers.discard(1, found[1].path)  # what the loader does when a worker finds it
        tiers.done(50)
        ask(tiers, 51, {1: [3]})
        check(source, {1: [3]}, answers(tiers, 1)[51])
        tiers.follow(iter(range(6)))
        until(lambda: len([*tmp_path.glob("*/whole/*")]) == 6)
        assert tiers.discard(1, found[1].path)  # another worker had read the old copy: the new one stays
        assert len([*tmp_path.glob("*/whole/*")]) == 6


def test_an_object_written_anew_while_it_is_read_is_not_mixed(store: tuple[Proxy, Path], tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    source = Numbered(f"s3://bucket/{name}", shards=1, samples=12, length=1_000_000, sha=False, locates=False)
    source.write(store[1] / name)
    other, written, copy = bytes(12_000_000), tmp_path / "written", store[1] / name / "copy"

    def rule(request: Request) -> None:
        if request.span and request.span[0] > 0 and not written.exists():
            written.write_bytes(other)
            shutil.copyfile(written, copy)
            copy.replace(store[1] / name / "shard-000.bin")

    store[0].rule = rule
    with made(source, tmp_path, cache="50MB") as tiers:
        ask(tiers, 1, {0: [0, 11]})
        found = answers(tiers, 1)[1]
        if isinstance(found, DataError):
            assert "written anew" in str(found)
        else:
            assert Path(found[0].path).read_bytes() == other


def all_whole(folder: Path, source: Numbered) -> bool:
    """Every finished shard in the cache is one of the source, whole; there is nothing else."""
    files = [path for path in folder.rglob("leyden-cache-*/*/*") if path.is_file()]
    good = {source.bytes_of(shard) for shard in range(len(source.names))}
    return all(path.read_bytes() in good for path in files if path.parent.name == "whole") and all(
        path.parent.name in {"whole", "about"} for path in files
    )

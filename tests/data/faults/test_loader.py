"""Does a Loader give the right data, or an error that names object and cause in time, whatever the store does?"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from leyden.data import Loader, write_shards
from leyden.data.errors import CorruptError, DataError
from tests.conformance.until import until
from tests.data.faults.proxy import Fault, Flip, Proxy, Request, Reset, Silence, Status, Truncate, some
from tests.data.faults.test_host import disk  # noqa: F401  a fixture

cloudpickle.register_pickle_by_value(sys.modules[__name__])
ITEMS, SHARD = 96, "shard-000002.tar"
TIMEOUT_S = 3.0


def picture(item: int) -> bytes:
    """A JPEG whose mean colour tells the item."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (item, 255 - item, 128)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def written(s3: tuple[Proxy, Path]) -> str:
    """96 samples in six shards of 200 kB."""
    samples = [
        {"item": item, "noise": np.random.default_rng(item).bytes(12_000), "image": picture(item)}
        for item in range(ITEMS)
    ]
    name = uuid.uuid4().hex
    write_shards(samples, str(s3[1] / name), samples_per_shard=16, workers=0, progress=False)
    return name


@pytest.fixture
def url(store: tuple[Proxy, Path], written: str) -> str:
    return f"s3://bucket/{written}"


def whole(sample: Any) -> dict[str, Any]:
    """Whether the sample is what was written, and which."""
    item = sample["item"]
    colour = sample["image"].reshape(-1, 3).mean(0)
    right = sample["noise"] == np.random.default_rng(item).bytes(12_000) and abs(colour[0] - item) < 3
    return {"item": item, "right": int(right)}


def loader(url: str, cache: Path | str, kind: str = "thread", **options: Any) -> Loader:
    options = {"batch_size": 8, "transform": whole, "shuffle": True, "seed": 5, "timeout_s": TIMEOUT_S} | options
    return Loader(url, workers=2, kind=kind, cache=[str(cache)], output="numpy", **options)  # type: ignore[arg-type]


def items(batches: Iterator[Any] | Loader) -> list[int]:
    """All must be right."""
    found: list[int] = []
    for batch in batches:
        assert batch["right"].all()
        found += batch["item"].tolist()
    return found


def on_shard(fault: Fault, count: int = 1 << 30, part: str = SHARD) -> Callable[[Request], Fault | None]:
    return lambda request: fault if request.path.endswith(part) and request.count <= count else None


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("fault", [Status(503), Reset(after=5000), Truncate()], ids=repr)
def test_a_fifth_of_requests_failing(
    store: tuple[Proxy, Path], url: str, tmp_path: Path, fault: Fault, kind: str
) -> None:
    store[0].rule, store[0].latency_s = some(0.2, fault), 0.02
    with_faults = loader(url, tmp_path, kind, timeout_s=20)
    first = items(with_faults)
    assert sorted(first) == [*range(ITEMS)]
    assert sorted(items(with_faults)) == [*range(ITEMS)]
    with_faults.close()
    store[0].reset()
    without = loader(url, tmp_path / "..", kind)
    assert items(without) == first  # not a sample elsewhere
    without.close()


def test_six_503s_in_a_row_on_one_shard(store: tuple[Proxy, Path], url: str, tmp_path: Path) -> None:
    store[0].rule = on_shard(Status(503), 6)
    loading = loader(url, tmp_path, timeout_s=20)
    assert sorted(items(loading)) == [*range(ITEMS)]
    loading.close()


@pytest.mark.parametrize("part", [SHARD, SHARD + ".idx"])
@pytest.mark.parametrize(
    ("fault", "cause"),
    [(Status(503), "HTTP 503"), (Status(404), "no such object"), (Reset(), "connection"), (Silence(), "no answer")],
    ids=repr,
)
def test_what_never_gets_better_is_an_error_that_names_it(
    store: tuple[Proxy, Path], url: str, tmp_path: Path, fault: Fault, cause: str, part: str
) -> None:
    store[0].rule = on_shard(fault, part=part)
    loading = loader(url, tmp_path, timeout_s=2)
    began_s = time.monotonic()
    with pytest.raises(DataError) as error:
        items(loading)
    assert time.monotonic() - began_s < 2 + 2
    assert part in str(error.value)
    assert cause in str(error.value)
    store[0].rule = None
    assert sorted(items(loading)) == [*range(ITEMS)]
    loading.close()


@pytest.mark.parametrize("part", [SHARD, SHARD + ".idx", "dataset.json"])
def test_a_byte_flipped_always(store: tuple[Proxy, Path], url: str, tmp_path: Path, part: str) -> None:
    store[0].rule = on_shard(Flip(200), part=part)
    with pytest.raises(CorruptError) as error:
        items(loader(url, tmp_path))
    assert part in str(error.value)


def test_a_byte_flipped_once(store: tuple[Proxy, Path], url: str, tmp_path: Path) -> None:
    store[0].rule = on_shard(Flip(20_000), 1)
    loading = loader(url, tmp_path)
    assert sorted(items(loading)) == [*range(ITEMS)]
    assert sorted(items(loading)) == [*range(ITEMS)]
    loading.close()


def test_bytes_that_rot_in_the_cache(store: tuple[Proxy, Path], url: str, tmp_path: Path) -> None:
    loading = loader(url, tmp_path)
    items(loading)
    until(lambda: len([*tmp_path.glob("*/whole/*")]) == 6)
    for path in tmp_path.glob("*/whole/*"):
        with path.open("r+b") as file:
            file.seek(30_000)
            file.write(bytes(3000))
    assert sorted(items(loading)) == [*range(ITEMS)]
    loading.close()


def test_the_cache_disk_is_full(store: tuple[Proxy, Path], url: str, disk: Path) -> None:  # noqa: F811
    (disk / "other").write_bytes(bytes(600_000))
    loading = loader(url, disk, "process", timeout_s=10)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert sorted(items(loading)) == [*range(ITEMS)]
        assert sorted(items(loading)) == [*range(ITEMS)]
    assert sum("no cache tier has room" in str(warning.message) for warning in warned) == 1
    loading.close()


JOB = """
import sys
from tests.data.faults.test_loader import items, loader
if __name__ == "__main__":
    print(sorted(items(loader(sys.argv[1], sys.argv[2], "process", timeout_s=10))) == [*range(96)], flush=True)
"""


@pytest.mark.slow
def test_the_process_and_the_hosts_other_job_are_killed_while_both_fill_the_cache(
    store: tuple[Proxy, Path], url: str, tmp_path: Path
) -> None:
    (tmp_path / "job.py").write_text(JOB)
    (cache := tmp_path / "cache").mkdir()
    root = Path(__file__).parents[3]
    environ = {**os.environ, "PYTHONPATH": str(root)}

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "job.py"), url, str(cache)]
        return subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE)

    store[0].bytes_per_s = 300_000
    jobs = [start(), start()]
    for job, sent in zip(jobs, (400_000, 700_000), strict=True):
        until(lambda sent=sent: store[0].sent > sent)  # type: ignore[misc]
        job.kill()
        job.communicate()
    store[0].reset()
    third = start()
    assert third.communicate(timeout=20)[0] == "True\n"
    folder = next(cache.iterdir())
    listed = {
        part["sha256"]
        for part in json.loads((store[1] / url.rpartition("/")[2] / "dataset.json").read_text())["shards"]
    }
    assert {path.name for path in (folder / "whole").iterdir()} <= listed
    assert [*(folder / "leases").iterdir(), *(folder / "parts").iterdir(), *(folder / "pins").iterdir()] == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.tar"])
def test_an_index_that_names_files_outside(store: tuple[Proxy, Path], url: str, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "forged"
    write_shards([{"item": 1}], str(folder), workers=0, progress=False)
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text.replace("shard-000000.tar", name))
    with pytest.raises(CorruptError) as error:
        items(loader(str(folder), tmp_path))
    assert name in str(error.value)


def test_a_shard_that_is_a_link_out_of_its_folder(store: tuple[Proxy, Path], tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    write_shards([{"item": 1}], str(folder), workers=0, progress=False)
    shard = folder / "shard-000000.tar"
    shard.rename(tmp_path / "elsewhere.tar")
    shard.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(CorruptError) as error:
        items(Loader(str(folder), batch_size=1, kind="thread", workers=1))
    assert "shard-000000.tar" in str(error.value)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_picture_that_is_none(store: tuple[Proxy, Path], tmp_path: Path, on_error: str) -> None:
    name = uuid.uuid4().hex
    samples = [
        {"item": item, "noise": np.random.default_rng(item).bytes(12_000), "image": picture(item)} for item in range(40)
    ]
    samples[17]["image"] = picture(17)[:300] + bytes(100)
    write_shards(samples, str(store[1] / name), samples_per_shard=10, workers=0, progress=False)
    loading = loader(f"s3://bucket/{name}", tmp_path, shuffle=False, on_error=on_error)
    if on_error == "raise":
        with pytest.raises(DataError) as error:
            items(loading)
        assert "shard-000001.tar" in str(error.value)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert sorted(items(loading)) == [item for item in range(40) if item != 17]
    loading.close()

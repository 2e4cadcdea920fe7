"""Does every format keep what `sources.base` promises, read from a folder and from an object store?"""

from __future__ import annotations

import itertools
import json
import pickle
import select
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from leyden.data import Loader, write_shards
from leyden.data.sources import Source, open_source
from leyden.data.tiers import Local, make_tiers
from leyden.data.tiers.remote import open_root
from tests.data.sources import mds_truth
from tests.data.sources.reading import contents, fetch, read
from tests.data.sources.test_webdataset import write

MDS = Path(__file__).parent / "mds"
SAMPLES = 40


def native(folder: Path, samples: int) -> None:
    write_shards([_row(n) for n in range(samples)], folder, workers=0, samples_per_shard=13, progress=False)


def indexed_tars(folder: Path, samples: int) -> None:
    native(folder, samples)
    (folder / "dataset.json").unlink()


def tars(folder: Path, samples: int) -> None:
    for start in range(0, samples, 13):
        numbers = range(start, min(start + 13, samples))
        files = [
            (f"{n:04}.{end}", raw) for n in numbers for end, raw in [("i.cls", b"%d" % n), ("t.txt", b"x" * n * n)]
        ]
        write(folder / f"{start:03}.tar", files)


def parquet(folder: Path, samples: int) -> None:
    for start in range(0, samples, 13):
        pq.write_table(_table(start, min(start + 13, samples)), folder / f"{start:03}.parquet", row_group_size=5)


def arrow(folder: Path, samples: int) -> None:
    for start in range(0, samples, 13):
        rows = _table(start, min(start + 13, samples))
        pa.feather.write_feather(rows, folder / f"{start:03}.arrow", "uncompressed", chunksize=5)


def mds(name: str) -> Callable[[Path, int], None]:
    """The folder that the real writer made; another one lists a sample less."""

    def copy(folder: Path, samples: int) -> None:
        shutil.copytree(MDS / name, folder, dirs_exist_ok=True)
        if samples < SAMPLES:
            index = json.loads((folder / "index.json").read_text())
            index["shards"][0]["samples"] -= 1
            (folder / "index.json").write_text(json.dumps(index))

    return copy


FORMATS = {
    "native": native,
    "tars": tars,
    "indexed tars": indexed_tars,
    "parquet": parquet,
    "arrow": arrow,
    **{f"mds {name}": mds(name) for name in mds_truth.FOLDERS},
}


def _row(number: int) -> dict[str, Any]:
    return {"i": number, "t": "x" * number * number}


def _table(start: int, stop: int) -> pa.Table:
    return pa.Table.from_pylist([_row(number) for number in range(start, stop)])


def facts(sample: Any) -> tuple[int, str]:
    """What identifies a sample, under the names that it has in its format."""
    if "str_int" in sample:
        return int(sample["str_int"] - 10**30), sample["text"]
    return sample["i.cls" if "i.cls" in sample else "i"], sample["t.txt" if "t.txt" in sample else "t"]


def truth(kind: str) -> list[tuple[int, str]]:
    if kind.startswith("mds"):
        return [(number, "Größe " * number) for number in range(mds_truth.SAMPLES)]
    return [(number, "x" * number * number) for number in range(SAMPLES)]


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    FORMATS[kind](made, SAMPLES)
    return made


def test_all_samples_from_a_folder(kind: str, folder: Path, tmp_path: Path) -> None:
    source = open_source(folder)
    assert source.root == str(folder)
    assert source.counts.dtype == np.int64
    assert source.counts.min() > 0
    assert [facts(sample) for sample in contents(source, tmp_path / "unpacked")] == truth(kind)
    keys = [sample.key for sample in contents(source, tmp_path / "unpacked")]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("remote", [False, True], ids=["folder", "store"])
def test_single_samples_through_the_tiers(kind: str, folder: Path, remote: bool) -> None:
    """In random order, two of each shard at a time; a worker's copy of the source reads what the tiers gave."""
    root = str(folder)
    if remote:
        root = f"memory://{uuid.uuid4()}"
        for path in folder.rglob("*"):
            open_root(root).put(path.relative_to(folder).as_posix(), path.read_bytes())
    source = open_source(root)
    worker: Source = cloudpickle.loads(cloudpickle.dumps(source))
    starts = np.concatenate([[0], np.cumsum(source.counts)])
    true, rng = truth(kind), np.random.default_rng(0)
    with Asked(source) as ask:
        for _ in range(8):
            wanted = {n: rng.integers(0, count, 2) for n, count in enumerate(source.counts.tolist())}
            for shard, local in ask(wanted).items():
                for at, number in enumerate(wanted[shard].tolist()):
                    record = None if local.records is None else local.records[at].tolist()
                    assert facts(read(worker, shard, Path(local.path), number, record)) == true[starts[shard] + number]


@final
class Asked:
    """Tickets, one after the other."""

    def __init__(self, source: Source) -> None:
        self._tiers, self._ticket = make_tiers([source], timeout_s=10), 0

    def __enter__(self) -> Callable[[Mapping[int, Any]], dict[int, Local]]:
        return self._ask

    def _ask(self, wanted: Mapping[int, Any]) -> dict[int, Local]:
        self._ticket += 1
        self._tiers.ask(self._ticket, wanted)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            select.select([self._tiers], [], [], 1)
            for ticket, found in self._tiers.answers():
                assert ticket == self._ticket
                assert isinstance(found, dict), found
                return found
        raise TimeoutError(self._tiers.why())

    def __exit__(self, *_: object) -> None:
        self._tiers.close()


def test_a_shuffled_epoch_broken_off_and_resumed_has_every_sample_once(kind: str, folder: Path) -> None:
    seen: list[int] = []
    first = Loader(folder, batch_size=3, transform=number_of, shuffle=True, kind="thread", workers=1)
    for batch in itertools.islice(first, 2):
        seen += batch["number"].tolist()
    state = first.state_dict()
    first.close()
    second = Loader(folder, batch_size=3, transform=number_of, shuffle=True, kind="thread", workers=2)
    second.load_state_dict(state)
    for batch in second:
        seen += batch["number"].tolist()
    second.close()
    assert sorted(seen) == [number for number, _ in truth(kind)]
    assert seen != sorted(seen)


def number_of(sample: Any) -> dict[str, int]:
    return {"number": facts(sample)[0]}


def test_a_fingerprint_is_about_samples_not_places(kind: str, folder: Path, tmp_path: Path) -> None:
    first = open_source(folder)
    shutil.copytree(folder, tmp_path / "moved")
    assert open_source(tmp_path / "moved").fingerprint() == first.fingerprint() == open_source(folder).fingerprint()
    shutil.rmtree(folder)
    folder.mkdir()
    FORMATS[kind](folder, SAMPLES - 1)
    assert open_source(folder).fingerprint() != first.fingerprint()


def test_a_source_on_its_way_to_a_worker_is_small_and_has_no_index(kind: str, folder: Path, tmp_path: Path) -> None:
    source = open_source(folder)
    before = cloudpickle.dumps(source)
    list(contents(source, tmp_path / "unpacked"))  # has read indexes now
    assert len(cloudpickle.dumps(source)) == len(before) < 8000
    copy: Source = pickle.loads(before)
    assert copy.fingerprint() == source.fingerprint()
    copy.prepare(0, lambda name, start=0, stop=None: fetch(copy, name, start, stop))
    one, two = (each.locate(0, np.array([1, 0])) for each in (source, copy))  # as `leyden data convert` needs it
    assert (one is None) == (two is None)
    assert one is None or (one == two).all()

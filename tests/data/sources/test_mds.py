"""Is every value read that MosaicML Streaming's writer stored, and nothing from a damaged shard?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.sources.mds import MDS
from tests.data.sources import mds_truth
from tests.data.sources.reading import bring, contents, fetch, read, same

MADE = Path(__file__).parent / "mds"
N = len(mds_truth.COLUMNS)


@pytest.mark.parametrize("name", mds_truth.FOLDERS)
def test_reads_what_the_real_writer_wrote(name: str, tmp_path: Path) -> None:
    source = MDS(MADE / name)
    found = list(contents(source, tmp_path))
    assert len(found) == source.counts.sum() == mds_truth.SAMPLES
    for number, sample in enumerate(found):
        true = mds_truth.sample(number)
        assert sample.keys() == true.keys()
        for field, value in true.items():
            assert same(sample[field], value), (number, field, sample[field], value)
    assert found[3].picture("jpeg").size == (5, 3)


def test_plain_shards_are_read_by_ranges_and_hashed_or_packed_ones_whole() -> None:
    plain, hashed, packed = (MDS(MADE / name) for name in ("plain", "hashed", "zstd"))
    for source in (plain, hashed, packed):
        source.prepare(0, lambda name, start=0, stop=None, source=source: fetch(source, name, start, stop))
    records = plain.locate(0, np.array([1, 0]))
    assert records is not None
    assert records["offset"][0] == records["offset"][1] + records["length"][1]
    assert hashed.locate(0, np.array([0])) is None
    assert packed.locate(0, np.array([0])) is None
    assert [source.shard(0).packed for source in (plain, hashed, packed)] == [False, False, True]


def test_the_fingerprint_is_that_of_the_index(tmp_path: Path) -> None:
    shutil.copytree(MADE / "plain", tmp_path / "moved")
    assert MDS(tmp_path / "moved").fingerprint() == MDS(MADE / "plain").fingerprint()
    assert MDS(MADE / "gz").fingerprint() != MDS(MADE / "plain").fingerprint()


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(MADE / name, tmp_path / name))


@pytest.mark.parametrize("name", ["zstd", "gz", "hashed"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_a_fetched_shard_that_is_not_the_one_written_is_found_out(name: str, damage: str, tmp_path: Path) -> None:
    source = MDS(MADE / name)
    path = tmp_path / "fetched"
    raw = bytearray((MADE / name / source.shard(0).name).read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    path.write_bytes({"flip": raw, "cut": raw[:-1], "grow": raw + b"\0"}[damage])
    with pytest.raises(CorruptError, match=r"shard\.00000\.mds.*index\.json says"):
        source.arrived(0, path)


def test_packed_shards_without_hashes_are_measured(copy: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("zstd", "gz"):
        folder = copy(name)
        _edit(folder, lambda shard: (shard["zip_data"]["hashes"].clear(), shard["raw_data"]["hashes"].clear()))
        _edit(folder, lambda shard: shard["raw_data"].update(bytes=shard["raw_data"]["bytes"] - 1))
        with pytest.raises(CorruptError, match="bytes or more came out of it"):
            bring(MDS(folder), 0, tmp_path)
        packed = folder / MDS(folder).shard(0).name
        packed.write_bytes(b"?" * packed.stat().st_size)
        with pytest.raises(CorruptError, match=f"it is no {name} file"):
            bring(MDS(folder), 0, tmp_path)


def test_offsets_that_contradict_the_index(copy: Callable[[str], Path]) -> None:
    folder = copy("plain")
    path = folder / "shard.00000.mds"
    good = np.frombuffer(path.read_bytes()[: 4 * 3], "<u4")
    for at, value in [(0, good[0] + 1), (1, 1), (1, good[2] + 1), (2, 2**31)]:
        words = np.fromfile(path, "<u4")
        words[at] = value
        words.tofile(path)
        source = MDS(folder)
        with pytest.raises(CorruptError, match="its offsets are not those of"):
            source.prepare(0, lambda name, start=0, stop=None, source=source: fetch(source, name, start, stop))
        with pytest.raises(CorruptError, match=r"its offsets are not those of|bytes, index\.json says"):
            read(source, 0, path, 0)
        shutil.copy(MADE / "plain" / path.name, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError, match=r"bytes, index\.json says"):
        read(MDS(folder), 0, path, 0)


def test_sizes_within_a_sample_that_do_not_add_up(copy: Callable[[str], Path]) -> None:
    folder = copy("plain")
    path = folder / "shard.00000.mds"
    raw = bytearray(path.read_bytes())
    start = int.from_bytes(raw[4:8], "little")
    raw[start] += 1
    path.write_bytes(raw)
    with pytest.raises(CorruptError, match=r"sample 0 of .*plain/shard\.00000\.mds.*do not add up"):
        read(MDS(folder), 0, path, 0)
    raw[start] -= 1
    path.write_bytes(raw.replace(b"1" + b"0" * 30, b"x" + b"0" * 30))  # str_int of sample 0
    with pytest.raises(CorruptError, match="column 'str_int' cannot be decoded"):
        read(MDS(folder), 0, path, 0)
    with pytest.raises(CorruptError, match="do not add up"):
        read(MDS(folder), 0, path, 0, (start, 10**6, -1))


@pytest.mark.parametrize(
    ("edit", "kind", "found"),
    [
        (lambda shard: shard["raw_data"].update(basename="../../secret"), CorruptError, "leads out of its folder"),
        (lambda shard: shard["raw_data"].update(basename="/etc/passwd"), CorruptError, "leads out of its folder"),
        (lambda shard: shard.pop("samples"), CorruptError, "KeyError: 'samples'"),
        (lambda shard: shard.update(samples=0), CorruptError, "a shard of 0 samples"),
        (lambda shard: shard["column_names"].pop(), CorruptError, "ValueError"),
        (lambda shard: shard.update(column_encodings=["pkl"] * N), DataError, "'any' is pickled"),
        (lambda shard: shard.update(column_encodings=["webp"] * N), DataError, "encoding 'webp' of column 'any'"),
        (lambda shard: shard.update(format="csv"), DataError, "format csv version 2"),
        (lambda shard: shard.update(compression="br:3", zip_data=shard["raw_data"]), DataError, "compression 'br'"),
    ],
)
def test_an_index_that_cannot_be_followed(
    edit: Callable[[Any], object], kind: type[DataError], found: str, copy: Callable[[str], Path]
) -> None:
    folder = copy("plain")
    _edit(folder, edit)
    with pytest.raises(kind, match=found):
        MDS(folder)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"index\.json"):
        MDS(tmp_path)
    (tmp_path / "index.json").write_text("[1")
    with pytest.raises(CorruptError, match="not what MosaicML Streaming writes"):
        MDS(tmp_path)
    (tmp_path / "index.json").write_text('{"shards": [], "version": 2}')
    with pytest.raises(DataError, match="it lists no shards"):
        MDS(tmp_path)


def _edit(folder: Path, edit: Callable[[Any], object]) -> None:
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        edit(shard)
    (folder / "index.json").write_text(json.dumps(index))

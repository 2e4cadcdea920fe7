"""Is a sample read exactly as it was written, or an error raised that says which one is not?"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import tarfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.shards import Index, write_shards
from leyden.data.shards.record import header, join, split
from leyden.data.shards.walk import Walk
from leyden.data.sources.mapstyle import MapStyle
from leyden.data.sources.native import Shards
from leyden.data.sources.sample import Sample
from leyden.data.tiers.remote import open_root
from tests.data.shards.made import SCHEMA, Made, assert_same, made, read


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 30 samples in 3 shards, for tests that only read it."""
    root = tmp_path_factory.mktemp("pristine") / "set"
    write_shards(Made(30), root, schema=SCHEMA, samples_per_shard=10, workers=0, progress=False)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(pristine, tmp_path / "set"))


def test_a_worker_gets_samples_without_the_index(pristine: Path) -> None:
    source = Shards(pristine)
    root = open_root(str(pristine))
    source.prepare(1, lambda name, start=0, stop=None: root.get(name))
    records = source.locate(1, np.array([3, 0]))
    assert records["offset"][1] == 0
    there = pickle.loads(pickle.dumps(source))
    reader = there.open(1, pristine / "shard-000001.tar")
    assert_same(reader.read(3, records[0].item()), 13)
    assert_same(reader.read(0, records[1].item()), 10)
    reader.close()
    reader.close()
    assert source.counts.dtype == np.int64
    assert source.counts.tolist() == [10, 10, 10]


def test_lengths_are_of_all_shards_in_order(pristine: Path) -> None:
    source = Shards(pristine)
    tokens, text, nothing = source.lengths("tokens"), source.lengths("text"), source.lengths("nothing")
    assert tokens is not None
    assert text is not None
    assert tokens.tolist() == [n % 7 for n in range(30)]
    assert text.tolist() == [n % 5 for n in range(30)]
    assert nothing is None


def test_the_fingerprint_is_of_the_content(pristine: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pristine, tmp_path / "copy"))
    assert Shards(copy).fingerprint() == Shards(pristine).fingerprint()
    other = [made(n) if n < 29 else made(30) for n in range(30)]
    write_shards(other, tmp_path / "other", schema=SCHEMA, samples_per_shard=10, workers=0)
    assert Shards(tmp_path / "other").fingerprint() != Shards(pristine).fingerprint()


def test_every_flipped_byte_of_a_sample_is_found(root: Path) -> None:
    tar = root / "shard-000001.tar"
    whole = tar.read_bytes()
    index = Index.from_bytes((root / "shard-000001.tar.idx").read_bytes(), "1")
    start, size = int(index.offsets[4]), int(index.sizes[4])
    for at in range(start, start + size, 97):
        tar.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with Walk(Shards(root)) as walk, pytest.raises(CorruptError) as error:
            walk[14]
        assert f"sample 4 of {root}/shard-000001.tar at byte {start:,}" in str(error.value)
        assert "do not match their checksum" in str(error.value)


def test_a_file_cut_short(root: Path) -> None:
    tar = root / "shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with Walk(Shards(root)) as walk, pytest.raises(CorruptError, match=r"sample 9 .* of its .* bytes are there"):
        walk[19]


def test_a_file_that_is_gone(root: Path) -> None:
    (root / "shard-000001.tar").unlink()
    with Walk(Shards(root)) as walk, pytest.raises(FetchError, match=r"shard-000001\.tar.*no such file"):
        walk[19]


DAMAGE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda raw: b"", "not those that dataset.json tells of"),
    (lambda raw: raw[:-1], "not those that dataset.json tells of"),
    (lambda raw: raw[:100] + b"\xff" + raw[101:], "its checksum does not match"),
]


@pytest.mark.parametrize(("change", "told"), DAMAGE)
def test_a_damaged_index(root: Path, change: Callable[[bytes], bytes], told: str) -> None:
    path = root / "shard-000001.tar.idx"
    path.write_bytes(change(path.read_bytes()))
    with Walk(Shards(root)) as walk, pytest.raises(CorruptError, match=r"shard-000001\.tar\.idx was read") as error:
        walk[10]
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"not an index at all" * 10, "does not begin as an index does"),
        (b"\x89LEYIX\r\n\x02" + bytes(200), "it is of version 2"),
        (b"\x89LEYIX\r\n\x01" + bytes(200), "does not fit"),
    ],
)
def test_what_is_no_index(raw: bytes, told: str) -> None:
    with pytest.raises(CorruptError, match="x was read") as error:
        Index.from_bytes(raw, "x")
    assert told in str(error.value)


def test_an_index_of_another_shard(root: Path) -> None:
    raw = (root / "shard-000000.tar.idx").read_bytes()
    (root / "shard-000001.tar.idx").write_bytes(raw)
    told = json.loads((root / "dataset.json").read_text())
    told["shards"][1]["index"] = told["shards"][0]["index"]
    (root / "dataset.json").write_text(json.dumps(told))
    with Walk(Shards(root)) as walk, pytest.raises(CorruptError, match="it is of another file than dataset"):
        walk[10]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../shard-000000.tar", "a/../../b.tar", "", "a\\b.tar", "./a.tar", "a\0b"]
)
def test_names_that_lead_elsewhere_are_refused(root: Path, name: str) -> None:
    told = json.loads((root / "dataset.json").read_text())
    told["shards"][0]["name"] = name
    (root / "dataset.json").write_text(json.dumps(told))
    with pytest.raises(CorruptError, match="is not a plain relative path"):
        Shards(root)


def test_links_are_refused(root: Path, tmp_path: Path) -> None:
    tar = root / "shard-000001.tar"
    tar.rename(tmp_path / "elsewhere.tar")
    tar.symlink_to(tmp_path / "elsewhere.tar")
    with Walk(Shards(root)) as walk:
        assert_same(walk[5], 5)
        with pytest.raises(CorruptError, match=r"shard-000001\.tar is a symbolic link"):
            walk[10]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda told: told.pop("shards"), "'shards' is missing"),
        (lambda told: told.update(version=2), "known is leyden-shards 1"),
        (lambda told: told.update(samples=31), "do not add up"),
        (lambda told: told["shards"][0].update(samples="x"), "invalid literal"),
        (lambda told: told["shards"][0].update(samples=-1), "do not add up"),
    ],
)
def test_a_dataset_json_that_is_not_whole(root: Path, change: Callable[[Any], Any], told: str) -> None:
    content = json.loads((root / "dataset.json").read_text())
    change(content)
    (root / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(CorruptError, match=r"dataset\.json cannot be used") as error:
        Shards(root)
    assert told in str(error.value)
    (root / "dataset.json").write_text("{")
    with pytest.raises(CorruptError, match=r"dataset\.json cannot be used"):
        Shards(root)


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"its dataset\.json cannot be read: no such file"):
        Shards(tmp_path)


def test_fields_of_a_sample(pristine: Path) -> None:
    sample = read(pristine)[6]
    assert "image" in sample
    assert "nothing" not in sample
    assert sample.get("nothing", 5) == 5
    assert sample.get("label") == 6
    with pytest.raises(DataError, match="field 'nothing' of sample 000000006 was asked for; it has image, mask"):
        sample["nothing"]
    view = sample.array("depth")
    assert not view.flags.writeable
    sample["depth"][0, 0] = 5  # a copy
    assert view.tolist() == made(6)["depth"].tolist()
    assert {name for name, _, _ in sample.stored()} == set(sample)


def test_arrays_of_every_form_come_back(tmp_path: Path) -> None:
    arrays = [
        np.asfortranarray(np.arange(12).reshape(3, 4)), np.zeros((0, 3)), np.array(5.5), np.array([True, False]),
        np.arange(4, dtype=">i4"), np.array(["a", "bc"]), np.array([1 + 2j]), np.zeros((2, 0, 3), np.float16),
    ]  # fmt: skip
    for number, array in enumerate(arrays):
        write_shards([{"x": array}], tmp_path / str(number), workers=0)
        [found] = read(tmp_path / str(number))
        assert found["x"].dtype == array.dtype
        assert found["x"].tolist() == array.tolist()
        assert found["x"].flags.f_contiguous == array.flags.f_contiguous


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    raw = (tmp_path / "bad.npy").read_bytes()
    with pytest.raises(ValueError, match="never loaded"):
        Sample("k", {"x": ("array", raw)})["x"]


def test_tar_and_webdataset_read_what_we_write(pristine: Path) -> None:
    tars = sorted(map(str, pristine.glob("*.tar")))
    listed = subprocess.run(["tar", "tvf", tars[0]], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(listed) == 10 * len(made(0))
    assert listed[0].endswith("1970-01-01 00:00 000000000.image.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"))
    assert len(found) == 30
    for number, sample in enumerate(found):
        wanted = made(number)
        assert sample["__key__"] == f"{number:09}"
        assert (sample["label.cls"], sample["text"], sample["about.json"]) == (
            wanted["label"], wanted["text"], wanted["about"],
        )  # fmt: skip
        assert sample["depth.npy"].tolist() == wanted["depth"].tolist()
        assert (sample["weight.json"], sample["blob.bin"]) == (wanted["weight"], wanted["blob"])
        assert sample["image.jpg"].shape == (24, 32, 3)


def test_a_record_is_what_tarfile_makes_of_it(tmp_path: Path) -> None:
    fields = [("a.bin", b"x" * 700), ("b.txt", b""), ("c.npy", b"y" * 512)]
    for key in ("0001", "folder/0001", "n" * 94, "n" * 95, "é" * 60):
        raw = join(key, fields)
        path = tmp_path / "one.tar"
        path.write_bytes(raw + bytes(1024))
        with tarfile.open(path) as opened:
            members = [(one.name, opened.extractfile(one).read()) for one in opened]  # type: ignore[union-attr]
        assert members == [(f"{key}.{extension}", content) for extension, content in fields]
        known = {b"a.bin": ("a", "bytes"), b"c.npy": ("c", "array")}
        found = split(raw, known)
        assert found[0] == key
        assert {name: (kind, bytes(content)) for name, (kind, content) in found[1].items()} == {
            "a": ("bytes", b"x" * 700),
            "c": ("array", b"y" * 512),
        }
    with pytest.raises(DataError, match="bytes; a file in a tar has 8,589,934,591 at most"):
        header("big", 8**11)


def test_parsing_costs_microseconds(pristine: Path) -> None:
    raw = join("000000001", [("image.jpg", bytes(80_000)), ("label.cls", b"7")])
    known = {b"image.jpg": ("image", "jpeg"), b"label.cls": ("label", "int")}
    spent = []
    for _ in range(50):
        start = time.process_time()
        for _ in range(100):
            split(raw, known)
        spent.append((time.process_time() - start) / 200)
    assert min(spent) < 10e-6  # a member; 1.2 µs on a quiet machine


def test_map_style() -> None:
    source = MapStyle(Made(7))
    assert (source.root, source.counts.tolist()) == ("", [7])
    assert source.open(0, None).read(3, None)["label"] == 3
    assert source.fingerprint() == "Made:7"
    with pytest.raises(Exception, match=r"it has no len\(\) or no \[\]"):
        MapStyle(iter([]))  # type: ignore[arg-type]

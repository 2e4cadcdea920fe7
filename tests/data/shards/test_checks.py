"""Do index_tars, verify, stats, Walk and ImageFolder say what is there?"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from leyden.data.errors import CorruptError, DataError, SampleError
from leyden.data.shards import Field, write_shards
from leyden.data.shards.adopt import index_tars
from leyden.data.shards.folder import ImageFolder, Redo
from leyden.data.shards.stats import stats
from leyden.data.shards.verify import verify
from leyden.data.shards.walk import Samples, Walk
from leyden.data.sources.detect import open_source
from leyden.data.sources.native import Shards
from tests.data.shards.made import Made, assert_same, contents, made, read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """30 samples in 3 shards."""
    write_shards(Made(30), tmp_path / "set", samples_per_shard=10, workers=0, progress=False)
    return tmp_path / "set"


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Two tars as the webdataset library writes them."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(2):
        with webdataset.TarWriter(str(folder / f"part-{number}.tar")) as writer:
            for at in range(5):
                value = made(5 * number + at)
                writer.write(
                    {"__key__": f"{at}", "JPG": value["image"], "cls": value["label"], "d.npy": value["depth"]}
                )
    return folder


def test_tars_of_others_are_indexed_and_stay_as_they_are(tars: Path) -> None:
    before = contents(tars)
    dataset = index_tars(tars, progress=False)
    after = contents(tars)
    assert {name: after[name] for name in before} == before
    assert {name: field.kind for name, field in dataset.schema.items()} == {
        "jpg": "jpeg",
        "cls": "int",
        "d.npy": "array",
    }
    assert dataset.schema["d.npy"] == Field(kind="array", dtype="<f4", shape=(3, 4))
    found = read(tars)
    assert len(found) == 10
    for number, sample in enumerate(found):
        assert sample.raw("jpg") == made(number)["image"]
        assert sample["cls"] == made(number)["label"]
        assert sample["d.npy"].tolist() == made(number)["depth"].tolist()
    assert verify(Shards(tars), progress=False).faults == ()


def test_lost_indexes_are_made_again(root: Path) -> None:
    before = contents(root)
    (root / "shard-000001.tar.idx").unlink()
    (root / "shard-000002.tar.idx").write_bytes(b"x")
    index_tars(root, progress=False)
    for number, sample in enumerate(read(root)):
        assert_same(sample, number)
    assert contents(root)["dataset.json"] == before["dataset.json"]
    assert contents(root) == before


def test_a_damaged_tar_is_not_blessed(root: Path) -> None:
    tar = root / "shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with pytest.raises(
        CorruptError, match=r"shard-000001\.tar was to be indexed again; dataset\.json lists it with another"
    ):
        index_tars(root, progress=False)


def test_no_tars(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is none"):
        index_tars(tmp_path)


def test_verify_names_every_bad_sample(root: Path) -> None:
    whole = verify(Shards(root), decode=True, progress=False)
    assert (whole.shards, whole.samples, whole.faults) == (3, 30, ())
    assert whole.size_bytes == sum(path.stat().st_size for path in root.glob("*.tar"))
    for number, samples in ((0, (3, 7)), (2, (0,))):
        tar = root / f"shard-{number:06}.tar"
        raw = bytearray(tar.read_bytes())
        index = Shards(root).load()[number]
        for sample in samples:
            raw[int(index.offsets[sample]) + 600] ^= 1
        tar.write_bytes(raw)
    (root / "shard-000001.tar").unlink()
    found = verify(Shards(root), progress=False).faults
    assert [(fault.shard, fault.sample) for fault in found] == [
        ("shard-000000.tar", None), ("shard-000000.tar", 3), ("shard-000000.tar", 7),
        ("shard-000001.tar", None), ("shard-000002.tar", None), ("shard-000002.tar", 0),
    ]  # fmt: skip
    assert "sha256" in found[0].what
    assert "do not match their checksum" in found[1].what
    assert "no such file" in found[3].what


def test_verify_decodes_if_asked(tmp_path: Path) -> None:
    samples = [{"image": made(n)["image"] if n != 2 else made(n)["image"][:300], "n": n} for n in range(4)]
    write_shards(samples, tmp_path, workers=0)
    assert verify(Shards(tmp_path), progress=False).faults == ()
    [fault] = verify(Shards(tmp_path), decode=True, progress=False).faults
    assert (fault.shard, fault.sample) == ("shard-000000.tar", 2)
    assert fault.what.startswith("field 'image'")


def test_other_formats_are_verified_too(tars: Path) -> None:
    assert verify(open_source(str(tars)), decode=True, progress=False).faults == ()
    tar = tars / "part-1.tar"
    raw = tar.read_bytes()
    tar.write_bytes(raw.replace(made(7)["image"], made(7)["image"][:100] + bytes(len(made(7)["image"]) - 100)))
    faults = verify(open_source(str(tars)), decode=True, progress=False).faults
    assert [(fault.shard, fault.sample) for fault in faults] == [("part-1.tar", 2)]


def test_stats(root: Path) -> None:
    found = stats(Shards(root), pixels=True, progress=False)
    assert (found.samples, found.looked_at) == (30, 30)
    assert found.labels == {"label": dict.fromkeys(range(10), 3)}
    pixels = np.stack([sample["mask"] for sample in read(root)]) / 255
    assert np.allclose(found.pixels["mask"].mean, pixels.mean((0, 1, 2)), atol=1e-6)
    assert np.allclose(found.pixels["mask"].std, pixels.std((0, 1, 2)), atol=1e-6)
    assert found.pixels["mask"].sizes == {"24×32": 30}
    sizes = [len(made(n)["blob"]) for n in range(30)]
    assert found.fields["blob"].mean == np.mean(sizes)
    assert found.fields["blob"].percentiles[95] == pytest.approx(np.percentile(sizes, 95), abs=0.06)
    assert stats(Shards(root), samples=7, progress=False).looked_at == 7


def test_a_remote_walk_reads_only_what_it_is_asked_for(tmp_path: Path) -> None:
    from leyden.data.tiers.remote import open_root

    root = f"memory://{tmp_path.name}"
    write_shards(Made(30), root, samples_per_shard=10, workers=0, progress=False)
    store = open_root(root)
    store.put("shard-000001.tar", store.get("shard-000001.tar")[:40_000] + bytes(1_000_000))
    with Walk(Shards(root), whole=False) as walk:
        assert_same(walk[25], 25)
        assert_same(walk[10], 10)
    assert [fault.shard for fault in verify(Shards(root), progress=False).faults][:1] == ["shard-000001.tar"]


def test_samples_keep_their_keys_if_asked(tars: Path, tmp_path: Path) -> None:
    for keep, keys in ((False, ["000000000", "000000001"]), (True, ["0", "1"])):
        samples = Samples(open_source(str(tars / "part-0.tar")), keep_keys=keep)
        write_shards(samples, tmp_path / str(keep), workers=0)
        assert [sample.key for sample in read(tmp_path / str(keep))][:2] == keys


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of JPEGs, 40×80."""
    for number in range(6):
        path = tmp_path / "photos" / ["cat", "dog"][number % 2] / f"{number}.v1.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 80, 3), 40 * number, np.uint8)).save(path)
    return tmp_path / "photos"


def test_a_folder_of_pictures(pictures: Path) -> None:
    folder = ImageFolder(pictures, keep_keys=True)
    assert [folder[n]["label"] for n in range(6)] == [0, 0, 0, 1, 1, 1]
    assert folder.schema == {"image": Field(kind="jpeg"), "label": Field(kind="int", names=("cat", "dog"))}
    assert folder[1]["image"] == (pictures / "cat" / "2.v1.jpg").read_bytes()
    assert folder[1]["__key__"] == "cat/2_v1"
    small = ImageFolder(pictures, redo=Redo(kind="png", size=10))[5]["image"]
    assert Image.open(io.BytesIO(small)).size == (20, 10)
    shutil.move(pictures / "cat", pictures.parent / "flat")
    assert set(ImageFolder(pictures.parent / "flat")[0]) == {"image"}


def test_a_folder_that_is_no_such_thing(pictures: Path) -> None:
    (pictures / "cat" / "a.png").write_bytes(made(1)["mask"])
    with pytest.raises(DataError, match=r"they end in \.jpg, \.png; .* Say --format jpeg"):
        ImageFolder(pictures)
    (pictures / "cat" / "a.png").rename(pictures / "cat" / "a.jpg")
    with pytest.raises(SampleError, match=r"cat/a\.jpg was to be stored; it is no JPEG"):
        ImageFolder(pictures)[3]
    (pictures / "cat" / "a.jpg").write_bytes(made(1)["image"][:100])
    with pytest.raises(SampleError, match=r"cat/a\.jpg was to be stored"):
        ImageFolder(pictures, redo=Redo(kind="jpeg", size=5))[3]
    (pictures / "cat" / "a.jpg").rename(pictures / "a.jpg")
    with pytest.raises(DataError, match="some lie in folders of classes, some beside them"):
        ImageFolder(pictures)
    with pytest.raises(DataError, match="there are none"):
        ImageFolder(pictures / "cat" / "none")

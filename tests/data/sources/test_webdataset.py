"""Are tars that others wrote read as the webdataset library reads them, and damaged ones not at all?"""

from __future__ import annotations

import io
import os
import random
import tarfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.sources.webdataset import WebDataset
from leyden.data.tiers.remote import open_root
from tests.data.sources.reading import contents, read, same

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def write(path: Path, files: Iterable[tuple[str, bytes]], form: str = "gnu", **header: Any) -> Path:
    """A tar with these members."""
    with tarfile.open(path, "w", format=FORMATS[form]) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in header.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def raw(source: WebDataset, folder: Path) -> list[dict[str, Any]]:
    """All samples, fields as bytes."""
    return [
        {"__key__": sample.key, **{name: bytes(sample.raw(name)) for name in sample}}
        for sample in contents(source, folder)
    ]


def library_samples(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as stream:
        files = webdataset.tariterators.tar_file_expander([{"url": "x", "stream": stream}])
        grouped = list(webdataset.tariterators.group_by_keys(files))
    return [{name: value for name, value in sample.items() if name != "__url__"} for sample in grouped]


def test_every_field_the_library_writes(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    given_: list[dict[str, Any]] = [
        {
            "__key__": f"folder.x/{number:04d}",
            "png": picture,
            "seg.png": picture[:, :, 0],
            "cls": number,
            "json": {"n": [number, "ü"]},
            "txt": "ü" * number,
            "npy": np.arange(number, dtype=np.float32),
            "bin": bytes(number),
        }
        for number in range(20)
    ]
    with webdataset.ShardWriter(str(tmp_path / "train-%06d.tar"), maxcount=7, verbose=0) as writer:
        for sample in given_:
            writer.write(sample)
    source = WebDataset(tmp_path / "train-{000000..000002}.tar")
    assert source.counts.tolist() == [7, 7, 6]
    found = list(contents(source, tmp_path))
    decode = webdataset.autodecode.Decoder([webdataset.autodecode.imagehandler("rgb8")])
    decoded = [decode(one) for number in range(3) for one in library_samples(tmp_path / f"train-00000{number}.tar")]
    for sample, true, theirs in zip(found, given_, decoded, strict=True):
        assert sample.key == true["__key__"] == theirs["__key__"]
        assert set(sample) == set(true) - {"__key__"}
        for name in ("png", "cls", "json", "txt", "npy", "bin"):
            assert same(sample[name], true[name]), name
            assert same(sample[name], theirs[name]), name
        assert same(sample["seg.png"], np.repeat(true["seg.png"][:, :, None], 3, 2))


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="./\0\n", exclude_categories=["Cs"]), min_size=1, max_size=40
)
KEYS = st.lists(NAMES | st.sampled_from(["n" * 99, "n" * 120, "ü" * 60]), min_size=1, max_size=4).map("/".join)
FIELDS = st.dictionaries(
    st.sampled_from(["jpg", "PNG", "seg.png", "cls", "x" * 90, "json.gz"]),
    st.binary(max_size=2000),
    min_size=1,
    max_size=3,
)
OTHERS = st.sampled_from(["README", "folder.d/none", "__meta__/a.json", "__x__"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(st.tuples(KEYS, FIELDS, OTHERS | st.none()), max_size=6, unique_by=lambda one: one[0]),
    form=st.sampled_from(sorted(FORMATS)),
)
def test_any_names_and_sizes(
    samples: list[tuple[str, Mapping[str, bytes], str | None]], form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{random.getrandbits(60)}.tar"
    files = [("first.one", b"1")]
    for key, fields, other in samples:
        files += [(f"{key}.{extension}", content) for extension, content in fields.items()]
        files += [(other, b"?" * len(key))] if other else []
    try:
        write(path, files, form)
    except ValueError:  # ustar cannot hold every long name
        return
    expected = library_samples(path)
    assert raw(WebDataset(path), tmp_path) == expected
    assert len(expected) >= len(samples)


def test_sizes_in_base_256_and_members_that_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a", "a/b"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        for name in ("a/b/0.txt", "a/b/0.cls", "a/b/1.txt"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"7"))
    block = bytearray(path.read_bytes())
    at = block.index(b"a/b/0.cls")
    block[at + 124 : at + 136] = b"\x80" + (1).to_bytes(11, "big")
    block[at + 148 : at + 156] = b" " * 8
    block[at + 148 : at + 156] = b"%06o\0 " % sum(block[at : at + 512])
    path.write_bytes(block)
    assert raw(WebDataset(path), tmp_path) == library_samples(path)
    assert [sample["cls"] for sample in contents(WebDataset(path), tmp_path) if "cls" in sample] == [7]


def test_headers_are_read_once(tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.tar", [(f"{number}.txt", b"x")])
    first = WebDataset(tmp_path)
    assert "reading the headers of tars: 3 samples" in capfd.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 3
    again = WebDataset(tmp_path)
    assert capfd.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    assert again.fingerprint() == first.fingerprint()
    write(tmp_path / "1.tar", [("1.txt", b"x"), ("2.txt", b"y" * 20000)])  # changed: read anew
    changed = WebDataset(tmp_path)
    assert changed.counts.tolist() == [1, 2, 1]
    assert changed.fingerprint() != first.fingerprint()


def test_a_cache_that_cannot_be_written_or_is_cleared(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tar", [("a.txt", b"1"), ("b.txt", b"2")])
    source = WebDataset(path)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])  # cut off: made anew
    assert WebDataset(path).counts.tolist() == [2]
    kept.unlink()
    with pytest.raises(FetchError, match=r"the index of a\.tar .* Open the data set anew"):
        source.locate(0, np.arange(2))
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))  # no folder
    assert [sample["txt"] for sample in contents(WebDataset(path), tmp_path)] == ["1", "2"]


def test_a_tar_changed_behind_the_index_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("a.txt", b"1" * 600), ("b.txt", b"2" * 600)])
    source = WebDataset(path)
    records = source.locate(0, np.arange(2)).tolist()
    for files in (
        [("b.txt", b"1" * 600), ("a.txt", b"2" * 600)],
        [("a.txt", b"1" * 601), ("b.txt", b"2" * 599)],
        [("a.txt", b"1" * 100), ("a.cls", b"2"), ("b.txt", b"2" * 99)],
    ):
        write(path, files)
        with pytest.raises(CorruptError, match=r"sample 0 of .*a\.tar was read"):
            read(source, 0, path, 0, records[0])
        with pytest.raises(CorruptError, match=r"sample 1 of .*a\.tar was read"):
            read(source, 0, path, 1, records[1])
    write(path, [("a.txt", b"1" * 600), ("b.txt", b"2" * 600)], mtime=1)  # same names and sizes, another day
    with pytest.raises(CorruptError, match="its headers are not those"):
        read(source, 0, path, 0, records[0])
    os.truncate(path, 1000)
    with pytest.raises(CorruptError, match="the file ends 112 bytes before it does"):
        read(source, 0, path, 0, records[0])


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_that_is_cut_off_anywhere(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "whole", [("d" * 90 + "/" + "n" * 90 + ".txt", b"1" * 600), ("b.txt", b"2")], form)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in [*range(0, end, 256), end, -(-end // 512) * 512]:
        cut = tmp_path / f"{length}.tar"
        cut.write_bytes(whole[:length])
        with pytest.raises(CorruptError, match=rf"{length}\.tar was read at byte"):
            WebDataset(cut)


def test_a_flipped_byte_in_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "whole", [("é" * 80 + ".txt", b"1" * 600), ("b.txt", b"2")], "pax")
    whole = path.read_bytes()
    for at in [*range(0, 500, 23), *range(512, 700, 23), 1024 + 124]:
        flipped = bytearray(whole)
        flipped[at] ^= 0x11
        bad = tmp_path / f"{at}.tar"
        bad.write_bytes(flipped)
        try:
            found = raw(WebDataset(bad), tmp_path)
        except CorruptError:
            continue
        assert 512 <= at < 1024, at  # only the text of a long name has no checksum in a tar
        assert [sample["txt"] for sample in found] == [b"1" * 600, b"2"]


@pytest.mark.parametrize("name", ["/etc/passwd.txt", "../up.txt", "a/../../up.txt"])
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_names_that_lead_out(name: str, form: str, tmp_path: Path) -> None:
    for long in ("", "x" * 120):
        with pytest.raises(CorruptError, match="leads out of its folder"):
            WebDataset(write(tmp_path / f"{long[:1]}.tar", [("a.txt", b""), (name + long, b"")], form))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "of an unknown kind"),
    ],
)
def test_members_that_are_no_plain_files(kind: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=f"'a.txt' is {said}, not a plain file"):
        WebDataset(write(tmp_path / "a.tar", [("a.txt", b"")], type=kind, linkname="b.txt"))


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none there ends in \.tar"):
        WebDataset(tmp_path)
    with pytest.raises(FetchError, match=r"no\.tar"):
        WebDataset(tmp_path / "no.tar")
    with pytest.raises(DataError, match="there is no file of that name"):
        WebDataset(tmp_path / "*.tar")
    with pytest.raises(DataError, match=r"a\.tar\.gz.*Unpack it"):
        WebDataset(tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match="no file in them has an extension"):
        WebDataset(write(tmp_path / "a.tar", [("a", b"")]))
    with pytest.raises(CorruptError, match=r"sample 'a' has the field 'txt' twice"):
        WebDataset(write(tmp_path / "b.tar", [("a.txt", b""), ("a.TXT", b"")]))
    with pytest.raises(DataError, match="they lie in no common folder"):
        WebDataset(["s3://one/a.tar", "s3://two/a.tar"])


def test_folders_lists_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / split / f"{number}.tar" for split in ("train", "val") for number in range(2)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        write(path, [(f"{path.parent.name}-{path.stem}.txt", b"")])
    monkeypatch.chdir(tmp_path)
    everything = WebDataset(tmp_path)
    for given_ in (paths, "{train,val}/{0..1}.tar", "*/*.tar", f"file://{tmp_path}/{{train,val}}/{{0..1}}.tar", "."):
        source = WebDataset(given_)
        assert (source.root, source.fingerprint()) == (str(tmp_path), everything.fingerprint())
    assert [sample.key for sample in contents(everything, tmp_path)] == ["train-0", "train-1", "val-0", "val-1"]
    assert WebDataset(["val/1.tar"]).root == str(tmp_path / "val")


def test_in_an_object_store(tmp_path: Path) -> None:
    """In windows: files longer than one, and headers across the end of one."""
    rng = np.random.default_rng(0)
    files = [
        (f"{number}.{end}", rng.bytes(int(rng.integers(1, 700_000)))) for number in range(12) for end in ("a", "b")
    ]
    path = write(tmp_path / "a.tar", files, "pax", mtime=1.5)
    url = f"memory://{uuid.uuid4()}"
    open_root(url).put("a.tar", path.read_bytes())
    remote, local = WebDataset(url), WebDataset(path)
    assert remote.counts.tolist() == [12]
    assert remote.shard(0) == local.shard(0)
    assert (remote.locate(0, np.arange(12)) == local.locate(0, np.arange(12))).all()

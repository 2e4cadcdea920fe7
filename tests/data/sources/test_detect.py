"""Is it found out what was given as data, and said what to do where it cannot be?"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image
from torch.utils.data import TensorDataset

from leyden.data import MDS, MapStyle, Parquet, Shards, WebDataset, write_shards
from leyden.data.errors import DataError
from leyden.data.sources import open_source
from leyden.data.tiers.remote import open_root
from tests.data.sources.reading import contents
from tests.data.sources.test_webdataset import library_samples, write

MADE = Path(__file__).parent / "mds"


def test_folders_and_files(tmp_path: Path) -> None:
    write_shards([{"n": 1}, {"n": 2}], tmp_path / "native", workers=0, progress=False)
    (tmp_path / "tars").mkdir()
    write(tmp_path / "tars" / "7.tar", [("a.txt", b"")])
    (tmp_path / "tables" / "train").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "tables" / "train" / "0.parquet")
    shutil.copytree(tmp_path / "tars", tmp_path / "both")
    shutil.copytree(tmp_path / "tables", tmp_path / "both", dirs_exist_ok=True)  # as img2dataset does
    kinds = {
        "native": Shards,
        "native/dataset.json": Shards,
        "tars": WebDataset,
        "tars/7.tar": WebDataset,
        "tars/{7..7}.tar": WebDataset,
        "tars/*.tar": WebDataset,
        "both": WebDataset,
        "tables": Parquet,
        "tables/train/0.parquet": Parquet,
    }
    for path, kind in kinds.items():
        assert type(open_source(tmp_path / path)) is kind, path
        assert type(open_source(f"file://{tmp_path}/{path}")) is kind, path
    assert type(open_source(MADE / "plain")) is type(open_source(MADE / "plain" / "index.json")) is MDS
    assert type(open_source([tmp_path / "tars" / "7.tar"])) is WebDataset


def test_object_stores(tmp_path: Path) -> None:
    write_shards([{"n": 1}, {"n": 2}], tmp_path / "native", workers=0, progress=False)
    write(tmp_path / "a.tar", [("a.txt", b"")])
    pq.write_table(pa.table({"a": list(range(100_000))}), tmp_path / "a.parquet")
    pa.feather.write_feather(pa.table({"a": [1, 2]}), tmp_path / "b.arrow", "uncompressed")
    for folder, kind, count in [
        (tmp_path / "native", Shards, 2),
        (MADE / "zstd", MDS, 7),
        (tmp_path / "a.tar", WebDataset, 1),
        (tmp_path / "a.parquet", Parquet, 100_000),
        (tmp_path / "b.arrow", Parquet, 2),
    ]:
        url = f"memory://{uuid.uuid4()}"
        for path in folder.iterdir() if folder.is_dir() else [folder]:
            open_root(url).put(path.name, path.read_bytes())
        source = open_source(url)
        assert (type(source), source.counts.sum()) == (kind, count)
        assert source.fingerprint() == open_source(folder).fingerprint()


def test_a_plain_http_server_that_knows_no_ranges(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"{number}.tar", [(f"{n}.txt", bytes(n)) for n in range(50)])
    pq.write_table(pa.table({"a": list(range(100_000))}), tmp_path / "a.parquet")
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert open_source(f"{url}/{{0..1}}.tar").counts.tolist() == [50, 50]
            assert open_source(f"{url}/a.parquet").counts.tolist() == [100_000]
            with pytest.raises(DataError, match="plain HTTP cannot"):
                open_source(url)
        finally:
            server.shutdown()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The test's output is not for this."""


def test_what_python_has(tmp_path: Path) -> None:
    """torch's data sets, Hugging Face's and lists."""

    class HuggingFaceLike:
        """Its rows are dicts; the index may be NumPy's or a slice."""

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"text": "x" * index, "image": Image.new("RGB", (index + 1, 1))}

    tensors = TensorDataset(torch.arange(6).reshape(3, 2), torch.tensor([0, 1, 2]))
    rows = list(contents(open_source(tensors), tmp_path))
    assert [(row[0].tolist(), int(row[1])) for row in rows] == [([0, 1], 0), ([2, 3], 1), ([4, 5], 2)]
    found = list(contents(open_source(HuggingFaceLike()), tmp_path))
    assert [(row["text"], row["image"].size) for row in found] == [("", (1, 1)), ("x", (2, 1)), ("xx", (3, 1))]
    assert list(contents(open_source(["a.tar of words", "b"]), tmp_path)) == ["a.tar of words", "b"]
    assert list(contents(open_source(np.arange(3)), tmp_path)) == [0, 1, 2]
    source = MapStyle([1])
    assert open_source(source) is source


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    class Stream:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

    with pytest.raises(DataError, match=r"a Stream was given.*write_shards first"):
        open_source(Stream())
    with pytest.raises(DataError, match="there is no such file or folder"):
        open_source(tmp_path / "none")
    with pytest.raises(DataError, match="there is nothing"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"there lie 1 \.txt.*\*\.parquet"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="a file of another kind"):
        open_source(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="files of several kinds"):
        open_source([tmp_path / "a.tar", tmp_path / "b.parquet"])
    for number in range(3):
        (tmp_path / f"{number}.JPG").touch()
    with pytest.raises(DataError, match=r"most of them single pictures\. Pack them once: leyden data convert"):
        open_source(tmp_path)
    (tmp_path / "leyden-unfinished.json").touch()
    with pytest.raises(DataError, match="write_shards has not finished it"):
        open_source(tmp_path)


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [
        {"txt": "ü" * n, "cls": n, "x.npy": np.arange(n), "json": [n], "raw": bytes(n)} for n in range(5)
    ]
    write_shards(given, tmp_path / "native", workers=0, progress=False)
    (path,) = (tmp_path / "native").glob("*.tar")
    decode = webdataset.autodecode.Decoder([])
    for read, true in zip(map(decode, library_samples(path)), given, strict=True):
        assert {"txt", "cls", "json", "raw.bin", "x.npy"} == set(read) - {"__key__"}
        assert (read["txt"], read["cls"], read["json"], read["raw.bin"]) == (
            true["txt"],
            true["cls"],
            true["json"],
            true["raw"],
        )
        assert np.array_equal(read["x.npy"], true["x.npy"])


def test_a_sidecar_beside_a_tar_is_used_and_must_fit(tmp_path: Path) -> None:
    write_shards([{"n": n} for n in range(4)], tmp_path / "native", workers=0, progress=False)
    (path,) = (tmp_path / "native").glob("*.tar")
    plain, indexed = WebDataset(shutil.copy(path, tmp_path)), WebDataset(path)
    one, two = (source.locate(0, np.arange(4)) for source in (plain, indexed))
    assert (one["offset"] == two["offset"]).all()
    assert (one["crc32c"] < 0).all()
    assert (two["crc32c"] >= 0).all()
    assert [sample["n.cls"] for sample in contents(indexed, tmp_path)] == [0, 1, 2, 3]
    assert indexed.shard(0).sha256 == Shards(tmp_path / "native").shard(0).sha256
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(DataError, match="the index beside it is of a tar of"):
        WebDataset(path)

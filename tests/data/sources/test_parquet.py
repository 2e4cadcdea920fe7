"""Are rows of Parquet and Arrow files what was stored, in any order, and never those of a damaged file?"""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from leyden.data.errors import CorruptError, DataError
from leyden.data.sources.parquet import Parquet
from tests.data.sources.reading import bring, contents, same

ROWS = 23


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def row(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "half": number / 2,
        "yes": number % 2 == 0,
        "text": "ü" * number if number % 5 else None,
        "raw": bytes([number]) * number,
        "image": {"bytes": png(number), "path": f"{number}.png"},
        "tokens": list(range(number)),
        "matrix": [[number, 1.5], [2.0, 3.0]],
        "ragged": [[1], [1, 2]],
        "words": ["a", "b"],
        "missing": [1, None],
        "day": datetime.date(2024, 1, 1 + number),
        "price": Decimal(number),
        "boxes": [{"x": number}],
        "label": "cat" if number % 2 else "dog",
    }


SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("half", pa.float32()),
        ("yes", pa.bool_()),
        ("text", pa.string()),
        ("raw", pa.binary()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("tokens", pa.list_(pa.int32())),
        ("matrix", pa.list_(pa.list_(pa.float32(), 2), 2)),
        ("ragged", pa.list_(pa.list_(pa.int16()))),
        ("words", pa.list_(pa.string())),
        ("missing", pa.list_(pa.int8())),
        ("day", pa.date32()),
        ("price", pa.decimal128(10, 2)),
        ("boxes", pa.list_(pa.struct([("x", pa.int64())]))),
        ("label", pa.dictionary(pa.int8(), pa.string())),
    ]
)


def true(number: int) -> dict[str, Any]:
    return {
        **row(number),
        "image": np.full((2, 3, 3), number, np.uint8),
        "tokens": np.arange(number, dtype=np.int32),
        "matrix": np.array([[number, 1.5], [2.0, 3.0]], np.float32),
    }


def table(start: int = 0, stop: int = ROWS) -> pa.Table:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(ROWS * 4, dtype=np.int16).reshape(-1, 2, 2))
    rows = pa.Table.from_pylist([row(number) for number in range(ROWS)], schema=SCHEMA)
    return rows.append_column("tensor", tensor).slice(start, stop - start)


def _stream(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), rows.schema) as out:
        out.write_table(rows, max_chunksize=5)


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "zstd.parquet": lambda rows, path: pq.write_table(rows, path, row_group_size=5, compression="zstd"),
    "checked.parquet": lambda rows, path: pq.write_table(rows, path, row_group_size=9, write_page_checksum=True),
    "file.arrow": lambda rows, path: pa.feather.write_feather(rows, path, "uncompressed", chunksize=4),
    "stream.arrow": _stream,
    "lz4.feather": lambda rows, path: pa.feather.write_feather(rows, path, "lz4", chunksize=4),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_of_several_files(kind: str, tmp_path: Path) -> None:
    for number, (start, stop) in enumerate([(0, 14), (14, 14), (14, ROWS)]):
        WRITERS[kind](table(start, stop), tmp_path / f"{number}-{kind}")
    source = Parquet(tmp_path)
    assert source.counts.tolist() == [14, 9]  # files without rows are left out
    read = list(contents(source, tmp_path / "unpacked"))
    for number, found in enumerate(read):
        for name, value in true(number).items():
            assert same(found[name], value), (number, name, found[name], value)
        assert same(found["tensor"], np.arange(4 * number, 4 * number + 4, dtype=np.int16).reshape(2, 2))
    assert read[7].picture("image").size == (2, 3)
    assert source.shard(0).packed == (kind not in {"file.arrow", "stream.arrow"})


def test_arrays_can_be_written_to_and_nothing_is_read_that_is_not_wanted(tmp_path: Path) -> None:
    WRITERS["file.arrow"](table(), tmp_path / "a.arrow")
    (*_, last) = contents(Parquet(tmp_path / "a.arrow", columns=["tokens", "raw"]), tmp_path / "unpacked")
    assert list(last) == ["raw", "tokens"]
    last["tokens"][0] = 5
    assert last.key == f"a.arrow:{ROWS - 1}"


@pytest.mark.parametrize("kind", ["zstd.parquet", "stream.arrow"])
def test_lengths_of_texts_and_lists(kind: str, tmp_path: Path) -> None:
    for number, (start, stop) in enumerate([(0, 14), (14, ROWS)]):
        WRITERS[kind](table(start, stop), tmp_path / f"{number}-{kind}")
    source = Parquet(tmp_path)
    for name, expected in {
        "text": [number if number % 5 else 0 for number in range(ROWS)],
        "raw": [*range(ROWS)],
        "tokens": [*range(ROWS)],
        "matrix": [2] * ROWS,
    }.items():
        found = source.lengths(name)
        assert found is not None
        assert found.tolist() == expected
    assert source.lengths("id") is source.lengths("none") is None


def test_a_picture_that_only_has_a_path(tmp_path: Path) -> None:
    kind = SCHEMA.field("image").type
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": None, "path": "x.png"}, None], kind)}), tmp_path / "a.parquet"
    )
    one, two = contents(Parquet(tmp_path), tmp_path / "unpacked")
    assert (one["image"], two["image"]) == ({"bytes": None, "path": "x.png"}, None)


def test_columns_must_be_in_every_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "text": ["x"]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"column 'text' of .*; 1\.parquet has a, b"):
        Parquet(tmp_path)
    assert Parquet(tmp_path, columns=["a"]).counts.tolist() == [1, 1]
    with pytest.raises(DataError, match=r"column 'txt'.*text"):
        Parquet(tmp_path, columns=["txt"])


def test_no_rows_and_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none there ends in \.parquet or"):
        Parquet(tmp_path)
    pq.write_table(table(0, 0), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="its tables have no rows"):
        Parquet(tmp_path)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"leyden\[parquet\]"):
        Parquet(tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_files_that_are_cut_off(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    WRITERS[kind](table(), path)
    raw = path.read_bytes()
    source = Parquet(tmp_path)
    for length in (len(raw) - 9, len(raw) // 2, 20, 0):
        path.write_bytes(raw[:length])
        with pytest.raises(CorruptError, match=str(path)):
            Parquet(tmp_path)
        with pytest.raises(CorruptError, match=str(path)):  # cut off since
            source.arrived(0, path) if source.shard(0).packed else source.open(0, path)


def test_a_flipped_byte_in_a_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path, write_page_checksum=True, compression="none", use_dictionary=False)
    source, raw = Parquet(path), bytearray(path.read_bytes())
    raw[raw.index(row(3)["raw"] + b"\4\0\0\0")] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptError, match=r"(?i)crc"):
        bring(source, 0, tmp_path / "unpacked")


def test_offsets_in_an_arrow_file_that_lead_out_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    WRITERS["file.arrow"](pa.table({"text": ["abc", "de", "f"]}), path)
    source, raw = Parquet(path), path.read_bytes()
    path.write_bytes(raw.replace(np.array([0, 3, 5, 6], "<i4").tobytes(), np.array([0, 3, 2**30, 6], "<i4").tobytes()))
    with pytest.raises(CorruptError, match=r"rows 0 and on of .*a\.arrow"):
        source.open(0, path).read(1, None)


def test_the_fingerprint_is_about_the_data(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    first = Parquet(tmp_path).fingerprint()
    assert Parquet(tmp_path).fingerprint() == first
    pq.write_table(table(0, 5), tmp_path / "a.parquet")
    assert Parquet(tmp_path).fingerprint() != first

"""Are rows read without the others those of the array?"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import zstandard

from leyden.data.decode import Rows, clock, pack_rows
from leyden.data.errors import DataError, SampleError


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1216, 1920), "u1"),
        ((300, 700), "<u2"),
        ((40, 30, 3), "<f4"),
        ((200_000,), "<i8"),
        ((1, 1), "u1"),
        ((0, 5), "u1"),
    ],
)
def test_windows(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 19, shape).astype(dtype)
    raw = pack_rows(array)
    rows = Rows(raw)
    assert (rows.shape, rows.dtype) == (shape, np.dtype(dtype))
    np.testing.assert_array_equal(rows.decode(), array)
    for _ in range(20):
        start, stop = sorted(rng.integers(0, shape[0] + 1, 2).tolist())
        np.testing.assert_array_equal(rows.rows(start, stop), array[start:stop])
        if len(shape) > 1:
            left, right = sorted(rng.integers(0, shape[1] + 1, 2).tolist())
            found = Rows(memoryview(raw)).crop(start, left, stop - start, right - left)
            np.testing.assert_array_equal(found, array[start:stop, left:right])
            assert found.flags.c_contiguous
            assert found.flags.writeable


def test_any_zstd_makes_the_npy_of_it() -> None:
    array = np.arange(300_000, dtype=np.uint16).reshape(500, 600)
    with zstandard.ZstdDecompressor().stream_reader(pack_rows(array), read_across_frames=True) as stream:
        np.testing.assert_array_equal(np.load(io.BytesIO(stream.read())), array)


def test_only_the_bands_that_are_touched_are_read() -> None:
    raw = bytearray(pack_rows(np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)))
    raw[len(raw) // 2 - 2000 : len(raw) // 2 + 2000] = bytes(4000)
    assert Rows(bytes(raw)).crop(0, 0, 100, 100).shape == (100, 100)
    with pytest.raises(SampleError, match="packed by rows"):
        Rows(bytes(raw)).decode()


def test_what_lies_outside() -> None:
    rows = Rows(pack_rows(np.zeros((10, 20), np.uint8)))
    for window in ((0, 15, 5, 6), (-1, 0, 1, 1), (6, 0, 5, 1)):
        with pytest.raises(SampleError, match=r"the array has the shape \(10, 20\)"):
            rows.crop(*window)
    with pytest.raises(SampleError, match="rows 5:11"):
        rows.rows(5, 11)


@pytest.mark.parametrize("array", [np.array(1), np.array([{}])])
def test_what_has_no_rows(array: Any) -> None:
    with pytest.raises(DataError, match="one axis or more"):
        pack_rows(array)


def test_broken_bytes_raise_or_are_right() -> None:
    array = np.random.default_rng(0).integers(0, 19, (300, 400), dtype=np.uint8)
    good, rng, raised = pack_rows(array), np.random.default_rng(1), 0
    for turn in range(2000):
        raw = bytearray(good)
        if turn % 3 == 0:
            raw = raw[: rng.integers(len(raw))]
        else:  # the headers and the table most of all
            at = int(rng.integers(200)) if turn % 3 == 1 else len(raw) - 1 - int(rng.integers(60))
            raw[at] ^= 1 << int(rng.integers(8))
        try:
            np.testing.assert_array_equal(Rows(bytes(raw)).crop(10, 10, 200, 200), array[10:210, 10:210])
        except SampleError:
            raised += 1
    assert raised > 1200


def test_the_clock_counts_them() -> None:
    clock.read()
    Rows(pack_rows(np.zeros((100, 50), np.uint8))).crop(1, 2, 10, 20)
    spent = clock.read()
    assert (spent.pictures, spent.stored, spent.used) == (1, 5000, 200)

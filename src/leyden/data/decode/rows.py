"""How are some rows of a large array read without the others? Masks and depth, compressed in bands.

The bytes are an ordinary .npy in Zstandard frames: its header, then one frame for every 128 KiB of rows, then the seek
table of Zstandard's seekable format. `zstd -d` makes the .npy of it. A window costs the bands it touches: for 608×960
out of a class mask of 1216×1920 0.4 ms of CPU time, where a PNG takes 2.3 (palette) to 7 ms (docs/adr/0007).
"""

from __future__ import annotations

import io
import struct
import threading
from time import perf_counter
from typing import Any, Final, final

import numpy as np
import zstandard
from numpy.typing import NDArray

from leyden.data.decode import clock
from leyden.data.decode.windows import Window
from leyden.data.errors import DataError, SampleError

_BAND_BYTES: Final = 1 << 17
_SKIPPED: Final = 0x184D2A5E  # frames that decoders pass over; here the table
_SEEKABLE: Final = 0x8F92EAB1  # the last four bytes
_local = threading.local()  # of a decompressor, which is for one thread


def pack_rows(array: NDArray[Any], *, level: int = 3) -> bytes:
    """An array (any shape but (), any plain dtype) as bytes for `Rows`. `level` is Zstandard's.

    Raises DataError for what cannot be cut into rows or holds Python objects.
    """
    if array.ndim == 0 or array.dtype.hasobject:
        raise DataError(
            asked="an array was to be packed by rows",
            found=f"it has shape {array.shape} and dtype {array.dtype}",
            do="Pack arrays of numbers with one axis or more.",
        )
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    rows = max(1, _BAND_BYTES // max(1, array[:1].nbytes))
    contents = [head.getvalue(), *(array[i : i + rows].tobytes() for i in range(0, len(array), rows))]
    compressor = zstandard.ZstdCompressor(level, write_checksum=True)
    frames = [compressor.compress(content) for content in contents]
    table = b"".join(struct.pack("<II", len(f), len(c)) for f, c in zip(frames, contents, strict=True))
    size = len(table) + 9
    return b"".join(
        [*frames, struct.pack("<II", _SKIPPED, size), table, struct.pack("<IBI", len(frames), 0, _SEEKABLE)]
    )


@final
class Rows:
    """An array that `pack_rows` packed; nothing is decompressed before a method is called.

    Raises SampleError for bytes that are something else or broken.
    """

    __slots__ = ("_ends", "_raw", "_rows", "_sizes", "dtype", "shape")

    def __init__(self, raw: bytes | memoryview) -> None:
        from leyden.data.sources.sample import array_head  # which imports pictures from here

        self._raw = memoryview(raw)
        try:
            count, kind, magic = struct.unpack("<IBI", self._raw[-9:])
            if magic != _SEEKABLE or kind or not 1 <= count <= len(raw) // 8:
                raise ValueError("it has no seek table")
            table = np.frombuffer(self._raw[-9 - 8 * count : -9], "<u4").reshape(count, 2).astype(np.int64)
            self._sizes = table[:, 1]
            self._ends = np.cumsum(table[:, 0])
            head = array_head(self._frame(0))
            self.shape, self.dtype = head.shape, head.dtype
            row_bytes = head.dtype.itemsize * int(np.prod(head.shape[1:], dtype=np.int64))
            self._rows = int(self._sizes[1]) // row_bytes if count > 1 else 1
            if head.fortran or self._sizes[1:].sum() != row_bytes * head.shape[0] or self._rows * row_bytes < 1 < count:
                raise ValueError("its seek table and its shape do not agree")
            if (self._sizes[1:-1] != self._rows * row_bytes).any():
                raise ValueError("its bands are not of one size")
        except Exception as error:  # a header is parsed as Python by NumPy, which raises many things
            raise _broken(error) from error

    def decode(self) -> NDArray[Any]:
        """All of it."""
        return self.rows(0, self.shape[0])

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start:stop, a new array."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise _outside(f"rows {start}:{stop}", self.shape)
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._fill(out, start, (slice(None),))
        return out

    def crop(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """A window of the first two axes, a new array. The same order of arguments as `Picture.crop`."""
        window = Window(top, left, height, width)
        if len(self.shape) < 2 or min(window) < 0 or top + height > self.shape[0] or left + width > self.shape[1]:
            raise _outside(f"a crop of {height}×{width} at ({top}, {left})", self.shape)
        out = np.empty((height, width, *self.shape[2:]), self.dtype)
        self._fill(out, top, (slice(None), slice(left, left + width)))
        return out

    def _fill(self, out: NDArray[Any], top: int, columns: tuple[slice, ...]) -> None:
        """`out` becomes the rows from `top` on, of each the `columns`."""
        began, stop = perf_counter(), top + len(out)
        try:
            for band in range(top // self._rows, -(-stop // self._rows) if out.size else 0):
                first = band * self._rows
                rows = np.frombuffer(self._frame(band + 1), self.dtype).reshape(-1, *self.shape[1:])
                begin, end = max(top, first), min(stop, first + len(rows))
                out[begin - top : end - top] = rows[begin - first : end - first][columns]
        except (ValueError, zstandard.ZstdError) as error:
            raise _broken(error) from error
        clock.add(began, int(np.prod(self.shape[:2])), int(np.prod(out.shape[:2])))

    def _frame(self, number: int) -> bytes:
        size, end = int(self._sizes[number]), int(self._ends[number])
        frame = self._raw[int(self._ends[number - 1]) if number else 0 : end]
        if zstandard.frame_content_size(frame) != size:  # before memory is asked for
            raise ValueError(f"frame {number} and the seek table do not agree")
        if not hasattr(_local, "zstd"):
            _local.zstd = zstandard.ZstdDecompressor()
        return bytes(_local.zstd.decompress(frame))


def _outside(asked: str, shape: tuple[int, ...]) -> SampleError:
    return SampleError(
        asked=asked, found=f"the array has the shape {shape}", do="Ask `shape` first, or draw a random_window of it."
    )


def _broken(error: Exception) -> SampleError:
    return SampleError(
        asked="an array packed by rows was to be read",
        found=f"{error}",
        do="Write the sample again with pack_rows, or read the field by what wrote it.",
    )

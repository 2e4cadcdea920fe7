"""Can a window be cut out of the compressed bytes? Of a JPEG with restart markers it can; here they are put in."""

from __future__ import annotations

import math
from typing import Final

from leyden.data.decode.fused import backend, fused
from leyden.data.decode.header import jpeg_blocks_across, with_notes_of
from leyden.data.errors import DataError

_EVERY: Final = 4  # blocks: of 1, 2, 4, 8, 16 the last before crops of 224 out of 512 get slower (docs/adr/0007)


def tiled(raw: bytes | memoryview) -> bytes:
    """The same picture so that a window costs only its own bytes; what is no JPEG comes back as it is.

    No pixel changes: the coefficients are written again, in one pass, with optimal Huffman codes and a restart marker
    every few blocks. Usually 3–5 % smaller; any JPEG decoder reads it. EXIF, profile and comments are kept.
    Raises DataError without the fused decoder (`backend()`), SampleError for a JPEG that is broken.
    """
    across = jpeg_blocks_across(raw)
    if not across:
        return bytes(raw)
    decoder = fused()
    if decoder is None:
        raise DataError(
            asked="JPEGs were to be written so that windows can be cut out",
            found=f"the compiled decoder is not there ({backend()})",
            do="Install a C compiler (cc) and Pillow's wheel, or write them as they are.",
        )
    return with_notes_of(raw, decoder.tile(raw, interval(across)))


def interval(across: int) -> int:
    """Blocks between two markers: they must divide a row."""
    divisors = (every for every in range(1, across + 1) if across % every == 0)
    return min(divisors, key=lambda every: abs(math.log(every / _EVERY)))

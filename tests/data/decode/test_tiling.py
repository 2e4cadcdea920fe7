"""Is a tiled JPEG the same picture, and does a window of it cost only its own bytes?"""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leyden.data.decode import Picture, tiled
from leyden.data.decode.header import jpeg_blocks_across
from leyden.data.decode.tiling import interval
from leyden.data.decode.windows import random_window
from leyden.data.errors import DataError, SampleError
from tests.data.decode.pictures import by_pillow, encoded, scene


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
    ids=str,
)
def test_it_is_the_same_picture(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    mode = options.get("mode", "RGB")
    for height, width in ((512, 384), (203, 368), (61, 45), (33, 17), (16, 16), (1, 1), (48, 400)):
        raw = encoded(
            scene(height, width).convert(mode), quality=85, **{k: v for k, v in options.items() if k != "mode"}
        )
        whole, other = by_pillow(raw), tiled(raw)
        assert Picture(other).size == (height, width)
        np.testing.assert_array_equal(by_pillow(other), whole)
        np.testing.assert_array_equal(Picture(other).decode(), whole)
        for _ in range(25):
            size = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
            top, left, *_ = window = random_window((height, width), size, rng)
            want = whole[top : top + size[0], left : left + size[1]]
            np.testing.assert_array_equal(Picture(other).crop(*window), want)
            if mode != "CMYK" and min(size) >= 16:  # also where libjpeg scales
                small = Picture(other).resized_crop(window, (size[0] // 5, size[1] // 5))
                np.testing.assert_array_equal(small, Picture(raw).resized_crop(window, (size[0] // 5, size[1] // 5)))


def test_a_window_costs_less() -> None:
    raw = encoded(scene(768, 1024), quality=90)
    other = tiled(raw)
    assert len(other) < len(raw)

    def cost(data: bytes) -> float:
        def once() -> float:
            start = time.process_time()
            for _ in range(10):
                Picture(data).crop(300, 400, 224, 224)
            return time.process_time() - start

        return min(once() for _ in range(5))

    assert cost(other) < 0.6 * cost(raw)  # 0.25 where nothing else runs


def test_what_stands_beside_the_picture_stays() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a street"
    raw = encoded(scene(40, 50), exif=exif, icc_profile=b"profile " * 100, comment="by hand", dpi=(72, 72))
    was, now = Image.open(io.BytesIO(raw)), Image.open(io.BytesIO(tiled(raw)))
    assert now.getexif()[0x010E] == "a street"
    assert [now.info[name] for name in ("icc_profile", "comment", "dpi")] == [
        was.info[name] for name in ("icc_profile", "comment", "dpi")
    ]
    assert tiled(tiled(raw)) == tiled(raw)


def test_other_formats_come_back_as_they_are() -> None:
    for raw in (encoded(scene(20, 20), "PNG"), b"", b"text"):
        assert tiled(raw) == raw


def test_a_broken_one_is_refused() -> None:
    raw = encoded(scene(80, 80))
    with pytest.raises(SampleError, match=r"libjpeg says: .*[Pp]remature end"):
        tiled(raw[: len(raw) // 2])


def test_without_the_compiled_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leyden.data.decode.tiling.fused", lambda: None)
    with pytest.raises(DataError, match=r"windows can be cut out.*Install a C compiler"):
        tiled(encoded(scene(20, 20)))


def test_markers_divide_a_row() -> None:
    assert [interval(across) for across in (1, 2, 21, 23, 24, 31, 32, 120)] == [1, 2, 3, 1, 4, 1, 4, 4]
    assert jpeg_blocks_across(encoded(scene(20, 100), subsampling=2)) == 7
    assert jpeg_blocks_across(encoded(scene(20, 100), subsampling=0)) == 13
    assert jpeg_blocks_across(encoded(scene(20, 100).convert("L"))) == 13

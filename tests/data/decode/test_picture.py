"""Are the pixels of a window those that a full decode has there?"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leyden.data.decode import Picture, Window, clock, fused
from leyden.data.decode.windows import random_window
from leyden.data.errors import SampleError
from tests.data.decode.pictures import by_pillow, encoded, scene

JPEGS: dict[str, dict[str, Any]] = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "progressive": {"subsampling": 2, "progressive": True},
    "restart-rows": {"subsampling": 2, "restart_marker_rows": 1},
    "restart-blocks": {"subsampling": 1, "restart_marker_blocks": 3},
    "optimized": {"optimize": True, "quality": 98},
}
SIZES = [(512, 384), (61, 45), (33, 17), (16, 16), (2, 3), (1, 1)]


@pytest.fixture(params=["fused", "pillow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both decoders; the fused one must be there where CI runs."""
    if request.param == "pillow":
        monkeypatch.setattr("leyden.data.decode.picture.fused", lambda: None)
    else:
        assert fused.fused() is not None, fused.backend()
    return str(request.param)


@pytest.mark.parametrize("kind", [*JPEGS, "grey", "cmyk"])
def test_a_window_is_cut_from_the_whole(way: str, kind: str) -> None:
    rng = np.random.default_rng(1)
    for height, width in SIZES:
        image = scene(height, width)
        image = image.convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"))
        raw = encoded(image, **({"quality": 85} | JPEGS.get(kind, {})))
        whole = by_pillow(raw)
        assert Picture(raw).size == (height, width)
        np.testing.assert_array_equal(Picture(raw).decode(), whole)
        np.testing.assert_array_equal(Picture(memoryview(raw)).decode(flip=True), whole[:, ::-1])
        for turn in range(12 if way == "fused" else 2):
            size = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
            top, left, *_ = window = random_window((height, width), size, rng)
            part = Picture(raw).crop(*window, flip=turn % 2 == 1)
            want = whole[top : top + size[0], left : left + size[1]]
            np.testing.assert_array_equal(part, want[:, ::-1] if turn % 2 else want)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ],
)
def test_other_formats(kind: str, mode: str, options: dict[str, Any]) -> None:
    image = scene(40, 57).convert(mode)
    picture = Picture(encoded(image, kind, **options))
    assert picture.size == (40, 57)
    want = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(picture.decode(), want)
    np.testing.assert_array_equal(picture.crop(3, 5, 20, 30), want[3:23, 5:35])


def test_sixteen_bits_keep_their_upper_eight() -> None:
    depth = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 32
    picture = Picture(encoded(Image.fromarray(depth), "PNG"))
    np.testing.assert_array_equal(picture.decode(), np.repeat((depth >> 8).astype(np.uint8)[..., None], 3, axis=2))
    np.testing.assert_array_equal(picture.plane((2, 3, 10, 20)), depth[2:12, 3:23])


def test_a_mask_gives_its_classes() -> None:
    classes = np.random.default_rng(0).integers(0, 19, (30, 40), dtype=np.uint8)
    mask = Image.fromarray(classes).convert("P")
    mask.putpalette([*range(57)])
    mask = Image.fromarray(classes, "P") if not np.array_equal(np.asarray(mask), classes) else mask
    np.testing.assert_array_equal(Picture(encoded(mask, "PNG")).plane(Window(4, 6, 8, 10)), classes[4:12, 6:16])
    np.testing.assert_array_equal(Picture(encoded(Image.fromarray(classes), "PNG")).plane(), classes)


def test_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    raw = encoded(scene(20, 30), exif=exif)
    assert Picture(raw).size == (20, 30)
    np.testing.assert_array_equal(Picture(raw).decode(), by_pillow(raw))


def test_random_crop(way: str) -> None:
    raw = encoded(scene(60, 80))
    whole = by_pillow(raw)
    rng = np.random.default_rng(3)
    top, left, height, width = random_window((60, 80), (24, 32), rng)
    crop = Picture(raw).random_crop((24, 32), np.random.default_rng(3))
    np.testing.assert_array_equal(crop, whole[top : top + height, left : left + width])
    # With a border: what torchvision's RandomCrop(padding=) gives for the same window.
    padded = np.pad(whole, ((20, 20), (20, 20), (0, 0)))
    flips = 0
    for seed in range(30):
        top, left, _, _ = random_window((60, 80), 64, np.random.default_rng(seed), pad=20)
        want = padded[top + 20 : top + 84, left + 20 : left + 84]
        found = Picture(raw).random_crop(64, np.random.default_rng(seed), pad=20, flip=0.5)
        flipped = not np.array_equal(found, want)
        np.testing.assert_array_equal(found, want[:, ::-1] if flipped else want)
        flips += flipped
    assert 6 <= flips <= 24


def test_center_crop() -> None:
    raw = encoded(scene(60, 80))
    whole = by_pillow(raw)
    np.testing.assert_array_equal(Picture(raw).center_crop((20, 30)), whole[20:40, 25:55])
    wide = Picture(raw).center_crop((80, 40))
    np.testing.assert_array_equal(wide, np.pad(whole[:, 20:60], ((10, 10), (0, 0), (0, 0))))


def test_without_scaling_a_resize_is_pillows(way: str) -> None:
    raw = encoded(scene(60, 81))
    window = Window(3, 5, 50, 70)
    part, whole = Image.open(io.BytesIO(raw)).crop((5, 3, 75, 53)), Image.open(io.BytesIO(raw))
    for height, width in ((37, 41), (37, 140), (99, 41), (120, 130), (50, 30), (40, 70)):
        found = Picture(raw).resized_crop(window, (height, width))
        if way == "fused":  # Pillow's filter, columns first; which way Pillow itself goes depends on its version
            half = part.resize((width, 50), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(found, np.asarray(half.resize((width, height), Image.Resampling.BILINEAR)))
        want = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(found - want).max() <= (way == "fused")
        np.testing.assert_array_equal(Picture(raw).resized_crop(window, (height, width), flip=True), found[:, ::-1])
    grown = np.asarray(whole.resize((100, 90), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(Picture(raw).resize(90, 100) - grown).max() <= 1


@pytest.mark.parametrize("window", [Window(0, 0, 602, 801), Window(1, 3, 301, 402), Window(7, 2, 595, 799)])
def test_scaled_decoding_is_near_a_full_decode(way: str, window: Window) -> None:
    raw = encoded(scene(602, 801), quality=95)
    for size in ((150, 200), (75, 100), (64, 48)):
        found = Picture(raw).resized_crop(window, size).astype(int)
        corners = (window.left, window.top, window.left + window.width, window.top + window.height)
        image = Image.open(io.BytesIO(raw)).crop(corners)
        want = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(found - want).mean() < 1.0, size  # of 255; the noise alone has 7


def test_random_resized_crop(way: str) -> None:
    raw = encoded(scene(120, 160))
    crop = Picture(raw).random_resized_crop((32, 48), np.random.default_rng(0), flip=0.5)
    assert crop.shape == (32, 48, 3)
    np.testing.assert_array_equal(crop, Picture(raw).random_resized_crop((32, 48), np.random.default_rng(0), flip=0.5))


@pytest.mark.parametrize(
    "act", [lambda p: p.crop(0, 0, 41, 10), lambda p: p.crop(-1, 0, 3, 3), lambda p: p.plane((0, 50, 1, 8))]
)
def test_a_crop_beyond_the_picture_is_refused(act: Any) -> None:
    with pytest.raises(SampleError, match=r"the picture has 40×57 pixels.*Ask `size` first"):
        act(Picture(encoded(scene(40, 57), "PNG")))


def test_a_random_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(SampleError, match=r"random crop of 41×10.*40×57 pixels and pad=0.*pad="):
        Picture(encoded(scene(40, 57))).random_crop((41, 10), np.random.default_rng(0))


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(raw: bytes) -> None:
    with pytest.raises(SampleError, match="Pillow says"):
        _ = Picture(raw).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_short(way: str, kind: str) -> None:
    raw = encoded(scene(64, 64), kind)
    with pytest.raises(SampleError, match="decoded"):
        Picture(raw[: len(raw) * 2 // 3]).decode()


def test_a_header_that_asks_for_too_much() -> None:
    raw = bytearray(encoded(scene(16, 16)))
    at = raw.index(b"\xff\xc0")
    raw[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(SampleError, match=r"65535×65535 pixels.*MAX_IMAGE_PIXELS"):
        Picture(bytes(raw)).crop(0, 0, 4, 4)


def test_the_clock() -> None:
    clock.read()
    Picture(encoded(scene(40, 50))).crop(0, 0, 10, 20)
    Picture(encoded(scene(40, 50), "PNG")).decode()
    spent = clock.read()
    assert (spent.pictures, spent.stored, spent.used) == (2, 4000, 2200)
    assert 0 < spent.seconds < 1
    assert clock.read() == clock.Spent()

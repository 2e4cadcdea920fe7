"""What does a crop of a JPEG cost, and a window of a mask? CPU time a sample, every way in turn, least of all rounds.

    python benchmarks/decode.py [--rounds 12]

Peers are measured where they are installed: pip install simplejpeg opencv-python-headless
"""

from __future__ import annotations

import argparse
import importlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.random import Generator
from PIL import Image

from leyden.data.decode import Picture, Rows, Window, backend, pack_rows, random_resized_window, random_window, tiled

Way = Callable[[bytes, Window], Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Samples of one size, and where to cut them."""

    name: str
    windows: list[Window]
    size: tuple[int, int] | None = None  # what a window is resized to
    ways: dict[str, tuple[Way, list[bytes]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    print(backend())
    rng = np.random.default_rng(0)
    sizes = [((512, 512), (224, 224), 40), ((375, 500), (224, 224), 40), ((1216, 1920), (608, 960), 6)]
    for whole, part, count in sizes:
        raws = [photo(*whole, seed) for seed in range(count)]
        show(crops(f"{whole[1]}×{whole[0]} → crop {part[1]}×{part[0]}", whole, part, raws, rng), rounds)
        if part[0] == part[1]:
            show(resized(f"{whole[1]}×{whole[0]} → random_resized_crop {part[0]}", whole, part, raws, rng), rounds)
    classes = [shapes(1216, 1920, seed) for seed in range(3)]
    show(planes("19 classes", classes, (608, 960), rng), rounds)
    ground = np.linspace(40_000, 500, 1216)[:, None]
    depth = [(ground + 900.0 * one + rng.normal(0, 20, one.shape)).astype(np.uint16) for one in classes]
    show(planes("16-bit depth", depth, (608, 960), rng), rounds)


def crops(name: str, whole: tuple[int, int], part: tuple[int, int], raws: list[bytes], rng: Generator) -> Case:
    ways: dict[str, tuple[Way, list[bytes]]] = {
        "leyden": (lambda raw, window: Picture(raw).crop(*window), raws),
        "leyden, tiled": (lambda raw, window: Picture(raw).crop(*window), [tiled(raw) for raw in raws]),
    }
    for peer, decode in decoders().items():
        ways[peer] = (whole_then(decode, lambda pixels: pixels.copy()), raws)
    return Case(name=name, windows=[random_window(whole, part, rng) for _ in raws], ways=ways)


def resized(name: str, whole: tuple[int, int], part: tuple[int, int], raws: list[bytes], rng: Generator) -> Case:
    def shrink(pixels: Any) -> Any:
        return np.array(Image.fromarray(pixels).resize(part[::-1], Image.Resampling.BILINEAR))

    ways: dict[str, tuple[Way, list[bytes]]] = {
        "leyden": (lambda raw, window: Picture(raw).resized_crop(window, part), raws),
        "leyden, tiled": (lambda raw, window: Picture(raw).resized_crop(window, part), [tiled(raw) for raw in raws]),
    }
    for peer, decode in decoders().items():
        ways[f"{peer} + Pillow's resize"] = (whole_then(decode, shrink), raws)
    try:
        cv2 = importlib.import_module("cv2")
        area = whole_then(
            decoders()["opencv"], lambda pixels: cv2.resize(pixels, part[::-1], interpolation=cv2.INTER_AREA)
        )
        ways["opencv + its area resize"] = (area, raws)
    except ImportError:
        pass
    return Case(name=name, windows=[random_resized_window(whole, rng) for _ in raws], ways=ways)


def whole_then(decode: Callable[[bytes], Any], act: Callable[[Any], Any]) -> Way:
    """Decode all of it, cut, go on."""
    return lambda raw, window: act(cut(decode(raw), window))


def decoders() -> dict[str, Callable[[bytes], Any]]:
    """Whole pictures, by whatever is installed."""
    found: dict[str, Callable[[bytes], Any]] = {"pillow": lambda raw: np.asarray(Image.open(io.BytesIO(raw)))}
    try:
        simplejpeg = importlib.import_module("simplejpeg")
        found["simplejpeg"] = simplejpeg.decode_jpeg
        found["simplejpeg, fast"] = lambda raw: simplejpeg.decode_jpeg(raw, fastdct=True, fastupsample=True)
    except ImportError:
        pass
    try:
        cv2 = importlib.import_module("cv2")
        cv2.setNumThreads(1)
        found["opencv"] = lambda raw: cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR_RGB)
    except ImportError:
        pass
    return found


def planes(name: str, arrays: list[Any], part: tuple[int, int], rng: Generator) -> Case:
    whole, dtype = arrays[0].shape, arrays[0].dtype
    zstd = zstandard.ZstdDecompressor()

    def plain(raw: bytes, window: Window) -> Any:
        return cut(np.frombuffer(zstd.decompress(raw), dtype).reshape(whole), window).copy()

    ways: dict[str, tuple[Way, list[bytes]]] = {
        "PNG": (lambda raw, window: Picture(raw).plane(window), [png(one) for one in arrays]),
        "one Zstandard frame": (plain, [zstandard.ZstdCompressor(3).compress(one.tobytes()) for one in arrays]),
        "rows": (lambda raw, window: Rows(raw).crop(*window), [pack_rows(one) for one in arrays]),
    }
    if dtype == np.uint8:
        palette = [png(one, palette=True) for one in arrays]
        ways["PNG, palette"] = (lambda raw, window: Picture(raw).plane(window), palette)
    name = f"{name}, {whole[1]}×{whole[0]} → {part[1]}×{part[0]}"
    return Case(name=name, windows=[random_window(whole, part, rng) for _ in arrays], ways=ways)


def show(case: Case, rounds: int) -> None:
    best = dict.fromkeys(case.ways, float("inf"))
    for _ in range(rounds):
        for name, (way, raws) in case.ways.items():
            start = time.process_time()
            for raw, window in zip(raws, case.windows, strict=True):
                way(raw, window)
            best[name] = min(best[name], (time.process_time() - start) / len(raws))
    print(f"\n| {case.name} | ms | a CPU-second | kB |\n| --- | --- | --- | --- |")
    for name, seconds in best.items():
        size = np.mean([len(raw) for raw in case.ways[name][1]]) / 1e3
        print(f"| {name} | {seconds * 1e3:.2f} | {1 / seconds:,.0f} | {size:,.0f} |")


def cut(pixels: Any, window: Window) -> Any:
    top, left, height, width = window
    return pixels[top : top + height, left : left + width]


def photo(height: int, width: int, seed: int) -> bytes:
    """Smooth colours and noise, of the size that a photograph has at quality 85."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    file = io.BytesIO()
    noisy = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(file, "JPEG", quality=85)
    return file.getvalue()


def shapes(height: int, width: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    for number in range(300):
        y, x, a, b = rng.integers(0, height), rng.integers(0, width), *rng.integers(4, 120, 2)
        inside = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
        mask[inside if number % 2 else (abs(rows - y) < a) & (abs(columns - x) < b / 4)] = rng.integers(0, 19)
    return mask


def png(mask: Any, *, palette: bool = False) -> bytes:
    image, file = Image.fromarray(mask), io.BytesIO()
    if palette:
        image = image.convert("P")
        image.putpalette([*range(57)])
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()

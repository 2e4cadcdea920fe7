"""Samples of every kind, made from their number, and the ways tests read them back."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leyden.data.shards.walk import Walk
from leyden.data.sources.native import Shards

SCHEMA = {"classes": "rows"}


class Made:
    """A map-style data set."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        return made(number)


def made(number: int) -> dict[str, Any]:
    """Sample `number`."""
    rng = np.random.default_rng(number)
    return {
        "image": picture(rng, "JPEG"),
        "mask": picture(rng, "PNG"),
        "depth": rng.random((3, 4), dtype=np.float32),
        "classes": rng.integers(0, 19, (40, 60), dtype=np.uint8),
        "tokens": np.arange(number % 7, dtype=np.uint16),
        "text": "é" * (number % 5),
        "about": {"number": number, "ok": None},
        "label": number % 10,
        "weight": number / 7,
        "blob": rng.bytes(number),
    }


def picture(rng: np.random.Generator, form: str) -> bytes:
    """Of noise, 24×32."""
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


def assert_same(found: Mapping[str, Any], number: int) -> None:
    """What was read is sample `number`."""
    wanted = made(number)
    for name in ("image", "mask"):
        pixels = np.asarray(Image.open(io.BytesIO(wanted.pop(name))).convert("RGB"))
        assert np.abs(found[name].astype(int) - pixels).max() <= 2
    for name in ("depth", "tokens", "classes"):
        array = wanted.pop(name)
        assert found[name].dtype == array.dtype
        assert found[name].tolist() == array.tolist()
    assert {name: found[name] for name in wanted} == wanted


def read(root: Path) -> list[Any]:
    """All samples of a data set."""
    with Walk(Shards(root)) as walk:
        return [walk[number] for number in range(len(walk))]


def contents(root: Path) -> dict[str, bytes]:
    """All files, hidden ones too."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A real file system of that size at the folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def script(text: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program of its own, in the folder; it finds the tests' modules."""
    path = folder / "program.py"
    path.write_text(text)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(path)]
    process = subprocess.Popen(
        command, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()

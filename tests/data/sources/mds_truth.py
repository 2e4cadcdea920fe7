"""What is in the folders of tests/data/sources/mds, which MosaicML Streaming's own writer made?

They were made, and its own reader compared with `sample`, by running this file where mosaicml-streaming 0.13.0 is
installed (an environment of its own: it asks for a CUDA build of torch):

    python tests/data/sources/mds_truth.py tests/data/sources/mds
"""

from __future__ import annotations

import importlib
import io
import json
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SAMPLES = 7
NUMBERS = [f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)] + ["float16", "float32", "float64"]
COLUMNS = {
    "bytes": "bytes",
    "text": "str",
    "int": "int",
    **{name: name for name in NUMBERS},
    "str_int": "str_int",
    "str_float": "str_float",
    "str_decimal": "str_decimal",
    "json": "json",
    "any": "ndarray",
    "typed": "ndarray:float32",
    "fixed": "ndarray:int16:2,3",
    "pil": "pil",
    "jpeg": "jpeg",
    "png": "png",
    "jpeg_array": "jpeg_array",
    "pils": "list[pil]",
    "jpegs": "list[jpeg]",
    "pngs": "list[png]",
}
FOLDERS: dict[str, dict[str, Any]] = {
    "plain": {"size_limit": 12000},
    "zstd": {"compression": "zstd:7", "hashes": ["sha1", "xxh64"], "size_limit": 12000},
    "gz": {"compression": "gz", "hashes": ["sha256"]},
    "hashed": {"hashes": ["sha1", "xxh3_64"]},
}


def sample(number: int) -> dict[str, Any]:
    """Sample `number` as it was given to the writer; pictures as arrays."""
    rng = np.random.default_rng(number)
    shape = tuple(rng.integers(1, 4, 1 + number % 3).tolist())
    picture = np.full((2 + number, 3, 3), 30 * number, np.uint8)
    return {
        "bytes": rng.bytes(number),
        "text": "Größe " * number,
        "int": -number * 10**12,
        **{name: np.dtype(name).type(7 * number) for name in NUMBERS},
        "str_int": 10**30 + number,
        "str_float": number / 7,
        "str_decimal": Decimal(f"{number}.00000000000000000001"),
        "json": {"number": number, "list": [None, True, "ü"]},
        "any": rng.integers(0, 300, shape),
        "typed": rng.random(shape).astype(np.float32),
        "fixed": np.arange(6, dtype=np.int16).reshape(2, 3) - number,
        "pil": picture[:, :, 0],
        "jpeg": picture,
        "png": picture,
        "jpeg_array": [picture, picture[:1]],
        "pils": [picture, picture[:1]],
        "jpegs": [picture] * (number % 3),
        "pngs": [picture[:2], picture],
    }


def _write(folder: Path, options: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with importlib.import_module("streaming.base.format.mds").MDSWriter(
        columns=COLUMNS, out=str(folder), **options
    ) as writer:
        for number in range(SAMPLES):
            values = sample(number)
            for name in ("pil", "jpeg", "png"):
                values[name] = Image.fromarray(values[name])
            for name in ("pils", "jpegs", "pngs"):
                values[name] = [Image.fromarray(one) for one in values[name]]
            values["jpeg_array"] = [_jpeg(one) for one in values["jpeg_array"]]
            writer.write(values)


def _jpeg(picture: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG")
    return stream.getvalue()


def _compare(folder: Path) -> None:
    """Their reader against `sample`."""
    kind = importlib.import_module("streaming.base.format.mds.reader").MDSReader
    number = 0
    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        reader = kind.from_json(str(folder), "", shard)
        for at in range(shard["samples"]):
            read, true = reader[at], sample(number)
            assert read.keys() == true.keys()
            for name, value in read.items():
                many = value if isinstance(value, list) and name != "json" else [value]
                wanted = true[name] if many is value else [true[name]]
                assert len(many) == len(wanted)
                for one, other in zip(many, wanted, strict=True):
                    assert np.array_equal(np.asarray(one), np.asarray(other)), (folder, number, name)
            number += 1
    assert number == SAMPLES


if __name__ == "__main__":
    for name, options in FOLDERS.items():
        _write(Path(sys.argv[1]) / name, options)
    _compare(Path(sys.argv[1]) / "plain")

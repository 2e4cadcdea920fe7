"""What does a sample of a foreign format cost to find and read, beside the library that the format is from?

    python benchmarks/formats.py

µs of CPU time of this process for each sample, the least of several rounds taken in turn. Samples have 3 kB.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.feather
import webdataset

from leyden.data.sources import Parquet, Source, WebDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        works = dict(_works(folder, given.samples))
        least = dict.fromkeys(works, float("inf"))
        for _ in range(given.rounds):
            for what, work in works.items():
                start = time.process_time()
                work()
                least[what] = min(least[what], time.process_time() - start)
    for what, seconds in least.items():
        print(f"| {what} | {seconds / given.samples * 1e6:.1f} |")


def _works(folder: Path, samples: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each handles all samples once: what it is called, and what it does."""
    path = folder / "a.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(samples):
            writer.write({"__key__": f"{number:06}", "bin": os.urandom(3000), "cls": number, "json": {"n": number}})
    tar = WebDataset(path)
    yield "Leyden: index a tar, 3 files a sample", lambda: _index(path, folder)
    yield "Leyden: read a tar in random order", lambda: _read(tar, path)
    yield "webdataset: read a tar from begin to end", lambda: _library(path)
    table = {
        "raw": [os.urandom(3000) for _ in range(samples)],
        "n": range(samples),
        "tokens": [[*range(100)]] * samples,
    }
    arrow.feather.write_feather(arrow.table(table), folder / "a.arrow", "uncompressed", chunksize=1000)
    rows = Parquet(folder / "a.arrow")
    yield "Leyden: read rows of an Arrow file in random order", lambda: _read(rows, folder / "a.arrow")


def _index(path: Path, folder: Path) -> None:
    for known in (folder / "leyden" / "tars").iterdir():
        known.unlink()
    WebDataset(path)


def _read(source: Source, path: Path) -> None:
    order = np.random.default_rng(0).permutation(int(source.counts[0]))
    found = source.locate(0, order)
    records = [None] * len(order) if found is None else found.tolist()
    reader = source.open(0, path)
    for number, record in zip(order.tolist(), records, strict=True):
        reader.read(number, record)
    reader.close()


def _library(path: Path) -> None:
    with path.open("rb") as stream:
        files = webdataset.tariterators.tar_file_expander([{"url": "a", "stream": stream}])
        for _ in webdataset.tariterators.group_by_keys(files):
            pass


if __name__ == "__main__":
    main()

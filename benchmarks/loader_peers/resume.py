"""How soon does training go on at position 10⁹ of a plan of 10¹² samples? The samples are simulated, the plan is not.

A million shards of a million samples, shuffled; each sample is one of a few JPEGs held in memory, decoded and cropped
as in the other measurements. Timed from making a new Loader, with the state an old one left, to the first batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.loader_peers.common import files
from benchmarks.loader_peers.leyden_peer import cropped
from numpy.typing import NDArray

from leyden.data import Loader, Sample
from leyden.data.sources.base import Reader, Shard, Source

SHARDS, SAMPLES, POSITION = 1_000_000, 1_000_000, 10**9


class Endless(Source):
    """Samples without files."""

    def __init__(self, raws: list[bytes]) -> None:
        self.raws = raws

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.full(SHARDS, SAMPLES, np.int64)

    def shard(self, number: int) -> Shard:
        raise NotImplementedError("nothing is fetched")

    def open(self, shard: int, path: Path | None) -> Reader:
        return Memory(self.raws)


class Memory(Reader):
    def __init__(self, raws: list[bytes]) -> None:
        self.raws = raws

    def read(self, sample: int, record: Sequence[int] | None) -> Any:
        raw = self.raws[sample % len(self.raws)]
        return Sample(str(sample), {"image": ("jpeg", raw), "label": ("int", str(sample % 1000).encode())})


def loader(raws: list[bytes]) -> Loader:
    return Loader(Endless(raws), batch_size=16, transform=cropped, shuffle=True, drop_last=True, workers=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    raws = [path.read_bytes() for path in files(args.data)[:16]]
    state = {**loader(raws).state_dict(), "position": POSITION}
    begin = time.perf_counter()
    resumed = loader(raws)
    resumed.load_state_dict(state)
    made_s = time.perf_counter() - begin
    batches = iter(resumed)
    images, _ = next(batches)
    first_batch_s = time.perf_counter() - begin
    assert len(images) == 16
    assert resumed.state_dict()["position"] == POSITION + 16
    print(
        json.dumps({"first_batch_s": first_batch_s, "made_s": made_s, "position": POSITION, "length": SHARDS * SAMPLES})
    )
    resumed.close()


if __name__ == "__main__":
    from benchmarks.loader_peers.resume import main as importable_main  # so that workers find the classes by name

    importable_main()

"""What do shards, crops and warm workers change? Measures train.py's two ways to feed a net, and draws what it found.

python make.py --scenes 800 --to streets
python measure.py --data streets --svg feeding.svg          4 minutes on two cores; --epochs 8 for longer curves

1. What a scene costs a core, step by step of its decoding.
2. A stand-in for a GPU: it takes a batch and sleeps 20 ms, the time its step would take. All cores are there to decode.
3. No stand-in: train.py on one core, another one decodes.

Ways take turns, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep, strftime
from typing import Any

import numpy as np
from make import SCHEMA  # type: ignore[import-not-found]
from PIL import Image
from torch.utils.data import DataLoader

from leyden.data import Loader, Picture, Sample
from leyden.data.decode import random_window, warm
from train import CROP, Frames, cut, feed  # type: ignore[import-not-found]

BATCH = 8
Spans = list[tuple[float, float]]  # when the device worked, in seconds


@dataclass
class Seen:
    """What one way gave, round by round."""

    busy: list[float] = field(default_factory=list)
    epoch_s: list[float] = field(default_factory=list)
    gap_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    spans: Spans = field(default_factory=list)
    ends: list[float] = field(default_factory=list)  # of epochs


def price(data: Path) -> dict[str, float]:
    """Milliseconds of CPU a scene, the least of five passes over 32."""
    stems = [str(path.with_suffix("")) for path in sorted((data / "files/train").glob("*.jpg"))[:32]]
    files = {name: [Path(f"{s}.{name}").read_bytes() for s in stems] for name in ("jpg", "mask.png", "depth.png")}
    stored = samples(data / "shards/train", 32)
    rng = np.random.default_rng(0)

    def whole(raw: bytes) -> None:
        np.asarray(Image.open(io.BytesIO(raw)))

    def window(raw: bytes) -> None:
        picture = Picture(raw)
        picture.crop(*random_window(picture.size, CROP, rng))

    warm()
    steps: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "JPEG, whole (Pillow)": (whole, files["jpg"]),
        "classes, PNG": (whole, files["mask.png"]),
        "depth, PNG of 16 bits": (whole, files["depth.png"]),
        "the crop of the same JPEG": (window, files["jpg"]),
        "the crop of the shards' JPEG": (window, [sample.raw("image") for sample in stored]),
        "all three crops, from shards": (lambda sample: cut(sample, rng, crop=CROP), stored),
    }
    return {name: least(step, inputs) for name, (step, inputs) in steps.items()}


def samples(shards: Path, count: int) -> list[Sample]:
    """Some samples of a data set."""
    loader = Loader(shards, batch_size=count, transform=as_stored, collate=list, workers=0)
    return [Sample("", {name: (SCHEMA[name], raw) for name, raw in fields.items()}) for fields in next(iter(loader))]


def as_stored(sample: Sample) -> dict[str, bytes]:
    return {name: bytes(sample.raw(name)) for name in sample}


def least(step: Callable[[Any], object], inputs: list[Any]) -> float:
    times = []
    for _ in range(5):
        start = process_time()
        for one in inputs:
            step(one)
        times.append((process_time() - start) / len(inputs) * 1000)
    return min(times)


def ways(data: Path, workers: int) -> dict[str, Callable[[], Iterable[Any]]]:
    files = data / "files/train"

    def persistent() -> Iterable[Any]:
        frames = Frames(files, CROP)
        return DataLoader(frames, BATCH, True, drop_last=True, num_workers=workers, persistent_workers=True)

    def ours() -> Iterable[Any]:
        return Loader(Frames(files, CROP), batch_size=BATCH, shuffle=True, drop_last=True, workers=workers)

    return {
        "files, DataLoader": lambda: feed("files", data, "train", BATCH, workers),
        "files, DataLoader(persistent_workers=True)": persistent,
        "files, leyden.data.Loader": ours,
        "shards, leyden.data.Loader": lambda: feed("shards", data, "train", BATCH, workers),
    }


def consume(loader: Iterable[Any], step_s: float, epochs: int, seen: Seen) -> None:
    """Take batches as a device does that needs `step_s` for each; time runs from the first batch on."""
    spans: Spans = []
    firsts, ends = [], []
    for _ in range(epochs):
        firsts.append(len(spans))
        for _batch in loader:
            start = perf_counter()
            sleep(step_s)
            spans.append((start, perf_counter()))
        ends.append(spans[-1][1])
    waits = [after[0] - before[1] for before, after in pairwise(spans)]
    seen.busy.append(sum(end - start for start, end in spans) / (spans[-1][1] - spans[0][0]))
    seen.epoch_s += [end - start for start, end in pairwise(ends)]
    seen.gap_ms += [1000 * waits[first - 1] for first in firsts[1:]]
    seen.p99_ms.append(1000 * float(np.percentile(waits, 99)))
    seen.spans = [(start - spans[0][0], end - spans[0][0]) for start, end in spans]
    seen.ends = [end - spans[0][0] for end in ends]


def curve(data: Path, kind: str, epochs: int) -> tuple[list[tuple[float, float]], list[str]]:
    """(seconds of training, mIoU in %) after each epoch of train.py, and what it printed."""
    command = f"train.py --loader {kind} --data {data.resolve()} --workers 1 --width 8 --max-epochs {epochs}"
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"after ([\d.]+) s of training mIoU ([\d.]+)%", done.stdout)
    return [(float(s), float(miou)) for s, miou in found], re.findall(r"^epoch \d+: .*$", done.stdout, re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("streets"))
    parser.add_argument("--device-ms", type=float, default=20.0, help="what a step of the stand-in takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="of the learning curves; 0 leaves them out")
    parser.add_argument("--curve-data", type=Path, help="another, larger set for these")
    parser.add_argument("--svg", type=Path, help="where to draw")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, {strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f} to begin with")

    print("\n| a scene costs a core | ms |\n| --- | --- |")
    for name, ms in price(args.data).items():
        print(f"| {name} | {ms:.2f} |")

    seen: dict[str, Seen] = {}
    for _ in range(args.rounds):
        for name, loader in ways(args.data, cores).items():
            consume(loader(), args.device_ms / 1000, 3, seen.setdefault(name, Seen()))
    print(f"\n| {cores} workers, a step of {args.device_ms:.0f} ms | busy | epoch | gap between epochs | p99 wait |")
    print("| --- | --- | --- | --- | --- |")
    for name, one in seen.items():
        print(
            f"| {name} | {median(one.busy):.0%} | {median(one.epoch_s):.2f} s | {median(one.gap_ms):.1f} ms"
            f" | {median(one.p99_ms):.1f} ms |"
        )

    curves = {}
    for kind in ("files", "shards") if args.epochs else ():
        curves[kind], lines = curve(args.curve_data or args.data, kind, args.epochs)
        print(f"\ntrain.py --loader {kind}", *lines, sep="\n")
    if args.svg:
        from draw import draw  # type: ignore[import-not-found]

        draw(args.svg, seen, curves)
    print(f"\nload afterwards {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

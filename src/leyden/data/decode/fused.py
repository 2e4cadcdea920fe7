"""How is a window of a JPEG decoded without the rest? By window.c, compiled on first use; docs/adr/0007 says why.

It calls the libjpeg-turbo that Pillow's wheel carries, or the system's libjpeg.so.62. Where there is no compiler or no
such library, or where what it decodes differs from what Pillow decodes, `fused()` is None, and `backend()` says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import io
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from leyden.data.errors import SampleError

SWITCH: Final = "LEYDEN_DECODE"  # =pillow: compile nothing
_SOURCE: Final = Path(__file__).with_name("window.c")
_FLAGS: Final = ("-O3", "-fPIC", "-shared", "-std=gnu11")
_FUNCTIONS: Final = (
    "jpeg_std_error",
    "jpeg_CreateDecompress",
    "jpeg_mem_src",
    "jpeg_read_header",
    "jpeg_start_decompress",
    "jpeg_crop_scanline",
    "jpeg_skip_scanlines",
    "jpeg_read_scanlines",
    "jpeg_destroy_decompress",
)
_FLIP, _FAST = 1, 2
_DONE, _CORRUPT = 0, 1
_lock = threading.Lock()

Box = tuple[int, int, int, int]


class NoFusedError(RuntimeError):
    """Why there is no fused decoder here."""


@final
class Fused:
    """The compiled decoder, bound to a libjpeg."""

    def __init__(self, shim: Path, jpeg: ctypes.CDLL) -> None:
        try:
            library = ctypes.CDLL(str(shim))
            addresses = [ctypes.cast(getattr(jpeg, name), ctypes.c_void_p) for name in _FUNCTIONS]
        except (OSError, AttributeError) as error:
            raise NoFusedError(str(error)) from error
        library.leyden_bind((ctypes.c_void_p * len(addresses))(*addresses))
        self._window = library.leyden_window
        self._window.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, *[ctypes.c_int] * 3]
        self._window.argtypes += [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_char_p]
        self._jpeg = jpeg  # stays loaded

    def window(
        self,
        raw: bytes | memoryview,
        box: Box,
        *,
        down: int = 1,
        flip: bool = False,
        fast: bool = False,
        channels: int = 3,
    ) -> NDArray[np.uint8] | None:
        """Rows and columns `box` (top, left, height, width) of the picture scaled by 1/`down`; None: not for us.

        Raises SampleError where libjpeg would warn or fail: never grey pixels for lost ones.
        """
        out = np.empty((box[2], box[3], channels), np.uint8)
        data = np.frombuffer(raw, np.uint8)
        text = ctypes.create_string_buffer(200)
        result = self._window(
            data.__array_interface__["data"][0],
            data.size,
            (ctypes.c_int * 4)(*box),
            down,
            _FLIP * flip + _FAST * fast,
            channels,
            out.__array_interface__["data"][0],
            box[3] * channels,
            text,
        )
        if result == _CORRUPT:
            raise SampleError(
                asked="a JPEG was to be decoded",
                found=f"libjpeg says: {text.value.decode(errors='replace')}",
                do='Write the sample again from its origin, or train without it: Loader(on_error="skip").',
            )
        return out if result == _DONE else None


def fused() -> Fused | None:
    """The fused decoder of this process; None where there is none."""
    found = _find()
    return found if isinstance(found, Fused) else None


def backend() -> str:
    """What decodes JPEGs in this process, and why."""
    found = _find()
    return f"pillow: {found}" if isinstance(found, str) else "fused: window.c over libjpeg-turbo"


def warm() -> str:
    """Compile what is not compiled yet, before workers start; the same words as `backend`."""
    return backend()


def _find() -> Fused | str:
    with _lock:
        return _load()


@functools.cache
def _load() -> Fused | str:
    if os.environ.get(SWITCH) == "pillow":
        return f"{SWITCH}=pillow is set"
    reasons = []
    try:
        shim = build(_SOURCE.read_bytes(), folder())
        for jpeg in _libraries():
            try:
                decoder = Fused(shim, jpeg)
                _compare(decoder)
                return decoder
            except (NoFusedError, SampleError) as error:
                reasons.append(str(error))
    except (OSError, RuntimeError) as error:
        reasons.append(str(error))
    return "; ".join(reasons) or "no libjpeg.so.62 was found"


def build(source: bytes, place: Path) -> Path:
    """The shared object made of `source`, in `place`; made at most once for a compiler. Raises NoFusedError."""
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoFusedError("no C compiler was found (cc, gcc, clang)")
    real = Path(compiler).resolve()
    marks = f"{real} {real.stat().st_mtime_ns} {platform.machine()} {' '.join(_FLAGS)}"
    key = hashlib.sha256(source + marks.encode()).hexdigest()[:24]
    for path in place.glob(f"window-{key}-*.so"):
        if path.name == _name(key, path):  # a torn one (power cut, full disk) would kill the process that loads it
            return path
    try:
        with tempfile.TemporaryDirectory(dir=place) as scratch:  # several processes may be at it: the last rename wins
            made = Path(scratch) / "window.so"
            made.with_suffix(".c").write_bytes(source)
            command = [compiler, *_FLAGS, "window.c", "-o", "window.so"]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=60)
            return made.replace(place / _name(key, made))
    except subprocess.CalledProcessError as error:
        raise NoFusedError(f"{compiler} failed: {error.stderr.decode(errors='replace').strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoFusedError(f"{compiler} failed: {error}") from error


def _name(key: str, path: Path) -> str:
    return f"window-{key}-{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.so"


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


def _libraries() -> Iterator[ctypes.CDLL]:
    bundled = sorted(Path(PIL.__file__).parents[1].glob("[pP]illow.libs/libjpeg-*.so.62*"))
    for name in [*map(str, bundled), "libjpeg.so.62"]:
        try:
            yield ctypes.CDLL(name)
        except OSError:
            continue


def _compare(decoder: Fused) -> None:
    """Raises NoFusedError unless a small picture comes out as Pillow decodes it."""
    rows, columns = np.mgrid[0:45, 0:61]
    pixels = np.stack([rows * 5, columns * 4, (rows * columns) % 251], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    whole = np.asarray(Image.open(file))
    part = decoder.window(file.getvalue(), (19, 17, 20, 23))
    if part is None or not np.array_equal(part, whole[19:39, 17:40]):
        raise NoFusedError("a test picture was decoded otherwise than by Pillow")

"""Is the compiled decoder there when it can be, absent with a reason when it cannot, and safe with any bytes?"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from leyden.data.decode import Picture, backend, warm
from leyden.data.errors import SampleError
from tests.data.decode.pictures import by_pillow, encoded, scene

SAY = """
import io, numpy as np
from PIL import Image
from leyden.data.decode import Picture, backend
file = io.BytesIO()
Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(64, 48, 3)).save(file, "JPEG")
assert np.array_equal(Picture(file.getvalue()).crop(7, 8, 9, 10), np.asarray(Image.open(file))[7:16, 8:18])
print(backend())
"""


def say(code: str = SAY, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return run.stdout.strip()


def test_it_is_there() -> None:
    assert warm() == backend()
    assert backend().startswith("fused: ")


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"LEYDEN_DECODE": "pillow"}, "LEYDEN_DECODE=pillow is set"),
        ({"PATH": "/nowhere", "CC": ""}, "no C compiler was found"),
        ({"CC": "/bin/false"}, "/bin/false failed"),
    ],
)
def test_without_it_pillow_decodes(tmp_path: Path, environment: dict[str, str], why: str) -> None:
    said = say(XDG_CACHE_HOME=str(tmp_path), **environment)
    assert said.startswith("pillow: ")
    assert why in said


def test_another_abi_is_not_used(tmp_path: Path) -> None:
    """A library whose structures have another size says so itself; here ours pretend to be larger."""
    code = f"""
import pathlib, shutil
from leyden.data.decode import fused
other = pathlib.Path(shutil.copytree(fused._SOURCE, {str(tmp_path / "other")!r}))
text = (other / "abi.h").read_text()
assert "void *modules[11];" in text
(other / "abi.h").write_text(text.replace("void *modules[11];", "void *modules[13];"))
fused._SOURCE = other
"""
    said = say(code + SAY, XDG_CACHE_HOME=str(tmp_path))
    assert said.startswith("pillow: ")
    assert "library thinks size is 632, caller expects 648" in said


def test_eight_processes_at_once_compile_it(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", SAY], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert said == [backend()] * 8
    assert len([*(tmp_path / "leyden").iterdir()]) == 1


def test_a_torn_file_in_the_cache_is_no_trap(tmp_path: Path) -> None:
    say(XDG_CACHE_HOME=str(tmp_path))
    (shim,) = (tmp_path / "leyden").iterdir()
    shim.write_bytes(shim.read_bytes()[:3000])
    assert say(XDG_CACHE_HOME=str(tmp_path)).startswith("fused: ")


def test_code_of_others_is_not_loaded(tmp_path: Path) -> None:
    place = tmp_path / "leyden"
    place.mkdir()
    place.chmod(0o777)
    assert say(XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path)).startswith("fused: ")
    assert not [*place.iterdir()]
    assert len([*(tmp_path / f"leyden-{os.getuid()}").iterdir()]) == 1


def test_threads_share_it() -> None:
    raws = [encoded(scene(90, 120, seed)) for seed in range(4)]
    wholes = [by_pillow(raw) for raw in raws]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(60):
            if not np.array_equal(Picture(raws[i]).crop(i, 11, 70, 64), wholes[i][i : i + 70, 11:75]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_lost_data_is_an_error_and_never_grey() -> None:
    """libjpeg only warns of both; Pillow raises for the first and returns what libjpeg made of the second."""
    raw = encoded(scene(128, 128), quality=90)
    scan = raw.index(b"\xff\xda") + 14
    with pytest.raises(SampleError, match=r"libjpeg says: .*[Pp]remature end"):
        Picture(raw[: len(raw) // 2]).decode()
    ended = raw[: len(raw) // 2] + b"\xff\xd9"
    with pytest.raises(SampleError, match=r"libjpeg says: .*premature end of data segment"):
        Picture(ended).decode()
    np.testing.assert_array_equal(Picture(ended).crop(0, 0, 32, 128), by_pillow(raw)[:32])  # above the loss
    bad = raw[: scan + 500] + b"\xfe" * 200 + raw[scan + 700 :]
    assert by_pillow(bad).shape == (128, 128, 3)
    with pytest.raises(SampleError, match="libjpeg says: Corrupt JPEG data"):
        Picture(bad).decode()


FUZZ = """
import sys, warnings
import numpy as np
from tests.data.decode.pictures import by_pillow, encoded, scene
from leyden.data.decode import Picture, fused, tiled
from leyden.data.errors import SampleError
warnings.simplefilter("ignore")
assert fused.fused() is not None
rng = np.random.default_rng(int(sys.argv[1]))
kinds = [{"subsampling": 2}, {"subsampling": 0, "progressive": True}, {"subsampling": 1, "restart_marker_blocks": 2}]
raws = [encoded(scene(48, 64, seed), **kinds[seed % 3]) for seed in range(5)] + [tiled(encoded(scene(48, 64, 9)))]
raised = equal = unknown = 0
for turn in range(2000):
    raw = bytearray(raws[turn % 6])
    if turn % 4 == 3:
        raw = raw[: rng.integers(len(raw))]
    else:
        for _ in range(rng.integers(1, 4)):
            # half of them in the headers, where structures are
            raw[rng.integers(len(raw) if turn % 4 else 640)] = rng.integers(256)
    raw = bytes(raw)
    try:
        picture = Picture(raw)
        height, width = picture.size
        box = (0, 0, height, width) if turn % 2 else (height // 3, width // 3, (height + 1) // 2, (width + 1) // 2)
        pixels = picture.crop(*box)
    except SampleError:
        raised += 1
        continue
    except MemoryError:
        raised += 1
        continue
    try:
        want = by_pillow(raw)
    except Exception:  # what Pillow asks for beyond the pixels
        unknown += 1
        continue
    assert np.array_equal(pixels, want[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]), turn
    equal += 1
print(raised, equal, unknown)
"""


def test_two_thousand_broken_pictures() -> None:
    """Each raises or has exactly the pixels of libjpeg's full decode; in a process of its own, which must live."""
    run = subprocess.run(
        [sys.executable, "-c", FUZZ, "0"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    raised, equal, unknown = map(int, run.stdout.split())
    assert raised > 600
    assert equal > 200
    assert unknown < 300

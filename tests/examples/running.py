"""How is an example run as its reader would run it?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path, *args: str) -> str:
    """The output of `python examples/<name>/train.py …`, started in `folder`; it must end well."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name / "train.py"), *args],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def size(picture: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(picture) as opened:
        return opened.size


def figures(pattern: str, output: str) -> list[float]:
    """The numbers of the first line that fits."""
    found = re.search(pattern, output)
    assert found is not None, output
    return [float(one) for one in found.groups()]

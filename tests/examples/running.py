"""How is an example run as its reader would run it?"""

from __future__ import annotations

import os
import re
from pathlib import Path

from PIL import Image

from tests import hatchery

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path, *args: str) -> str:
    """The output of `python examples/<name>/train.py …`, started in `folder`; it must end well."""
    words = [str(EXAMPLES / name / "train.py"), *args]
    code, output = hatchery.run(words, cwd=folder, environ={**os.environ, "OMP_NUM_THREADS": "1"})
    assert code == 0, output
    return output


def size(picture: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(picture) as opened:
        return opened.size


def figures(pattern: str, output: str) -> list[float]:
    """The numbers of the first line that fits."""
    found = re.search(pattern, output)
    assert found is not None, output
    return [float(one) for one in found.groups()]

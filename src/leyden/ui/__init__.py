"""Where do the dashboard's files lie, once they are built?

Sources are in web/ (Preact, TypeScript, uPlot); hatch_build.py builds them into dist/, which wheels carry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DIST: Final = Path(__file__).parent / "dist"


def built(dist: Path = DIST) -> bool:
    """Whether there is a dashboard; not in a copy that was installed with LEYDEN_NO_UI=1."""
    return (dist / "index.html").is_file()

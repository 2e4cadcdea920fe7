"""How do the pictures get into a library's format? A program, because some of the writers start processes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    module, data, to, images = sys.argv[1:]
    if module == "images":
        from benchmarks.loader_peers.images import write

        write(Path(to), int(images))
    else:
        importlib.import_module(f"benchmarks.loader_peers.{module}").make(Path(data), Path(to))
    print("{}")


if __name__ == "__main__":
    main()

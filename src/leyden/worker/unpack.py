"""How does the captured tree get into the run's folder? Once a run, whole or not at all, and never outside of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from leyden.engines.base import Launch


def unpack(launch: Launch) -> None:
    """Unpack the job's code into runs/<id>/code, unless an earlier attempt did. Raises tarfile.TarError, OSError."""
    target = Path(launch.run_dir) / "code"
    if not launch.code or target.exists():
        return
    import tarfile  # 10 ms, not needed where the job runs in place

    draft = target.with_name(".code.unpacking")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    with tarfile.open(launch.code) as archive:
        archive.extractall(draft, filter="data")  # refuses absolute paths, .., devices and links out of the tree
    draft.rename(target)

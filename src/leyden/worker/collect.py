"""What has the attempt left under artifacts/? Looked at when the ranks have ended.

Where the job is over, that is when the outcome is on record already: to read 100 GB takes a minute, which the devices
and whoever waits for the job need not wait for. Where it may go on, before: the next attempt may write to the same
files at once. But not for long; then it is done afterwards too. A worker that is killed meanwhile loses nothing: the
server then looks itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from leyden.engines.base import Ending, Launch, Outcome

BEFORE_S = 5.0
_OVER = (Ending.SUCCEEDED, Ending.TIMED_OUT)


def collect_if_it_goes_on(launch: Launch, outcome: Outcome) -> None:
    """Leave the manifest in the attempt's folder, if the job may have another attempt and it takes a few seconds."""
    if outcome.kind not in _OVER:
        collect(launch, deadline=time.monotonic() + BEFORE_S)


def collect(launch: Launch, *, deadline: float | None = None) -> None:
    """Leave the manifest in the attempt's folder. Never raises: the job has ended, whatever becomes of this."""
    run_dir = Path(launch.run_dir)
    with contextlib.suppress(OSError):
        if not os.listdir(run_dir / "artifacts"):  # noqa: PTH208  as with most jobs: nothing to import
            return
    try:
        from leyden.track import artifacts

        if artifacts.read(launch.folder) is not None:
            return
        if deadline is None:
            os.nice(10)  # the next job may run already
        before = [one for one in artifacts.read_all(run_dir) if one.attempt < launch.number]
        found = artifacts.make(run_dir / artifacts.FOLDER, launch.number, before, deadline=deadline)
        artifacts.write(launch.folder, found)
    except TimeoutError:
        return
    except Exception:
        import traceback

        with contextlib.suppress(OSError):  # worker.log lies on the disk that may be full
            print("the artifacts could not be collected; the server will try", file=sys.stderr)
            traceback.print_exc()

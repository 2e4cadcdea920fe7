"""Start of the worker: `python -m leyden.worker <attempt folder>`."""

import sys
from pathlib import Path

from leyden.worker.attempt import run_attempt

if __name__ == "__main__":
    sys.exit(run_attempt(Path(sys.argv[1])))

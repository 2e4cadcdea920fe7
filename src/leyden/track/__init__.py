"""How a run reports metrics, logs and artifacts, and how they are read back. No torch."""

from leyden.track.run import Run as Run
from leyden.track.run import current as current
from leyden.track.run import log as log
from leyden.track.run import run_dir as run_dir
from leyden.track.run import start as start

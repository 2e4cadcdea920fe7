"""How a run reports metrics, logs and artifacts, and how they are read back. No torch."""

from leyden.track.run import Run as Run
from leyden.track.run import claim as claim
from leyden.track.run import current as current
from leyden.track.run import is_current as is_current
from leyden.track.run import log as log
from leyden.track.run import open_run as open_run
from leyden.track.run import run_dir as run_dir
from leyden.track.run import start as start

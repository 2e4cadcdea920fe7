"""How a run reports metrics, logs and artifacts, and how they are read back. No torch, and no NumPy before media."""

from leyden.track.api import config as config
from leyden.track.api import finish as finish
from leyden.track.api import init as init
from leyden.track.api import log_artifact as log_artifact
from leyden.track.api import log_config as log_config
from leyden.track.api import log_histogram as log_histogram
from leyden.track.api import log_image as log_image
from leyden.track.api import log_summary as log_summary
from leyden.track.api import log_table as log_table
from leyden.track.api import log_text as log_text
from leyden.track.api import note as note
from leyden.track.api import summary as summary
from leyden.track.api import tag as tag
from leyden.track.run import Run as Run
from leyden.track.run import claim as claim
from leyden.track.run import current as current
from leyden.track.run import is_current as is_current
from leyden.track.run import log as log
from leyden.track.run import open_run as open_run
from leyden.track.run import run_dir as run_dir
from leyden.track.run import start as start
from leyden.track.scripts import checkpoint as checkpoint
from leyden.track.scripts import latest_checkpoint as latest_checkpoint
from leyden.track.scripts import report as report

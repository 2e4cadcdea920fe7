"""Leyden takes a model from a laptop to a data center without changing a line of code.

The public names below are loaded on first use: `import leyden` costs a few milliseconds and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Callback": "leyden.train",
    "DataModule": "leyden.train",
    "EarlyStopping": "leyden.train",
    "Job": "leyden.core.job",
    "LeydenError": "leyden.core.errors",
    "ModelCheckpoint": "leyden.train",
    "Module": "leyden.train",
    "Trainer": "leyden.train",
    "checkpoint": "leyden.track",
    "config": "leyden.track",
    "finish": "leyden.track",
    "init": "leyden.track",
    "latest_checkpoint": "leyden.track",
    "log": "leyden.track",
    "log_artifact": "leyden.track",
    "log_config": "leyden.track",
    "log_histogram": "leyden.track",
    "log_image": "leyden.track",
    "log_summary": "leyden.track",
    "log_table": "leyden.track",
    "log_text": "leyden.track",
    "note": "leyden.track",
    "report": "leyden.track",
    "run_dir": "leyden.track",
    "seed_everything": "leyden.train",
    "submit": "leyden.client.handle",
    "summary": "leyden.track",
    "sweep": "leyden.client.searching",
    "tag": "leyden.track",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.client.handle import submit as submit
    from leyden.client.searching import sweep as sweep
    from leyden.core.errors import LeydenError as LeydenError
    from leyden.core.job import Job as Job
    from leyden.track import checkpoint as checkpoint
    from leyden.track import config as config
    from leyden.track import finish as finish
    from leyden.track import init as init
    from leyden.track import latest_checkpoint as latest_checkpoint
    from leyden.track import log as log
    from leyden.track import log_artifact as log_artifact
    from leyden.track import log_config as log_config
    from leyden.track import log_histogram as log_histogram
    from leyden.track import log_image as log_image
    from leyden.track import log_summary as log_summary
    from leyden.track import log_table as log_table
    from leyden.track import log_text as log_text
    from leyden.track import note as note
    from leyden.track import report as report
    from leyden.track import run_dir as run_dir
    from leyden.track import summary as summary
    from leyden.track import tag as tag
    from leyden.train import Callback as Callback
    from leyden.train import DataModule as DataModule
    from leyden.train import EarlyStopping as EarlyStopping
    from leyden.train import ModelCheckpoint as ModelCheckpoint
    from leyden.train import Module as Module
    from leyden.train import Trainer as Trainer
    from leyden.train import seed_everything as seed_everything


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

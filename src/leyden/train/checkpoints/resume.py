"""Which checkpoint does `ckpt_path` mean, and into which run's record does training go on?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.core.errors import CheckpointError
from leyden.track.run import RUNS_FOLDER
from leyden.train.checkpoints import checkpoint

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer


def find_checkpoint(
    trainer: Trainer, asked: str | Path | None, *, fitting: bool, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """The folder of the checkpoint asked for; None to start anew. Raises CheckpointError where there is none.

    A fit that asks for none, in a job that is tried again or was forked, takes what LEYDEN_RESUME_FROM names.

    "last" is the newest; "auto" the newest that is whole, for runs nobody watches. In `fit` both start anew where
    nothing has been saved yet, so that one command line serves first run and resume.
    """
    if asked is None and fitting and (given := environ.get("LEYDEN_RESUME_FROM")):
        own = environ.get("LEYDEN_CHECKPOINT_DIR")
        return checkpoint.newest_whole(Path(own)) if own and Path(given).parent == Path(own) else Path(given)
    if asked is None or (trainer.fast_dev_run and str(asked) in ("auto", "best", "last")):
        return None  # a quick trial saves nothing that could be found again
    if str(asked) == "best":
        saves = trainer.checkpoint_callback
        best = saves.best_model_path if saves else ""
        if not best:
            saved = saves is not None and bool(saves.last_model_path)
            raise CheckpointError(
                asked='ckpt_path="best"',
                found=f"no checkpoint was saved with {saves.monitor!r}" if saves and saved else "none was saved",
                do='Log that metric in validation_step, or use ckpt_path="last".' if saved else "Call fit first.",
            )
        return Path(best)
    if str(asked) in ("last", "auto"):
        last = _last(trainer, checkpoint.newest if str(asked) == "last" else checkpoint.newest_whole)
        if last is None and not fitting:
            raise CheckpointError(
                asked=f'ckpt_path="{asked}"',
                found="no checkpoint has been saved yet",
                do="Call fit first, or give a path.",
            )
        return last
    path = Path(asked).absolute()
    if path.is_file():
        return path
    return path if (path / checkpoint.MANIFEST).exists() else checkpoint.newest(path) or path


def run_to_continue(found: Path | None, asked: str | Path | None) -> Path | None:
    """The run whose record goes on: that of the checkpoint "last" found; any other checkpoint begins a new run."""
    if found is None or str(asked) not in ("auto", "last"):
        return None
    run = found.parent.parent
    return run if (run / "run.json").exists() and found.parent.name == "checkpoints" else None


def _last(
    trainer: Trainer, pick: Callable[[Path], Path | None], environ: Mapping[str, str] = os.environ
) -> Path | None:
    callback = trainer.checkpoint_callback
    if callback is not None and callback.dirpath is not None:
        return pick(Path(callback.dirpath))
    if trainer.run is not None and (found := pick(trainer.run.checkpoints)) is not None:
        return found
    if given := environ.get("LEYDEN_CHECKPOINT_DIR"):
        return pick(Path(given))
    if given := environ.get("LEYDEN_RUN_DIR"):
        return pick(Path(given) / "checkpoints")
    runs = sorted((trainer.default_root_dir / RUNS_FOLDER).glob("*/run.json"), reverse=True)  # ids sort by time
    for described in runs:
        if json.loads(described.read_text()).get("name") == Path(sys.argv[0]).stem:
            found = pick(described.parent / "checkpoints")
            if found is not None:
                return found
    return None

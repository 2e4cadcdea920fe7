"""Which sample, and which line of the user's code, was it?"""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from leyden.core.errors import LeydenError
from leyden.data.errors import CorruptError, FetchError, SampleError
from leyden.data.sources.base import Source
from leyden.data.tiers.here import Numbers
from leyden.data.workers.messages import Task
from leyden.data.workers.stack import MismatchError

_OURS: Final = (str(Path(__file__).parents[3]),)
_LIBRARIES: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def blame(
    error: BaseException, sources: Sequence[Source], task: Task, row: int | None, sample: Any = None
) -> LeydenError:
    """The error that names sample, shard, offset and line; `row` None: the batch as a whole."""
    asked = f"{name_row(sources, task, row, sample)} was asked for"
    if isinstance(error, CorruptError | FetchError):
        return type(error)(asked=asked, found=f"{error.asked}; {error.found}", do=error.do)
    if isinstance(error, MismatchError):
        do = "Let the transform return one shape and kind for all samples (crop or pad), or give collate=."
        return SampleError(asked=asked, found=str(error), do=do)
    if isinstance(error, LeydenError):
        return SampleError(asked=asked, found=f"{error.asked}; {error.found}{_line(error)}", do=error.do)
    found = f"{type(error).__name__}: {error}{_line(error)}"
    return SampleError(
        asked=asked, found=found, do='Mend that line or the sample, or leave such samples out: on_error="skip".'
    )


def name_row(sources: Sequence[Source], task: Task, row: int | None, sample: Any = None) -> str:
    """Sample, position, shard and offset in words."""
    if row is None or row < 0:
        return f"the batch at position {task.start} of epoch {task.epoch}"
    piece = row if task.ends is None else task.ends[row - 1] if row else 0
    shard, number = task.shards[piece], task.samples[piece]
    source, within = Numbers(sources)[shard]
    key = getattr(sample, "key", None)
    name = f"sample {key!r} (" if key else f"sample {number} ("
    words = [f"position {task.start + row} of epoch {task.epoch}"]
    if source.root:
        words += [f"shard {source.shard(within).name}", f"number {number}"]
        records = task.files[shard][1]
        if records is not None:
            words.append(f"offset {records[task.shards[:piece].count(shard)][0]}")
    return name + ", ".join(words) + ")"


def _line(error: BaseException) -> str:
    """Where in the user's code it was, if any of it was running."""
    found = None
    step: TracebackType | None = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith((*_OURS, *_LIBRARIES, "<frozen")):
            found = step
        step = step.tb_next
    if found is None:
        return ""
    code = found.tb_frame.f_code
    text = linecache.getline(code.co_filename, found.tb_lineno).strip()
    return f" ({code.co_filename}:{found.tb_lineno}, in {code.co_name}" + (f": {text})" if text else ")")

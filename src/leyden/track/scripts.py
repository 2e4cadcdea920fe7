"""What does a script without a Trainer say, so that it can be paused, stopped and resumed?

    start = 0
    if (saved := leyden.latest_checkpoint()) is not None:
        state = torch.load(saved)
        start = state["epoch"]
    for epoch in range(start, 27):
        ...
        torch.save({"epoch": epoch + 1, "model": model.state_dict()}, "model.pt")
        leyden.checkpoint("model.pt", step=epoch + 1)
        leyden.report(epoch + 1, {"val_loss": loss})

A checkpoint is a folder as the Trainer's are: with a manifest, whole or not there. The manifest's "kept" names what
the script gave.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, SupportsIndex

from leyden.core.errors import CheckpointError, nearest
from leyden.core.states import EXIT_PAUSE
from leyden.track import checkpoints, facts, keep, run, trial
from leyden.track.names import Metrics, as_step, flat
from leyden.track.trial import Answer, Then

_KEPT: Final = 2  # checkpoints: the newest, and one before it should that be damaged
_ASKED: Final = "rung-{}.json"  # in the attempt's folder: what rank 0 was told at that step, for the others
_TOLD_WITHIN_S: Final = 60.0
_warned: list[str] = []


def report(step: SupportsIndex, metrics: Metrics) -> None:
    """Log metrics as `log` does, and in a trial of a sweep stop where the sweep wants it to.

    `step` is the resource that the sweep counts (`--max-epochs`, `--max-steps`), whichever unit the script counts in.
    At the end of the trial's budget the sweep is asked: the script goes on, or ends here by SystemExit with code 76
    (paused; it is started again if it is to go on) or 0 (done). So call `checkpoint` before. With several ranks call
    it on all, with the same step. Anywhere else it only logs. Raises RecordError as `log` does.
    """
    at = as_step(step)
    run.log(metrics, at)
    mine = trial.current()
    if mine is None or not mine.reached(at):
        return
    row = flat(metrics)
    if mine.metric not in row:
        _miss(mine, at)
        return
    answer = _shared(mine, at, {mine.metric: float(row[mine.metric])})
    mine.take(answer)
    if answer.then is Then.GO_ON:
        return
    if run.current().rank == 0:
        what = "paused at" if answer.then is Then.PAUSE else "the sweep asks for no more than"
        print(f"leyden: {what} {mine.unit} {at}{f' ({answer.why})' if answer.why else ''}", file=sys.stderr)
    raise SystemExit(EXIT_PAUSE if answer.then is Then.PAUSE else 0)


def checkpoint(path: str | Path, step: SupportsIndex | None = None) -> None:
    """Keep a copy of a file or folder as the run's newest checkpoint; the one before it stays, older ones go.

    It appears at once and whole, so that a job that is killed goes on from it: `latest_checkpoint` says where it is.
    Without a step, at the one logged last. With several ranks rank 0 keeps it; on the others this does nothing.
    Raises CheckpointError where it cannot be read or kept.
    """
    one, source = run.current(), Path(path)
    at = one.last_step if step is None else as_step(step)
    if one.rank != 0:
        return
    if not source.exists():
        raise _cannot(source, "there is no such file", "Call it after it was written.")
    folder, name, kept = one.checkpoints, f"step={at}", source.resolve().name
    if kept in {checkpoints.MANIFEST, checkpoints.PIN} or folder.resolve().is_relative_to(source.resolve()):
        raise _cannot(source, "checkpoints have files of that name, or lie in it", "Save under another name.")
    one.writer.flush()  # a resumed run has every point up to its checkpoint
    draft = folder / f".{name}.draft-{os.getpid()}"
    try:
        for left in folder.glob(".step=*.draft-*"):  # by somebody who was killed meanwhile
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir(parents=True)
        keep.copy(source, draft / kept)
        _describe(draft, kept, at)
        if (folder / name).exists():
            checkpoints.remove(folder, name)
        draft.rename(folder / name)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(draft, ignore_errors=True)
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)[:200]
        raise _cannot(source, why.lower(), "Make room; checkpoints kept before are whole.") from error
    own = [found for found in checkpoints.found(folder) if _what_is_kept(folder / found.name)]
    for old in own[_KEPT:]:
        if not old.pinned:
            checkpoints.remove(folder, old.name)


def latest_checkpoint() -> Path | None:
    """What this script last gave to `checkpoint`, to go on from; None to start anew.

    After a pause, a preemption or a crash that is the run's own newest; where the job was forked, or took over from
    another trial, the one that it begins with. A checkpoint of a Trainer is its folder.
    """
    given = os.environ.get("LEYDEN_CHECKPOINT_DIR")
    own = Path(given) if given else run.current().checkpoints if run.opened() else None
    for one in checkpoints.found(own) if own else ():
        if not one.damaged and own:
            return _given(own / one.name)
    begins = os.environ.get("LEYDEN_RESUME_FROM")
    return _given(Path(begins)) if begins and Path(begins).exists() else None


def _describe(draft: Path, name: str, step: int) -> None:
    """Sync what was copied, then its manifest: with a step, the time, and what is in it."""
    files = [file for file in sorted(draft.rglob("*")) if file.is_file()]
    sizes = {str(file.relative_to(draft)): {"size_bytes": file.stat().st_size} for file in files}
    about = {"step": step, "created_at": time.time(), "kept": name, "files": sizes}
    (draft / checkpoints.MANIFEST).write_text(json.dumps(about, indent=1))
    for file in (*files, draft / checkpoints.MANIFEST):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _given(folder: Path) -> Path:
    return folder / name if (name := _what_is_kept(folder)) else folder


def _what_is_kept(folder: Path) -> str:
    """The name of what a script gave; "" where a Trainer wrote it, or nobody knows."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((folder / checkpoints.MANIFEST).read_text()).get("kept", ""))
    return ""


def _shared(mine: trial.Trial, at: int, values: Mapping[str, float]) -> Answer:
    """Rank 0 asks; the others read what it was told."""
    one = run.current()
    path = one.path / f"attempts/a{one.attempt}" / _ASKED.format(at)
    if one.rank == 0:
        answer = mine.ask(at, values)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            path.parent.mkdir(parents=True, exist_ok=True)
            facts.write(path, json.dumps({"then": answer.then, "budget": answer.budget}))
        return answer
    give_up = time.monotonic() + _TOLD_WITHIN_S
    while time.monotonic() < give_up:
        told: dict[str, Any] = facts.read(path)
        if told:
            return Answer(then=Then(told["then"]), budget=told["budget"])
        time.sleep(0.02)
    return Answer(then=Then.PAUSE, why="rank 0 did not say what the sweep answered")


def _miss(mine: trial.Trial, at: int) -> None:
    """Say once that what the sweep asks for has not been reported; the script goes on."""
    known = run.current().names
    if mine.metric not in known and not _warned:
        _warned.append(mine.metric)
        text = f"the sweep asks for {mine.metric!r} at {mine.unit} {at}, and no report had it: not paused"
        print(f"leyden: {text}; {nearest(mine.metric, known)}", file=sys.stderr)


def _cannot(source: Path, found: str, do: str) -> CheckpointError:
    return CheckpointError(asked=f"{str(source)!r} was to be kept as a checkpoint", found=found, do=do)

"""How does one attempt run as one job of Slurm?

Slurm's own queue says whether the job is there; attempt.json, worker.json and outcome.json, on a file system that its
nodes share, say the rest, as on one machine. The job's comment names the attempt: a number alone may be given to
another job after slurmctld has crashed, and a submit that was not answered may have been taken.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from leyden.engines import record
from leyden.engines.base import AttemptRef, Engine, Gpu, Launch, Life, Machine, Sighting
from leyden.engines.slurm.commands import TOKEN, Seen, Slurm, SlurmError
from leyden.engines.slurm.script import CANCEL, SAVE, batch_script, options

JOB: Final = "slurm.json"  # in the attempt's folder: which job it is
LOOK_EVERY_S: Final = 2.0  # at the queue, which costs slurmctld a lock; what workers write is looked at each time
EMPTY: Final = 3  # answers in a row without the job, each from another look, before it counts as lost
FORCE_AFTER_S: Final = 3.0  # beyond the grace: the worker needs a moment to write the outcome
SETTLE_S: Final = 3.0  # after its end, until what the node wrote last is seen here


@dataclass(kw_only=True)
class _Watched:
    """What is remembered of an attempt between looks; a restarted server begins anew."""

    missing: int = 0  # looks in a row that did not show it
    look: int = 0  # the last of them
    ended_at: float | None = None
    stop_since: float | None = None
    sent: str = ""  # the signal


@final
class SlurmEngine(Engine):
    """Runs attempts as jobs of one cluster. Raises SlurmError (an OSError) where Slurm refuses or does not answer."""

    def __init__(
        self,
        slurm: Slurm,
        *,
        name: str = "slurm",
        python: str = sys.executable,
        more: Sequence[str] = (),
        look_every_s: float = LOOK_EVERY_S,
        settle_s: float = SETTLE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slurm, self._name, self._python, self._more = slurm, name, python, more
        self._look_every_s, self._settle_s, self._monotonic = look_every_s, settle_s, monotonic
        self._queue: Mapping[str, Seen] = {}
        self._looked_at, self._looks = float("-inf"), 0
        self._watched: dict[str, _Watched] = {}

    def inventory(self) -> Machine:
        nodes = self._slurm.nodes()
        gpus = [Gpu(index=index, name="GPU", memory_bytes=0) for index in range(sum(one[3] for one in nodes))]
        cpus, memory_bytes = sum(one[1] for one in nodes), sum(one[2] for one in nodes)
        return Machine(node=self._name, cpus=cpus, memory_bytes=memory_bytes, gpus=tuple(gpus))

    def launch(self, launch: Launch) -> None:
        file = launch.folder / JOB
        if record.read_worker(launch.folder) or _job_of(launch.folder):
            return
        self._looked_at = float("-inf")  # what was seen before it is out of date now, also where the submit fails
        if file.exists():  # it was asked for before, and may have been taken unheard
            if not self._look():
                raise SlurmError("nobody knows whether it was submitted before: squeue does not answer")
            if known := self._queue.get(TOKEN + launch.engine_ref):
                _note(launch.folder, known.id)
                return
            self._looked_at = float("-inf")
        record.write_launch(replace(launch, given_gpus=True, term_saves=True))
        _note(launch.folder, "")
        script = batch_script(launch, self._python)
        job = self._slurm.submit(options(launch, more=self._more), script, TOKEN + launch.engine_ref)
        _note(launch.folder, job)

    def poll(self, refs: Sequence[AttemptRef]) -> dict[str, Sighting]:
        seen: dict[str, Sighting] = {}
        unsure = list[AttemptRef]()
        for ref in refs:
            if outcome := record.read_outcome(ref.folder):
                file = record.read_worker(ref.folder)
                seen[ref.engine_ref] = Sighting(
                    life=Life.GONE, outcome=outcome, started_at=file.started_at if file else None
                )
            else:
                unsure.append(ref)
        if unsure and self._look():
            seen.update((ref.engine_ref, self._sight(ref)) for ref in unsure)
        return seen

    def stop(self, ref: AttemptRef, grace_s: float, *, save: bool = False) -> None:
        watched = self._watched.setdefault(ref.engine_ref, _Watched())
        job = self._queue.get(TOKEN + ref.engine_ref) if self._look() else None
        if job is None or job.final:
            return
        now = self._monotonic()
        watched.stop_since = now if watched.stop_since is None else watched.stop_since
        if not record.read_worker(ref.folder) or now - watched.stop_since > grace_s + FORCE_AFTER_S:
            self._slurm.cancel(job.id)  # it does not run yet, or does not hear
        elif watched.sent != (signal := SAVE if save else CANCEL):
            self._slurm.signal(job.id, signal)
            watched.sent = signal

    def release(self, ref: AttemptRef) -> bool:
        if not record.read_worker(ref.folder):
            record.claim(ref.folder, None)  # a job that was submitted but has not begun finds it closed
        if not self._look():
            return False
        job = self._queue.get(TOKEN + ref.engine_ref)
        if job is not None and not job.final:
            if not record.read_outcome(ref.folder):
                self._slurm.cancel(job.id)
            return False
        self._watched.pop(ref.engine_ref, None)
        return True

    # Looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Have a queue that is not too old; False where Slurm does not answer."""
        if self._monotonic() - self._looked_at >= self._look_every_s:
            try:
                found = self._slurm.queue()
            except SlurmError as error:
                print(f"{self._name}: {error}", file=sys.stderr)
                return False
            self._queue = {one.comment: one for one in found if one.comment.startswith(TOKEN)}
            self._looked_at = self._monotonic()
            self._looks += 1
        return True

    def _sight(self, ref: AttemptRef) -> Sighting:
        watched = self._watched.setdefault(ref.engine_ref, _Watched())
        job, file = self._queue.get(TOKEN + ref.engine_ref), record.read_worker(ref.folder)
        started_at = file.started_at if file else None
        pid = file.ranks[0].pid if file and file.ranks else None
        if job is None and not (ref.folder / JOB).exists():
            return Sighting(life=Life.GONE if file else Life.UNKNOWN)
        if job is not None and not job.final:
            watched.missing, watched.ended_at = 0, None
            doing = (file.doing if file else "") or ("" if pid else _says(job))
            return Sighting(life=Life.ALIVE, pid=pid, started_at=started_at, doing=doing)
        if job is None and watched.look != self._looks:
            watched.missing, watched.look = watched.missing + 1, self._looks
        if watched.ended_at is None and (job is not None or watched.missing >= EMPTY):
            watched.ended_at = self._monotonic()
        over = watched.ended_at is not None and self._monotonic() - watched.ended_at >= self._settle_s
        return Sighting(life=Life.GONE if over else Life.ALIVE, pid=pid, started_at=started_at)


def _says(job: Seen) -> str:
    """What a job waits for, by Slurm's own word."""
    if job.state != "PENDING":
        return f"Slurm job {job.id} is {job.state.lower()}"
    return f"waits in Slurm as job {job.id}: {job.reason}"


def _note(folder: Path, job: str) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.replace(folder / JOB, json.dumps({"job": job}), durable=True)


def _job_of(folder: Path) -> str:
    """The job's number, "" where none is known."""
    try:
        return str(json.loads((folder / JOB).read_text())["job"])
    except (OSError, ValueError, KeyError):
        return ""

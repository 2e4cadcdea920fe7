"""Which checkpoints and artifacts of jobs that ended long ago may go, and when? None, unless the server was told so.

What always stays: a checkpoint that is pinned, the newest ones that are whole, those that another job began from, and
everything of a job that has not ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from leyden.core.home import Home
from leyden.core.ids import short_id
from leyden.core.states import FINAL
from leyden.jobs.rows import JobRow
from leyden.jobs.store import Store
from leyden.jobs.tables import jobs
from leyden.server.files.blobs import Blobs
from leyden.server.launching import HOLD
from leyden.track import artifacts, checkpoints
from leyden.track.checkpoints import Checkpoint

DAY_S: Final = 86_400.0
EXPIRED: Final = "artifacts.expired"  # in a run's folder: what its manifests name is there no more


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Of jobs that ended `days` ago the newest `keep` checkpoints stay (0: all), artifacts for `artifacts_days` (0:
    for ever)."""

    keep: int = 0
    days: float = 0.0
    artifacts_days: float = 0.0

    def artifacts_go_at(self, job: JobRow) -> float | None:
        """When those of the job go; None: never, or it has not ended."""
        if not self.artifacts_days or not job.state.final or job.ended_at is None:
            return None
        return job.ended_at + self.artifacts_days * DAY_S


@dataclass(frozen=True, kw_only=True)
class Fate:
    """When a checkpoint goes, or why it stays; neither where there is no rule."""

    goes_at: float | None = None
    stays: str = ""


def fates(
    found: Sequence[Checkpoint], rule: Retention, *, ended_at: float | None, needed: Mapping[str, str]
) -> dict[str, Fate]:
    """By name; `found` are newest first, `needed` names those that another job began from, with that job."""
    newest = {one.name for one in checkpoints.newest(found, rule.keep)}
    return {one.name: _fate(one, rule, newest, ended_at, needed.get(one.name)) for one in found}


def _fate(one: Checkpoint, rule: Retention, newest: set[str], ended_at: float | None, by: str | None) -> Fate:
    if one.pinned:
        return Fate(stays="pinned")
    if not rule.keep:
        return Fate()
    if one.name in newest:
        return Fate(stays="newest" if rule.keep == 1 else f"newest {rule.keep}")
    if by:
        return Fate(stays=f"{short_id(by)} began from it")
    if ended_at is None:
        return Fate(stays="not ended")
    return Fate(goes_at=ended_at + rule.days * DAY_S)


def expired(store: Store, home: Home, rule: Retention, *, now: float) -> list[tuple[str, Checkpoint]]:
    """What the rule lets go, with the jobs they belong to."""
    if not rule.keep:
        return []
    kept = store.read(needed)
    return [
        (job_id, one)
        for job_id, ended_at in _ended(store, now - rule.days * DAY_S)
        for one in _expired(home.runs / job_id / checkpoints.FOLDER, rule, ended_at, kept)
    ]


def needed(connection: Connection, *, ended: bool = True) -> dict[str, str]:
    """The checkpoints that other jobs began from → such a job; without `ended` only of jobs that have not."""
    query = select(jobs.c.resume_from, jobs.c.id).where(jobs.c.resume_from != "").order_by(jobs.c.id)
    if not ended:
        query = query.where(jobs.c.state.not_in(list(FINAL)))
    return {row.resume_from: row.id for row in connection.execute(query)}


def of_folder(folder: Path, needed: Mapping[str, str]) -> dict[str, str]:
    """The part of `needed` that lies in the folder, by name."""
    return {Path(path).name: by for path, by in needed.items() if Path(path).parent == folder}


def sweep(store: Store, home: Home, blobs: Blobs, rule: Retention, *, now: float) -> None:
    """Remove what the rule lets go. Call it while nobody keeps artifacts. Raises AwayError."""
    for job_id in dict.fromkeys(job_id for job_id, _ in expired(store, home, rule, now=now)):
        _remove_checkpoints(store, home.runs / job_id / checkpoints.FOLDER, rule, job_id, now)
    if rule.artifacts_days:
        for job_id, _ in _ended(store, now - rule.artifacts_days * DAY_S):
            _remove_artifacts(home.runs / job_id, job_id, blobs)


def _remove_checkpoints(store: Store, folder: Path, rule: Retention, job_id: str, now: float) -> None:
    hidden: list[Path] = []
    with HOLD:  # a fork that is being made has its checkpoint on record by now, or will not find it
        kept = store.read(needed)
        (ended_at,) = store.read(
            lambda connection: connection.scalars(select(jobs.c.ended_at).where(jobs.c.id == job_id))
        )
        for one in _expired(folder, rule, ended_at, kept):
            if ended_at + rule.days * DAY_S <= now:
                hidden.append(checkpoints.hide(folder, one.name))
                print(f"removed checkpoint {one.name} of job {job_id}: expired", flush=True)
    for left in hidden:
        shutil.rmtree(left, ignore_errors=True)


def _remove_artifacts(run_dir: Path, job_id: str, blobs: Blobs) -> None:
    """In an order in which a crash leaves a file that can be had, or one that is known to be gone.

    The contents go with the next cleaning, unless another job has them too.
    """
    manifests = [*run_dir.glob(f"attempts/a*/{artifacts.MANIFEST}")]
    marked = (run_dir / EXPIRED).exists()
    if (marked or not manifests) and not (marked and artifacts.has_files(run_dir)):
        return
    for file in manifests:
        blobs.remove_manifest(f"{job_id}/{file.parent.name}.json")
    (run_dir / EXPIRED).touch()
    shutil.rmtree(run_dir / artifacts.FOLDER, ignore_errors=True)
    print(f"removed the artifacts of job {job_id}: expired", flush=True)


def is_expired(run_dir: Path) -> float | None:
    """Since when the run's artifacts are gone by the rule; None where they are not."""
    with suppress(FileNotFoundError):
        return (run_dir / EXPIRED).stat().st_mtime
    return None


def _expired(folder: Path, rule: Retention, ended_at: float, kept: Mapping[str, str]) -> list[Checkpoint]:
    found = checkpoints.found(folder)
    going = fates(found, rule, ended_at=ended_at, needed=of_folder(folder, kept))
    return [one for one in found if going[one.name].goes_at is not None]


def _ended(store: Store, before: float) -> list[tuple[str, float]]:
    query = select(jobs.c.id, jobs.c.ended_at).where(jobs.c.state.in_(list(FINAL)), jobs.c.ended_at <= before)
    return store.read(
        lambda connection: [(row.id, row.ended_at) for row in connection.execute(query.order_by(jobs.c.id))]
    )

"""How is a job run once more: the same from its newest checkpoint, or with changes from one of its steps?"""

from __future__ import annotations

from pathlib import Path

from leyden.core.errors import ConflictError, NotFoundError
from leyden.core.ids import short_id
from leyden.core.job import Job
from leyden.jobs.rows import JobRow, find_job
from leyden.server.bodies import Again
from leyden.server.launching import HOLD
from leyden.server.services import Services
from leyden.server.submitting import again
from leyden.track.checkpoints import FOLDER, found


def retry(services: Services, ref: str, body: Again) -> tuple[JobRow, bool]:
    """The same job, as a new one, from the newest checkpoint of the old one, if it has any. Raises ConflictError."""
    origin = services.store.read(lambda connection: find_job(connection, ref))
    if not origin.state.final:
        raise ConflictError(
            asked=f"job {short_id(origin.id)} is to be tried again",
            found=f"it has not ended yet, it is {origin.state}",
            do="Wait for its end, or `leyden cancel` it first.",
        )
    with HOLD:  # until the new job is on record, and with it that it needs that checkpoint
        saved = _checkpoints(services.home.runs / origin.id)
        resume_from = saved[max(saved)] if saved else origin.resume_from
        return again(services, origin, resume_from=resume_from, user=body.user, key=body.key)


def fork(services: Services, ref: str, body: Again) -> tuple[JobRow, bool]:
    """A new job from a checkpoint of another: its code and environment, some arguments changed.

    Raises NotFoundError.
    """
    origin = services.store.read(lambda connection: find_job(connection, ref))
    with HOLD:  # as above
        return _fork(services, origin, body)


def _fork(services: Services, origin: JobRow, body: Again) -> tuple[JobRow, bool]:
    saved = _checkpoints(services.home.runs / origin.id)
    if not saved or (body.step is not None and body.step not in saved):
        steps = ", ".join(str(step) for step in sorted(saved)[-8:])
        wanted = "a checkpoint" if body.step is None else f"the checkpoint of step {body.step}"
        raise NotFoundError(
            asked=f"{wanted} of job {short_id(origin.id)} was asked for",
            found=f"it has those of step {steps}" if saved else "it has none",
            do="Name one of these: `leyden fork JOB@STEP`." if saved else "`leyden submit` starts it anew.",
        )
    job = Job.model_validate_json(origin.spec)
    job = job.model_copy(update={"args": changed(job.args, body.set)})
    step = max(saved) if body.step is None else body.step
    return again(services, origin, job=job, resume_from=saved[step], user=body.user, key=body.key)


def changed(args: tuple[str, ...], new: dict[str, str]) -> tuple[str, ...]:
    """The arguments with other values: `--name value` or `--name=value` replaced, or added at the end.

    >>> changed(("--lr", "0.1", "--wide", "data"), {"lr": "0.2", "seed": "3"})
    ('--lr', '0.2', '--wide', 'data', '--seed', '3')
    """
    left, words = dict(new), list(args)
    for at, word in enumerate(args):
        name, equals, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in left:
            continue
        value = left.pop(name)
        if equals:
            words[at] = f"--{name}={value}"
        elif at + 1 < len(args):
            words[at + 1] = value
    return (*words, *(word for name, value in left.items() for word in (f"--{name}", value)))


def _checkpoints(run_dir: Path) -> dict[int, str]:
    """Step → newest checkpoint of that step; damaged ones are none to go on from."""
    folder = run_dir / FOLDER
    return {one.step: str(folder / one.name) for one in reversed(found(folder)) if not one.damaged}

"""leyden ckpt: which checkpoints has a job, and which of them stay?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import click

from leyden.cli.common import known, print_json, reconnected
from leyden.cli.cp import inside
from leyden.cli.screen import BOLD, DIM, Cell, columns, painter, table
from leyden.cli.transfer import fetch_all
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.download import Wanted
from leyden.core.errors import ConflictError, NotFoundError, UsageError
from leyden.core.file_views import CheckpointView
from leyden.core.ids import short_id
from leyden.core.units import format_duration, format_size


@click.group(context_settings=SETTINGS, no_args_is_help=True)
def command() -> None:
    """List, copy, pin and remove the checkpoints of jobs.

    \b
    leyden ckpt ls                          of the newest job
    leyden ckpt get q7k2 1200               copy one here, by its step, its name, "last" or "newest"
    leyden ckpt pin q7k2 1200               nobody removes it: not the Trainer, not the server
    leyden ckpt rm q7k2 600 900
    leyden ckpt ls --expired --keep 1 --days 30
    """


@command.command("ls", context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--expired", is_flag=True, help="Of all jobs: what the server's rule, or --keep and --days, let go.")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="With --expired: so many of each job stay.")
@click.option("--days", type=click.FloatRange(0), metavar="D", help="With --expired: of jobs that ended so long ago.")
@json_option
def ls(job: str | None, expired: bool, keep: int | None, days: float | None, output: str) -> None:
    """List checkpoints, newest first, with epoch, step, metrics and size; when each goes by the server's rule, or why
    it stays. With --expired nothing is removed either."""
    if expired and job is not None:
        raise UsageError(
            asked="`leyden ckpt ls --expired`", found=f"a job, {job!r}", do="Leave it out: all are listed."
        )
    if (keep is not None or days is not None) and not expired:
        raise UsageError(asked="`leyden ckpt ls`", found="--keep or --days without --expired", do="Add --expired.")
    client = known()
    found = client.expired_checkpoints(keep=keep, days=days) if expired else client.checkpoints(job or "last")
    if output == "json":
        print_json(found)
    elif not found:
        print("No checkpoint has expired." if expired else "It has no checkpoints.")
    else:
        paint = painter(sys.stdout)
        heads = ("JOB", "CHECKPOINT", "EPOCH", "STEP", "SIZE", "SAVED", "METRICS", "", "GOES")
        rows = [_row(one, with_job=expired, now=time.time()) for one in found]
        print(table(heads, rows, width=columns(sys.stdout), paint=paint))
        print(paint(f"{len(found):,} checkpoints, {format_size(sum(one.size_bytes for one in found))}", DIM))


def _row(one: CheckpointView, *, with_job: bool, now: float) -> list[Cell]:
    paint = painter(sys.stdout)
    marks = [*one.names, *(["pinned"] * one.pinned), *(["damaged"] * one.damaged)]
    return [
        Cell(text=short_id(one.job) if with_job else ""),
        Cell(text=one.name),
        Cell(text=str(one.epoch) if one.step >= 0 else "", right=True),
        Cell(text=str(one.step) if one.step >= 0 else "", right=True),
        Cell(text=format_size(one.size_bytes), right=True),
        Cell(text=f"{format_duration(max(0.0, now - one.created_at))} ago", right=True),
        Cell(text="  ".join(f"{name} {value:.4g}" for name, value in one.metrics.items())),
        Cell(text=", ".join(marks), paint=lambda text: paint(text, BOLD)),
        Cell(text=_fate(one, now)),
    ]


def _fate(one: CheckpointView, now: float) -> str:
    if one.goes_at is None:
        return f"stays: {one.stays}" if one.stays else ""
    return f"in {format_duration(one.goes_at - now)}" if one.goes_at > now else "soon"


@command.command("get", context_settings=SETTINGS)
@click.argument("job")
@click.argument("name", default="newest")
@click.argument("goal", metavar="[TO]", default=".", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Overwrite files that are there.")
@json_option
def get(job: str, name: str, goal: Path, force: bool, output: str) -> None:
    """Copy a checkpoint, a folder, to TO; the newest one where none is named. Its manifest comes last."""
    one = _pick(known().checkpoints(job), job, name)
    folder = goal / inside(one.name)
    whole = folder / "manifest.json"
    if whole.exists() and not force:
        raise ConflictError(
            asked=f"{folder} was to be written", found="it is there already", do="Give -f to overwrite it."
        )
    base = f"/api/jobs/{one.job}/checkpoints/{quote(one.name, safe='')}/files"
    wanted = [
        Wanted(
            url_path=f"{base}/{quote(file.path)}",
            name=f"{one.name}/{file.path}",
            goal=folder / inside(file.path),
            size_bytes=file.size_bytes,
        )
        for file in sorted(one.files, key=lambda file: file.path == "manifest.json")
    ]
    whole.unlink(missing_ok=True)  # until all of it is new, it is no checkpoint
    fetched = fetch_all(reconnected, wanted, force=True)
    if output == "json":
        print_json(fetched)
    else:
        print(folder)


@command.command("pin", context_settings=SETTINGS)
@click.argument("job")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="Take the pin away.")
def pin(job: str, names: tuple[str, ...], off: bool) -> None:
    """See that checkpoints are not removed: by nobody, until they are unpinned."""
    client = known()
    for name in names:
        one = client.pin_checkpoint(job, name, pinned=not off)
        print(f"{one.name} of {short_id(one.job)} is {'no longer ' if off else ''}pinned.")


@command.command("rm", context_settings=SETTINGS)
@click.argument("job")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
def rm(job: str, names: tuple[str, ...]) -> None:
    """Remove checkpoints. Refuses those that are pinned, and those that a job which has not ended goes on from."""
    client = known()
    for name in names:
        one = client.remove_checkpoint(job, name)
        print(f"{one.name} of {short_id(one.job)} removed, {format_size(one.size_bytes)}.")


def _pick(found: Sequence[CheckpointView], job: str, name: str) -> CheckpointView:
    by_step = [one for one in found if name.removeprefix("step=") == str(one.step)]
    named = [one for one in found if name == one.name or name in one.names]
    if chosen := named or by_step or (list(found[:1]) if name == "newest" else []):
        return chosen[0]
    listed = ", ".join(one.name for one in found[:8])
    raise NotFoundError(
        asked=f"checkpoint {name!r} of job {job}",
        found=f"it has {listed}" if found else "it has none",
        do="Give one of these, or a step." if found else "See `leyden show`.",
    )

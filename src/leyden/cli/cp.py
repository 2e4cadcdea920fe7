"""leyden cp: what files did the job leave, and how do they come here?"""

from __future__ import annotations

import fnmatch
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import click

from leyden.cli.common import known, print_json, reconnected
from leyden.cli.screen import DIM, Cell, columns, note, painter, table
from leyden.cli.transfer import fetch_all
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.download import Wanted
from leyden.core.errors import NotFoundError, UsageError, nearest
from leyden.core.file_views import ArtifactsView, ArtifactView
from leyden.core.ids import short_id
from leyden.core.units import format_duration, format_size

_WILD = frozenset("*?[")


@click.command(context_settings=SETTINGS)
@click.argument("source", metavar="JOB:[PATH]")
@click.argument("goal", metavar="[TO]", required=False, type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--attempt", type=click.IntRange(1), metavar="N", help="As that attempt left them; the newest by default."
)
@json_option
def command(source: str, goal: Path | None, force: bool, attempt: int | None, output: str) -> int:
    """Copy files that a job wrote to LEYDEN_RUN_DIR/artifacts, also while it runs. Without TO they are listed.

    \b
    leyden cp q7k2:                     list them
    leyden cp q7k2: .                   all of them
    leyden cp q7k2:model.onnx .         one
    leyden cp q7k2:plots results        a folder
    leyden cp 'last:**/*.png' plots     by a pattern, of the newest job
    """
    ref, colon, path = source.partition(":")
    if not colon:
        raise UsageError(
            asked=f"`leyden cp {source}`",
            found="it does not say which job",
            do=f"Write JOB:PATH, e.g. `leyden cp last:{source} .`, or `leyden cp last:` to list what there is.",
        )
    view = known().artifacts(ref or "last", attempt=attempt)
    chosen = choose(view, path)
    if goal is None:
        _list(view, [one for one, _ in chosen], output)
        return 0
    here = _goals(chosen, goal, one_file=[one.path for one, _ in chosen] == [_plain(path)])
    wanted = [
        Wanted(
            url_path=f"/api/jobs/{view.job}/artifacts/{quote(one.path)}",
            name=one.path,
            goal=there,
            size_bytes=one.size_bytes,
            sha256=one.sha256,
            attempt=attempt,
        )
        for (one, _), there in zip(chosen, here, strict=True)
    ]
    fetched = fetch_all(reconnected, wanted, force=force)
    if output == "json":
        print_json(fetched)
    _tell_refused(view)
    return 0


def choose(view: ArtifactsView, path: str) -> list[tuple[ArtifactView, str]]:
    """The artifacts meant, each with its name at the goal. Raises NotFoundError."""
    wanted = _plain(path)
    if wanted in {"", "."}:
        if view.gone:
            raise NotFoundError(
                asked=f"the artifacts of job {short_id(view.job)}",
                found="they were removed, as this server keeps artifacts for a time only",
                do="See `leyden server status` for how long; `leyden cp` before that keeps a copy.",
            )
        if not view.artifacts:
            raise NotFoundError(
                asked=f"the artifacts of job {short_id(view.job)}",
                found="it has left none",
                do="A program leaves files under LEYDEN_RUN_DIR/artifacts, or leyden.run_dir() / 'artifacts'.",
            )
        return [(one, one.path) for one in view.artifacts]
    exact = [(one, one.path.rpartition("/")[2]) for one in view.artifacts if one.path == wanted]
    above = wanted.rpartition("/")[0]
    below = [(one, _under(one.path, above)) for one in view.artifacts if one.path.startswith(f"{wanted}/")]
    if exact or below:
        return exact or below
    if _WILD & {*wanted}:
        found = [one for one in view.artifacts if matches(one.path.split("/"), wanted.split("/"))]
        fixed = wanted[: min(wanted.index(sign) for sign in _WILD & {*wanted})].rpartition("/")[0]
        if found:
            return [(one, _under(one.path, fixed)) for one in found]
    listed = [one.path for one in view.artifacts]
    raise NotFoundError(
        asked=f"the artifact {wanted!r} of job {short_id(view.job)}",
        found="nothing there is called so" if listed else "it has left none",
        do=f"See `leyden cp {short_id(view.job)}:`" + (f"; {nearest(wanted, listed[:1000])}" if listed else "."),
    )


def matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path fit to those of a pattern, in which ** is any number of folders.

    >>> matches(["a", "b", "c.png"], ["**", "*.png"]), matches(["a", "c.png"], ["*.png"])
    (True, False)
    """
    if not pattern:
        return not path
    if pattern[0] == "**":
        return matches(path, pattern[1:]) or (bool(path) and matches(path[1:], pattern))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and matches(path[1:], pattern[1:])


def _plain(path: str) -> str:
    return path.removeprefix("./").strip("/")


def _under(path: str, folder: str) -> str:
    return path.removeprefix(f"{folder}/") if folder else path


def _goals(chosen: Sequence[tuple[ArtifactView, str]], goal: Path, *, one_file: bool) -> list[Path]:
    """Where each goes: into a folder; as with cp, one file that was named may get a new name. Raises UsageError."""
    if one_file and not goal.is_dir():
        return [goal]
    if goal.exists() and not goal.is_dir():
        raise UsageError(
            asked=f"{len(chosen)} files are to be copied to {goal}", found="that is a file", do="Name a folder."
        )
    return [goal / inside(name) for _, name in chosen]


def inside(name: str) -> str:
    """The name, if it stays in the folder it is put into: a server is not trusted with more."""
    if name.startswith("/") or not all(part not in {"", ".", ".."} for part in name.split("/")):
        raise UsageError(asked=f"{name!r} is to be copied", found="that is no path inside a folder", do="Leave it out.")
    return name


def _list(view: ArtifactsView, chosen: Sequence[ArtifactView], output: str) -> None:
    if output == "json":
        print_json(chosen)
        return
    paint, now = painter(sys.stdout), time.time()
    rows = [
        [
            Cell(text=one.path),
            Cell(text=format_size(one.size_bytes), right=True),
            Cell(text=f"{format_duration(max(0.0, now - one.modified_at))} ago", right=True),
            Cell(text=str(one.attempt), right=True),
            Cell(text=one.sha256[:12] or "not yet", paint=lambda text: paint(text, DIM)),
        ]
        for one in chosen
    ]
    print(table(("PATH", "SIZE", "CHANGED", "ATTEMPT", "SHA-256"), rows, width=columns(sys.stdout), paint=paint))
    goes = "" if view.goes_at is None else f"; they go in {format_duration(max(0.0, view.goes_at - now))}"
    print(paint(f"{len(chosen):,} files, {format_size(sum(one.size_bytes for one in chosen))}{goes}", DIM))
    _tell_refused(view)


def _tell_refused(view: ArtifactsView) -> None:
    for one in view.refused[:10]:
        note(f"{one.path} is not kept: {one.why}")
    if len(view.refused) > 10:
        note(f"… nor are {len(view.refused) - 10} more")

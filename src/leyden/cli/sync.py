"""leyden sync: bring records of runs to the server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from leyden.cli.common import ensured, print_json
from leyden.cli.screen import clean
from leyden.cli.usage import SETTINGS
from leyden.client.push import Pusher, Sent
from leyden.core.errors import ConflictError, NotFoundError
from leyden.core.ids import is_id, short_id


@dataclass(frozen=True, kw_only=True)
class Synced:
    """One run that was brought over."""

    id: str
    name: str
    source: str
    files: int
    size_bytes: int


@click.command(context_settings=SETTINGS)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", metavar="FORMAT")
def command(folder: Path, output: str) -> None:
    """Bring runs to the server: a run's folder, a folder of runs, or one of TensorBoard's. Again brings what is new.

    \b
    leyden sync leyden_runs                 all runs of bare `python train.py` in it
    leyden sync leyden_runs/01hz3k9q7k      one of them
    leyden sync runs/                       each folder of TensorBoard event files becomes a run
    """
    found: list[Synced] = []
    pusher = Pusher(ensured().endpoint)
    with tempfile.TemporaryDirectory(prefix="leyden-sync-") as scratch:
        for source, path in _runs(folder, Path(scratch)):
            sent = _push(pusher, path, made=source != path)
            name = _name(path)
            found.append(Synced(id=path.name, name=name, source=str(source), **asdict(sent)))
            if output == "text":
                print(f"{short_id(path.name)} {clean(name)}: {_said(sent)}")
    if output == "json":
        print_json(found)


def _runs(folder: Path, scratch: Path) -> Iterator[tuple[Path, Path]]:
    """Where each run comes from, and its record as a folder of ours."""
    from leyden.track import boards

    if not folder.is_dir():
        raise NotFoundError(asked=f"folder {str(folder)!r}", found="there is none", do="Give the path of a folder.")
    if boards.is_run(folder):
        folder = _known(folder)
        yield folder, _with_frames(folder, scratch)
        return
    ours = sorted(one for one in folder.iterdir() if is_id(one.name) and boards.is_run(one))
    for one in ours:
        yield one, _with_frames(one, scratch)
    theirs = [] if ours else boards.find(folder)
    for board in theirs:
        yield board.path, boards.read(board, scratch)
    if not ours and not theirs:
        raise NotFoundError(
            asked=f"runs in {str(folder)!r}",
            found="it holds neither records of Leyden's nor event files of TensorBoard's",
            do="Give leyden_runs, a run in it, or TensorBoard's logdir.",
        )


def _with_frames(folder: Path, scratch: Path) -> Path:
    """The folder, or one like it with the points as they are sent, where a server has made one file of them."""
    from leyden.track import boards, sealed

    return boards.unsealed(folder, scratch) if sealed.is_sealed(folder) else folder


def _known(folder: Path) -> Path:
    whole = folder.resolve()
    if not is_id(whole.name):
        found = "its name is no id, by which the server would know it again"
        raise NotFoundError(
            asked=f"run {str(folder)!r}", found=found, do="Give the folder its id for a name (run.json)."
        )
    return whole


def _push(pusher: Pusher, path: Path, *, made: bool) -> Sent:
    try:
        return pusher.push(path, path.name)
    except ConflictError:
        if not made:
            raise
        pusher.forget(path.name)  # it was made anew, of event files that have grown or of a sealed run
        return pusher.push(path, path.name)


def _name(path: Path) -> str:
    from leyden.track import boards

    return str(boards.about(path).get("name", path.name))


def _said(sent: Sent) -> str:
    return (
        f"{sent.files} file{'s' * (sent.files != 1)}, {sent.size_bytes:,} bytes" if sent.files else "all there already"
    )

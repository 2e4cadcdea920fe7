"""leyden export: a run for other programs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from leyden.cli.common import known
from leyden.cli.usage import SETTINGS
from leyden.client.transport import Transport
from leyden.core.errors import NotFoundError, UsageError


@click.command(context_settings=SETTINGS)
@click.argument("run", metavar="[RUN]", default="last")
@click.option("--tensorboard", "to", type=click.Path(path_type=Path), metavar="DIR", help="Event files, below DIR.")
def command(run: str, to: Path | None) -> None:
    """Write a run, a job's or one in a folder, as event files of TensorBoard: metrics, media and config.

    \b
    leyden export q7k2 --tensorboard boards      then: tensorboard --logdir boards
    leyden export leyden_runs/01hz3k9q7k --tensorboard boards
    leyden metrics q7k2 -o csv                   for everything else
    """
    if to is None:
        asked, found = f"`leyden export {run}`", "it was not said for which program"
        raise UsageError(asked=asked, found=found, do="Add --tensorboard DIR; for CSV: `leyden metrics -o csv`.")
    from leyden.track import boards

    folder = Path(run)
    if not (folder.is_dir() and boards.is_run(folder)):
        folder = Path(Transport(known().endpoint).json("GET", f"/api/runs/{quote(run, safe='')}")["path"])
    if not folder.is_dir():
        do = "Run this on the server's machine."
        raise NotFoundError(asked=f"the record of {run}", found=f"{folder} is not on this machine", do=do)
    folder = folder.resolve()
    written = boards.write(folder, to / folder.name)
    media = f" and {written.media:,} pictures, texts and histograms" if written.media else ""
    left = f"; {written.tables:,} tables are left out, TensorBoard has none" if written.tables else ""
    print(f"{written.points:,} points{media} in {to / folder.name}{left}")

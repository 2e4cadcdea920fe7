"""leyden data index: make WebDataset tars a data set by writing only their indexes."""

from __future__ import annotations

import click

from leyden.cli.common import print_json, shards_said
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.units import format_size


@click.command(context_settings=SETTINGS)
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads; one a core by default.")
@click.option("--overwrite", is_flag=True, help="Believe the tars rather than the dataset.json that is there.")
@json_option
def command(folder: str, workers: int | None, overwrite: bool, output: str) -> None:
    """Write an index beside each tar of FOLDER, and dataset.json. The tars stay as they are.

    Fields are named by the files' extensions: 000017.jpg and 000017.cls make a sample {"jpg", "cls"}. Where there is a
    dataset.json, lost or damaged indexes are made again.

    \b
    leyden data index /data/laion
    """
    from leyden.data.shards.adopt import index_tars

    found = index_tars(folder, workers=workers, overwrite=overwrite, progress=False if output == "json" else None)
    if output == "json":
        told = {"samples": found.samples, "shards": len(found.parts), "size_bytes": found.size_bytes}
        print_json({"root": folder, **told})
        return
    print(f"{found.samples:,} samples in {shards_said(len(found.parts))}, {format_size(found.size_bytes)}, are indexed")

"""leyden data verify: is every sample as it was written?"""

from __future__ import annotations

import click

from leyden.cli.common import print_json, shards_said
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.units import format_size

_SHOWN = 100  # faults


@click.command(context_settings=SETTINGS)
@click.argument("url")
@click.option("--decode", is_flag=True, help="Decode every field too: finds pictures that were broken when stored.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads; one a core by default.")
@json_option
def command(url: str, decode: bool, workers: int | None, output: str) -> int:
    """Read a data set from end to end and check every checksum. Exits with 1 if anything is wrong, and says what.

    \b
    leyden data verify shards/
    leyden data verify s3://bucket/imagenet --decode --workers 16
    """
    from leyden.data.shards.verify import verify
    from leyden.data.sources.detect import open_source

    found = verify(open_source(url), decode=decode, workers=workers, progress=False if output == "json" else None)
    if output == "json":
        print_json(found)
        return 1 if found.faults else 0
    for fault in found.faults[:_SHOWN]:
        where = fault.shard if fault.sample is None else f"{fault.shard} sample {fault.sample}"
        print(f"{where}: {fault.what}")
    if len(found.faults) > _SHOWN:
        print(f"… and {len(found.faults) - _SHOWN:,} more (-o json lists them)")
    read = f"{found.samples:,} samples in {shards_said(found.shards)}, {format_size(found.size_bytes)}"
    print(f"{read}: {f'{len(found.faults):,} faults' if found.faults else 'all as written'}")
    return 1 if found.faults else 0

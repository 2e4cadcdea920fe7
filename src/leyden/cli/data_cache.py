"""leyden data cache: what do the caches of this host hold, who uses it, and how does it go away?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leyden.cli.common import print_json
from leyden.cli.screen import DIM, Cell, columns, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.units import format_duration, format_size, parse_duration

if TYPE_CHECKING:
    from leyden.data.tiers.ledger import Kept

HEADS = ("CACHE", "DATA SET", "SHARD", "SIZE", "UNUSED", "IN USE BY")

_tier = click.option("--tier", metavar="WHERE", help="Only this tier: ram, or a folder such as /nvme.")
_dataset = click.option("--dataset", metavar="URL", help="Only shards of data sets whose URL begins so.")


@click.group(context_settings=SETTINGS)
def command() -> None:
    """List or clear the shards that loaders keep on this host, in RAM (/dev/shm) and on its disks.

    \b
    leyden data cache ls
    leyden data cache clear --older 7d
    leyden data cache clear --tier ram
    """


@command.command("ls", context_settings=SETTINGS)
@_tier
@_dataset
@json_option
def ls(tier: str | None, dataset: str | None, output: str) -> None:
    """List shards: where they lie, since when nobody has used them, and the processes that read or fetch them."""
    shards = _chosen(tier, dataset, None)
    if output == "json":
        print_json(shards)
    elif not shards:
        print("No shards are kept on this host.")
    else:
        paint = painter(sys.stdout)
        print(table(HEADS, [_row(shard) for shard in shards], width=columns(sys.stdout), paint=paint))
        print(paint(f"{len(shards):,} shards, {format_size(sum(shard.size_bytes for shard in shards))}", DIM))


@command.command("clear", context_settings=SETTINGS)
@_tier
@_dataset
@click.option("--older", metavar="TIME", help="Only what nobody has used for so long: 12h, 7d.")
@json_option
def clear(tier: str | None, dataset: str | None, older: str | None, output: str) -> None:
    """Take shards away. Jobs that read one keep it until they are done; what is being fetched stays."""
    from leyden.data.tiers import ledger

    shards = [shard for shard in _chosen(tier, dataset, older) if shard.fetched_by is None]
    freed = ledger.clear(shards)
    if output == "json":
        print_json({"shards": len(shards), "freed_bytes": freed})
    else:
        print(f"{len(shards):,} shards cleared, {format_size(freed)}.")


def _chosen(tier: str | None, dataset: str | None, older: str | None) -> list[Kept]:
    from leyden.data.tiers import ledger
    from leyden.data.tiers.spec import SHM

    folders = ledger.caches()
    if tier is not None:
        base = SHM if tier == "ram" else Path(tier).expanduser().absolute()
        folders = [folder for folder in folders if base in {folder, folder.parent}]
    least_s = parse_duration(older) if older else 0.0
    return [
        shard
        for shard in ledger.kept(folders)
        if shard.root.startswith(dataset or "") and (older is None or shard.unused_s >= least_s)
    ]


def _row(shard: Kept) -> list[Cell]:
    uses = f"{shard.fetched_by} (fetches it)" if shard.fetched_by else " ".join(map(str, shard.used_by))
    return [
        Cell(text=str(Path(shard.cache).parent)),
        Cell(text=shard.root),
        Cell(text=shard.name or shard.key[:12]),
        Cell(text=format_size(shard.size_bytes), right=True),
        Cell(text=format_duration(shard.unused_s), right=True),
        Cell(text=uses),
    ]

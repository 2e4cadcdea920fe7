"""leyden data stats: what do the samples of a data set have in common?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from leyden.cli.common import print_json, shards_said
from leyden.cli.screen import Cell, columns, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.units import format_size

if TYPE_CHECKING:
    from leyden.data.shards.stats import Stats

_SHOWN = 20  # labels, sizes
_BAR = 30  # cells


@click.command(context_settings=SETTINGS)
@click.argument("url")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="Look at so many, evenly spread; all by default.")
@click.option("--pixels", is_flag=True, help="Decode all pictures: mean, deviation, sizes.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads; one a core by default.")
@json_option
def command(url: str, samples: int | None, pixels: bool, workers: int | None, output: str) -> None:
    """Show sizes of fields, how often each label occurs, and mean and deviation of pixels.

    \b
    leyden data stats shards/
    leyden data stats s3://bucket/imagenet --pixels --samples 2000
    """
    from leyden.data.shards.stats import stats
    from leyden.data.sources.detect import open_source

    source = open_source(url)
    show = False if output == "json" else None
    found = stats(source, samples=samples, pixels=pixels, workers=workers, progress=show)
    if output == "json":
        print_json(found)
        return
    of = "" if found.looked_at == found.samples else f" (of {found.samples:,})"
    print(f"{found.looked_at:,} samples{of} in {shards_said(len(source.counts))}\n")
    _fields(found)
    _labels(found, {name: one.names for name, one in getattr(source, "schema", {}).items()})
    for name, picture in found.pixels.items():
        mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (picture.mean, picture.std))
        print(f"\n{name}: mean ({mean}), std ({std}) of values 0 to 1")
        listed = [f"{size} ({count:,})" for size, count in list(picture.sizes.items())[:_SHOWN]]
        print(f"{' ' * len(name)}  height×width {', '.join(listed)}{_more(len(picture.sizes))}")


def _fields(found: Stats) -> None:
    heads = ("FIELD", "MEAN", "LEAST", "5 %", "HALF", "95 %", "MOST")
    rows = [
        [name, format_size(one.mean), *map(format_size, one.percentiles.values())] for name, one in found.fields.items()
    ]
    if rows:
        _print(heads, rows)


def _labels(found: Stats, names: dict[str, tuple[str, ...] | None]) -> None:
    for name, counts in found.labels.items():
        known, most = names.get(name) or (), max(counts.values())
        rows = []
        for value, count in list(counts.items())[:_SHOWN]:
            said = known[value] if 0 <= value < len(known) else ""
            rows.append([str(value), said, f"{count:,}", "█" * max(1, round(count / most * _BAR))])
        print()
        _print((name.upper(), "CLASS", "SAMPLES", "SHARE"), rows)
        if more := _more(len(counts)):
            print(more)


def _more(count: int) -> str:
    return f" … and {count - _SHOWN:,} more (-o json lists them)" if count > _SHOWN else ""


def _print(heads: tuple[str, ...], rows: list[list[str]]) -> None:
    left = {heads[0], "CLASS", "SHARE"}
    cells = [[Cell(text=text, right=head not in left) for head, text in zip(heads, row, strict=True)] for row in rows]
    print(table(heads, cells, width=columns(sys.stdout), paint=painter(sys.stdout)))

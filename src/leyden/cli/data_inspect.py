"""leyden data inspect: what is in a data set?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from leyden.cli.common import print_json, shards_said
from leyden.cli.screen import BOLD, Cell, columns, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.errors import UsageError
from leyden.core.units import format_size

if TYPE_CHECKING:
    from leyden.data.sources.base import Source

_SHOWN = 10  # shards


@click.command(context_settings=SETTINGS)
@click.argument("url")
@click.option(
    "--sample", type=click.IntRange(0), default=0, metavar="N", help="Which sample to show; the first by default."
)
@click.option("--shards", "all_shards", is_flag=True, help="List all shards, not only the first ten.")
@json_option
def command(url: str, sample: int, all_shards: bool, output: str) -> None:
    """Show the fields of a data set, its shards, and one sample.

    \b
    leyden data inspect shards/
    leyden data inspect s3://bucket/imagenet --sample 70000
    leyden data inspect shards/ -o json
    """
    from leyden.data.shards.walk import Walk
    from leyden.data.sources.detect import open_source

    source = open_source(url)
    with Walk(source, whole=False) as walk:
        if sample >= len(walk):
            raise UsageError(
                asked=f"sample {sample} of {url}", found=f"it has {len(walk):,}", do=f"Ask for 0 to {len(walk) - 1}."
            )
        fields = _fields(walk[sample])
    shards = _shards(source)
    if output == "json":
        print_json({**_about(url, source), "shards": shards, "sample": {"number": sample, "fields": fields}})
        return
    about = _about(url, source)
    paint = painter(sys.stdout)
    print(f"{paint(url, BOLD)}  {about['format']}, {about['samples']:,} samples in {shards_said(len(shards))}")
    if about["schema"]:
        print()
        rows = [[name, one["kind"], *_form(one)] for name, one in about["schema"].items()]
        _print(("FIELD", "KIND", "TYPE", "SHAPE", "CLASSES"), rows)
    print()
    shown = shards if all_shards else shards[:_SHOWN]
    _print(
        ("SHARD", "SAMPLES", "SIZE"), [[one["name"], f"{one['samples']:,}", _size(one["size_bytes"])] for one in shown]
    )
    if len(shown) < len(shards):
        print(f"… and {len(shards) - len(shown):,} more (--shards lists them)")
    print()
    _print(
        (f"SAMPLE {sample}", "SIZE", "VALUE"), [[one["name"], _size(one["size_bytes"]), one["value"]] for one in fields]
    )


def _about(url: str, source: Source) -> dict[str, Any]:
    from leyden.data.shards.schema import to_json
    from leyden.data.sources.native import Shards

    schema = to_json(source.schema) if isinstance(source, Shards) else {}
    return {"root": url, "format": type(source).__name__, "samples": int(source.counts.sum()), "schema": schema}


def _shards(source: Source) -> list[dict[str, Any]]:
    listed = []
    for number, samples in enumerate(source.counts.tolist()):
        shard = source.shard(number)
        listed.append({"name": shard.name, "samples": samples, "size_bytes": max(0, shard.size_bytes)})
    return listed


def _fields(value: Any) -> list[dict[str, Any]]:
    from leyden.data.sources.sample import Sample

    sizes = {name: len(raw) for name, _, raw in value.stored()} if isinstance(value, Sample) else {}
    return [{"name": name, "size_bytes": sizes.get(name), "value": _value(value, name)} for name in value]


def _value(sample: Any, name: str) -> str:
    value = sample[name]
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, bytes):
        return f"{value[:16]!r}{' …' if len(value) > 16 else ''}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def _form(field: dict[str, Any]) -> list[str]:
    import numpy as np

    dtype = str(np.dtype(field["dtype"])) if "dtype" in field else ""
    shape = "×".join("?" if axis is None else str(axis) for axis in field.get("shape", ()))
    return [dtype, shape, str(len(field["names"])) if "names" in field else ""]


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else format_size(size_bytes)


def _print(heads: tuple[str, ...], rows: list[list[str]]) -> None:
    cells = [
        [Cell(text=text, right=heads[at] in {"SAMPLES", "SIZE", "CLASSES"}) for at, text in enumerate(row)]
        for row in rows
    ]
    print(table(heads, cells, width=columns(sys.stdout), paint=painter(sys.stdout)))

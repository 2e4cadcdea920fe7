"""leyden data convert: store pictures, or a data set of another format, as shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leyden.cli.common import print_json, shards_said
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.errors import UsageError
from leyden.core.units import format_size, parse_size

if TYPE_CHECKING:
    from leyden.data.shards.crew import Items
    from leyden.data.shards.schema import Field

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
_LOOKED_AT = 1000  # files, to know what a folder holds


@click.command(context_settings=SETTINGS)
@click.argument("src")
@click.argument("dest")
@click.option("--shard-size", default="128MB", metavar="SIZE", help="About how big a shard is to be; 128MB by default.")
@click.option("--samples-per-shard", type=click.IntRange(1), metavar="N", help="Exactly so many samples a shard.")
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Processes; one a core by default, 0: none but this."
)
@click.option("--resize", type=click.IntRange(1), metavar="PIXELS", help="Pictures: shrink the shorter side to this.")
@click.option("--format", "kind", type=click.Choice(["jpeg", "png"]), help="Pictures: store all of them as this.")
@click.option("--quality", type=click.IntRange(1, 100), metavar="1-100", help="Pictures: compress as JPEG like this.")
@click.option(
    "--tile", is_flag=True, help="Store JPEGs so that crops can be cut out of them: same pixels, half the work."
)
@click.option("--keep-keys", is_flag=True, help="Name samples as they are named in SRC, rather than by number.")
@click.option("--overwrite", is_flag=True, help="Replace the data set that is at DEST.")
@json_option
def command(
    src: str,
    dest: str,
    shard_size: str,
    samples_per_shard: int | None,
    workers: int | None,
    resize: int | None,
    kind: str | None,
    quality: int | None,
    tile: bool,
    keep_keys: bool,
    overwrite: bool,
    output: str,
) -> None:
    """Store SRC as shards at DEST. Stopped and run again, it goes on where it was.

    SRC is a folder of pictures (folders in it are classes), or a data set that Leyden reads: WebDataset tars, MosaicML
    MDS, Parquet, or shards of its own. Pictures are stored as they are, unless --resize, --format or --quality says
    otherwise; tars need not be converted: `leyden data index` writes an index beside them.

    \b
    leyden data convert photos/ shards/
    leyden data convert photos/ s3://bucket/photos --resize 512 --quality 90
    leyden data convert photos/ shards/ --tile          for training on random crops
    leyden data convert s3://bucket/mds /data/shards --shard-size 256MB
    leyden data convert "tars/train-{000..099}.tar" shards/ --keep-keys
    """
    from leyden.data.shards.walk import Samples
    from leyden.data.shards.write import write_shards

    samples, schema = _samples(src, resize, kind, quality, keep_keys=keep_keys)
    if isinstance(samples, Samples) and samples_per_shard is None:
        samples_per_shard = samples.per_shard(parse_size(shard_size))
    found = write_shards(
        samples,
        dest,
        schema=schema,
        shard_size=shard_size,
        samples_per_shard=samples_per_shard,
        workers=workers,
        tile=tile,
        overwrite=overwrite,
        progress=False if output == "json" else None,
    )
    if isinstance(samples, Samples):
        samples.close()
    if output == "json":
        told = {"samples": found.samples, "shards": len(found.parts), "size_bytes": found.size_bytes}
        print_json({"root": dest, **told})
        return
    print(f"{found.samples:,} samples in {shards_said(len(found.parts))}, {format_size(found.size_bytes)}, at {dest}")


def _samples(
    src: str, resize: int | None, kind: str | None, quality: int | None, *, keep_keys: bool
) -> tuple[Items, Mapping[str, Field] | None]:
    from leyden.data.shards.encode import JPEG_QUALITY
    from leyden.data.shards.folder import ImageFolder, Redo
    from leyden.data.shards.walk import Samples
    from leyden.data.sources.detect import open_source
    from leyden.data.sources.native import Shards

    wants = resize is not None or kind is not None or quality is not None
    if _holds_pictures(Path(src)):
        if quality is not None and kind == "png":
            raise UsageError(asked="--quality with --format png", found="PNG loses nothing", do="Leave one out.")
        redo = Redo(kind=kind or "jpeg", size=resize, quality=quality or JPEG_QUALITY) if wants else None
        folder = ImageFolder(Path(src), redo=redo, keep_keys=keep_keys)
        return folder, folder.schema
    if wants:
        raise UsageError(
            asked=f"--resize, --format or --quality for {src}",
            found="it is no folder of pictures; fields that belong together would no longer fit",
            do="Write the samples that you want with leyden.data.write_shards.",
        )
    source = open_source(src)
    return Samples(source, keep_keys=keep_keys), source.schema if isinstance(source, Shards) else None


def _holds_pictures(folder: Path) -> bool:
    """Pictures, and nothing that makes it a data set of another kind."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("dataset.json", "index.json")):
        return False
    seen = [path.suffix.lower() for _, path in zip(range(_LOOKED_AT), folder.rglob("*"), strict=False)]
    return any(one in _PICTURES for one in seen) and not any(one in {".tar", ".mds", ".parquet"} for one in seen)

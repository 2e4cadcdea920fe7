"""How do samples become a data set? Shard by shard, in parallel; stopped at any moment, it goes on from there."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from leyden.core.errors import ConfigurationError
from leyden.core.units import parse_size
from leyden.data.errors import CorruptError, DataError
from leyden.data.shards import dataset as listing
from leyden.data.shards.crew import Items, fetch
from leyden.data.shards.dataset import Dataset
from leyden.data.shards.encode import infer
from leyden.data.shards.finished import shard_name
from leyden.data.shards.index import SUFFIX
from leyden.data.shards.pack import Encoder
from leyden.data.shards.place import Place, open_place
from leyden.data.shards.progress import Bar
from leyden.data.shards.record import END
from leyden.data.shards.schema import Field, as_schema, check_names, settle, to_json
from leyden.data.shards.sized import write_sized
from leyden.data.shards.stream import write_stream

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SETTINGS: Final = "leyden-unfinished.json"  # there from before the first shard until after dataset.json
_PROBED: Final = 32  # samples whose sizes tell how many make a shard


def write_shards(
    samples: Iterable[Mapping[str, Any]] | Items,
    dest: str | Path | ObjectStore,
    *,
    schema: Mapping[str, Field | str] | None = None,
    shard_size: int | str = "128MB",
    samples_per_shard: int | None = None,
    workers: int | None = None,
    tile: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Dataset:
    """Store samples, dicts of fields, as tar shards at `dest`: a folder, s3://…, gs://…, http… or an obstore store.

    A value is bytes, a `Path` (the file's content), an array, a PIL image, a str, a number, or whatever JSON can say; a
    `Sample` of another data set is copied. Kinds are those of the first sample where `schema` (field → kind or `Field`)
    does not say otherwise, and hold for all. "__key__" names a sample; otherwise its number does.

    `samples` with len() and [] are packed by `workers` processes (default: one a core; 0: here), a shard each, of about
    `shard_size` (by the sizes of 32 samples) or exactly `samples_per_shard`. Any other iterable is read once, here, its
    pictures compressed in so many threads; shards are cut before they pass `shard_size`.

    `tile` stores JPEGs so that a crop can be cut out of the file (`leyden.data.decode.tiled`): the same pixels in a
    little less space, and half the work for a loader that crops; takes 3 ms a picture here.

    Run again after it was killed, it keeps the finished shards (local ones are compared with their checksums, the first
    sample of each with `samples`) and writes the rest: the same bytes as if written in one go. `overwrite` replaces a
    data set that is finished, or was begun otherwise. `progress`: None shows a bar on a terminal and lines elsewhere.

    Raises DataError for samples that do not fit, a full disk, or a `dest` that holds a data set already; FetchError
    where the object store refuses.
    """
    limit = parse_size(shard_size)
    if (samples_per_shard is not None and samples_per_shard < 1) or limit < 1 or (workers is not None and workers < 0):
        raise ConfigurationError(
            asked=f"{shard_size=}, {samples_per_shard=}, {workers=}",
            found="these must be positive",
            do="Leave them out.",
        )
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    sized = hasattr(samples, "__len__") and hasattr(samples, "__getitem__")
    listed = cast(Items, samples) if sized else None
    total = None if listed is None else len(listed)
    with closing(open_place(dest)) as place:
        _refuse_finished(place, overwrite=overwrite)
        first, stream = _first(samples, listed)
        kinds = settle(infer(first), as_schema(schema))
        check_names(kinds)
        encoder = Encoder(schema=kinds, tile=tile)
        asked = {"samples": total, "tile": tile, "samples_per_shard": samples_per_shard, "shard_size_bytes": limit}
        told = _begun(place, {**asked, "schema": to_json(kinds)}, overwrite=overwrite)
        cut = (
            told.get("cut") or samples_per_shard or (listed is not None and _per_shard(listed, encoder, limit)) or None
        )
        place.write(SETTINGS, json.dumps({**asked, "schema": to_json(kinds), "cut": cut}, indent=1).encode())
        with Bar(f"writing {place.url}", total, show=progress) as bar:
            try:
                if listed is not None and cut:
                    shards = write_sized(listed, place, encoder, cut, workers, bar, resume=bool(told))
                else:
                    shards = write_stream(stream, place, encoder, limit, cut, workers, bar, resume=bool(told))
            except KeyboardInterrupt:
                if progress is not False:
                    print("\nstopped: run the same again, and it goes on", file=sys.stderr)
                raise
        found = listing.combine(shards)
        place.write(listing.NAME, found.to_bytes())
        place.delete(SETTINGS)
        return found


def _refuse_finished(place: Place, *, overwrite: bool) -> None:
    """A finished data set is removed if that is wanted: its list first, so that no half of it is ever one."""
    raw = place.read(listing.NAME)
    if raw is None:
        return
    if not overwrite:
        raise DataError(
            asked=f"samples were to be written to {place.url}",
            found="there is a data set already",
            do="Give overwrite=True to replace it, or another place.",
        )
    place.delete(listing.NAME)
    place.delete(SETTINGS)
    try:
        names = [part.name for part in Dataset.from_bytes(raw, place.url).parts]
    except CorruptError:
        names = []
    _remove(place, names)


def _begun(place: Place, asked: Mapping[str, object], *, overwrite: bool) -> dict[str, Any]:
    """What an unfinished data set there was begun with, if the same was asked now; else {}: a new one."""
    raw = place.read(SETTINGS)
    if raw is None:
        if not overwrite and place.size(shard_name(0)) is not None:
            raise DataError(
                asked=f"samples were to be written to {place.url}",
                found=f"{shard_name(0)} is there, of another data set",
                do="Give overwrite=True to replace it, or another place.",
            )
        return {}
    told: dict[str, Any] = json.loads(raw)
    if all(told.get(name) == value for name, value in json.loads(json.dumps(asked)).items()):
        return told
    if not overwrite:
        odd = next(name for name, value in asked.items() if told.get(name) != json.loads(json.dumps(value)))
        raise DataError(
            asked=f"samples were to be written to {place.url} with {odd} {asked[odd]}",
            found=f"an unfinished data set is there, begun with {told.get(odd)}",
            do="Ask for the same to finish it, or give overwrite=True to begin anew.",
        )
    _remove(
        place,
        itertools.takewhile(lambda name: place.size(name + SUFFIX) is not None, map(shard_name, itertools.count())),
    )
    return {}


def _remove(place: Place, names: Iterable[str]) -> None:
    for name in names:
        place.delete(name + SUFFIX)
        place.delete(name)


def _first(
    samples: Iterable[Mapping[str, Any]] | Items, listed: Items | None
) -> tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]:
    """The first sample, and all of a stream."""
    if listed is not None and len(listed):
        return fetch(listed, 0), []
    stream = iter(cast(Iterable[Mapping[str, Any]], samples))
    for first in stream:
        return first, itertools.chain([first], stream)
    raise DataError(asked="samples were to be written", found="there are none", do="Give one at least.")


def _per_shard(samples: Items, encoder: Encoder, limit: int) -> int:
    """So many that a shard has about `limit` bytes, and all shards nearly the same number."""
    probed = np.linspace(0, len(samples) - 1, min(len(samples), _PROBED)).astype(int).tolist()
    mean = sum(len(encoder(fetch(samples, number), number)[1]) for number in probed) / len(probed)
    fitting = max(1, int((limit - len(END)) / mean))
    return -(-len(samples) // -(-len(samples) // fitting))

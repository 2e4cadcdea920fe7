"""How is an iterable written? It is read once, in order; encoding runs ahead in threads, uploads behind in another."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import google_crc32c

from leyden.data.shards.dataset import Dataset, describe
from leyden.data.shards.finished import kept, others, publish, shard_name
from leyden.data.shards.pack import Encoded, Encoder, Pack
from leyden.data.shards.place import Place
from leyden.data.shards.progress import Bar
from leyden.data.shards.record import END

Samples = Iterator[tuple[int, Mapping[str, Any]]]


def write_stream(
    samples: Iterable[Mapping[str, Any]],
    place: Place,
    encoder: Encoder,
    limit: int,
    cut: int | None,
    threads: int,
    bar: Bar,
    *,
    resume: bool,
) -> list[Dataset]:
    """All shards: a new one begins before `limit` bytes are passed, or after `cut` samples."""
    numbered = enumerate(samples)
    shards = list(_skip_finished(numbered, place, encoder, bar)) if resume else []
    pack: Pack | None = None
    with ThreadPoolExecutor(1, "leyden-publish") as behind:
        publishing: Future[Dataset] | None = None
        try:
            for one in _encode_ahead(encoder, numbered, threads):
                if pack and (len(pack) == cut if cut else pack.size_bytes + len(one[1]) + len(END) > limit):
                    if publishing:
                        shards.append(publishing.result())
                    publishing, pack = behind.submit(_publish, place, pack), None
                pack = pack or Pack(place.scratch, shard_name(len(shards) + (publishing is not None)))
                pack.add(one)
                bar.add(1)
        except BaseException:
            if pack:
                pack.abandon()
            raise
        if publishing:
            shards.append(publishing.result())
    return [*shards, _publish(place, pack)] if pack else shards


def _publish(place: Place, pack: Pack) -> Dataset:
    try:
        index = pack.finish()
    except BaseException:
        pack.abandon()
        raise
    publish(place, pack.path, pack.name, index)
    return describe(pack.name, index)


def _skip_finished(samples: Samples, place: Place, encoder: Encoder, bar: Bar) -> Iterator[Dataset]:
    """The finished shards from the first on. Their samples are passed over; the first of each must be the same."""
    for name in map(shard_name, itertools.count()):
        found = kept(place, name)
        if found is None:
            return
        raw, index = found
        number, first = next(samples, (-1, None))
        if first is None or google_crc32c.value(encoder(first, number)[1]) != index.crc32c[0]:
            raise others(name, place)
        passed = sum(1 for _ in itertools.islice(samples, len(index) - 1))
        if passed < len(index) - 1:
            raise others(name, place)
        bar.add(len(index))
        yield describe(name, raw)


def _encode_ahead(encoder: Encoder, samples: Samples, threads: int) -> Iterator[Encoded]:
    """In order. Threads only where there are pictures to compress: for the rest they cost more than they give."""
    first = next(samples, None)
    if first is None:
        return
    numbered = itertools.chain([first], samples)
    if threads < 2 or not encoder.slow(first[1]):
        for number, sample in numbered:
            yield encoder(sample, number)
        return
    with ThreadPoolExecutor(threads, "leyden-encode") as pool:
        ahead: deque[Future[Encoded]] = deque()
        try:
            for number, sample in numbered:
                ahead.append(pool.submit(encoder, sample, number))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

"""What lies below a prefix of an object store? Small objects read, written and listed with fetch.py's policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import obstore

from leyden.data.errors import DataError
from leyden.data.tiers import net
from leyden.data.tiers.fetch import Fetcher, version
from leyden.data.tiers.here import check_name
from leyden.data.tiers.remote import Root
from leyden.data.tiers.store import UnrangedError, open_store


@final
class Bucket(Root):
    """A prefix in an object store."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.url, self.fetcher = fetcher.url, fetcher

    @classmethod
    def open(cls, url: str, options: Mapping[str, str] | None, timeout_s: float) -> Bucket:
        """Raises DataError for what obstore cannot open."""
        return cls(Fetcher(url, open_store(url, timeout_s, options), timeout_s=timeout_s))

    def get(self, name: str) -> bytes:
        """By one request."""
        return b"".join(net.wait_for(self.fetcher.read(check_name(self.url, name), 0, None)).chunks)

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """By one ranged request; where the store has no ranges, out of the whole object."""
        try:
            return net.wait_for(get_range(self.fetcher, check_name(self.url, name), start, stop))
        except UnrangedError:
            return self.get(name)[start:stop]

    def put(self, name: str, data: bytes) -> None:
        """By one request, or several parts for a big one."""
        net.wait_for(self.fetcher.write(check_name(self.url, name), data))

    def stat(self, name: str) -> tuple[int, str]:
        """By one request."""
        return net.wait_for(self.fetcher.stat(check_name(self.url, name)))

    def stats(self, prefix: str = "") -> dict[str, tuple[int, str]]:
        """By listing: a thousand files a request."""

        async def listed() -> dict[str, tuple[int, str]]:
            found: dict[str, tuple[int, str]] = {}
            async for page in obstore.list(self.fetcher.store, prefix or None, chunk_size=1000):
                found |= {meta["path"]: (meta["size"], version(meta)) for meta in page}
            return found

        try:
            return net.wait_for(listed())
        except (obstore.exceptions.BaseError, OSError) as error:
            raise DataError(
                asked=f"{self.url}/{prefix} was to be listed",
                found=str(error).strip().partition("\n")[0][:300],
                do="See that the store can be listed (plain HTTP cannot) and the credentials allow it.",
            ) from error


async def get_range(fetcher: Fetcher, name: str, start: int, stop: int | None) -> bytes:
    """Bytes of an object, on the loop; stop=None: to the end. Raises UnrangedError."""
    if start == 0 and stop is None:
        return b"".join((await fetcher.read(name, 0, None)).chunks)
    if stop is None:
        stop = (await fetcher.stat(name))[0]
    return b"".join((await fetcher.read(name, start, stop)).chunks)

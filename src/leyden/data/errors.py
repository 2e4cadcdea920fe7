"""What can go wrong with data, by cause: what was fetched, what was stored, what a transform did."""

from __future__ import annotations

from leyden.core.errors import LeydenError


class DataError(LeydenError):
    """Data cannot be had as asked."""


class FetchError(DataError):
    """An object could not be fetched within the time-out; says which object and why."""


class CorruptError(DataError):
    """Bytes are not those that were written: a checksum, a length or a header does not match."""


class SampleError(DataError):
    """A sample could not be decoded or transformed; says sample, shard, offset and the user's line."""

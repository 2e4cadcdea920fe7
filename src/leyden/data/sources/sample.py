"""What does a transform get? A sample whose fields are decoded when they are asked for, and not before."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from leyden.data.decode.picture import Picture
from leyden.data.errors import DataError

if TYPE_CHECKING:
    from leyden.data.decode.rows import Rows

KINDS: Final = ("bytes", "jpeg", "png", "array", "rows", "text", "json", "int", "float")
Raw = bytes | memoryview


@final
class Sample(Mapping[str, Any]):
    """Fields by name. `sample["image"]` decodes: a picture to uint8 (H, W, 3), an array, a str, JSON, a number.

    `sample.picture("image")` decodes later and only the part that is used; `sample.array("depth")` is a view of an
    array, not copied and not to be written to; `sample.rows("mask")` reads only some rows of an array that is stored in
    compressed bands (kind "rows"); `sample.raw("image")` gives the bytes. `values` holds what a format
    stores as Python or NumPy values already (Parquet's columns).
    """

    __slots__ = ("_fields", "_values", "key")

    def __init__(
        self, key: str, fields: Mapping[str, tuple[str, Raw]], values: Mapping[str, Any] | None = None
    ) -> None:
        self.key = key
        self._fields, self._values = fields, values or {}

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        kind, raw = self._find(name)
        return decode(kind, raw)

    def __iter__(self) -> Iterator[str]:
        yield from self._fields
        yield from self._values

    def __len__(self) -> int:
        return len(self._fields) + len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._fields or name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """The field, or `default` where there is none."""
        return self[name] if name in self else default  # noqa: SIM401  that would be this method

    def raw(self, name: str) -> Raw:
        """The bytes as stored."""
        return self._find(name)[1]

    def picture(self, name: str) -> Picture:
        """A JPEG or PNG field, not decoded yet."""
        return Picture(self.raw(name))

    def array(self, name: str) -> NDArray[Any]:
        """An array field as it lies in memory; read-only."""
        return view(self.raw(name))

    def rows(self, name: str) -> Rows:
        """A field of kind "rows", not decompressed yet."""
        from leyden.data.decode.rows import Rows  # loads zstandard

        return Rows(self.raw(name))

    def stored(self) -> Iterator[tuple[str, str, Raw]]:
        """Name, kind and bytes of the fields that are stored as bytes."""
        for name, (kind, raw) in self._fields.items():
            yield name, kind, raw

    def _find(self, name: str) -> tuple[str, Raw]:
        try:
            return self._fields[name]
        except KeyError:
            raise DataError(
                asked=f"field {name!r} of sample {self.key} was asked for",
                found=f"it has {', '.join(self) or 'no fields'}",
                do="Use one of these names.",
            ) from None


def decode(kind: str, raw: Raw) -> Any:
    """The value that a field's bytes stand for; `kind` is one of KINDS."""
    match kind:
        case "jpeg" | "png":
            return Picture(raw).decode()
        case "array":
            return view(raw).copy(order="A")
        case "rows":
            from leyden.data.decode.rows import Rows

            return Rows(raw).decode()
        case "text":
            return bytes(raw).decode()
        case "json" | "int" | "float":
            return _PARSE[kind](bytes(raw))
    return bytes(raw)


_PARSE: Final[Mapping[str, Callable[[bytes], Any]]] = {"json": json.loads, "int": int, "float": float}


def view(raw: Raw) -> NDArray[Any]:
    """The array that .npy bytes hold, over these bytes. Raises ValueError if they do not."""
    head = array_head(raw)
    flat = np.frombuffer(raw, head.dtype, head.items, head.size_bytes)
    return flat.reshape(head.shape, order="F" if head.fortran else "C")


class Head(NamedTuple):
    """What an array's .npy header says, and how long it is."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    items: int
    size_bytes: int


def array_head(raw: Raw) -> Head:
    """NumPy's own parser, asked once for every header that differs: it takes 40 µs."""
    size = 10 + int.from_bytes(raw[8:10], "little") if raw[6:7] == b"\x01" else 12 + int.from_bytes(raw[8:12], "little")
    return _parsed(bytes(raw[:size]))


@lru_cache(4096)
def _parsed(head: bytes) -> Head:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is never loaded: it could run code")
    return Head(dtype, shape, fortran, int(np.prod(shape, dtype=np.int64)), len(head))

"""What does a transform get? A sample whose fields are decoded when they are asked for, and not before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import numpy as np

from leyden.data.decode.picture import Picture
from leyden.data.errors import DataError

KINDS: Final = ("bytes", "jpeg", "png", "array", "text", "json", "int", "float")
Raw = bytes | memoryview


@final
class Sample(Mapping[str, Any]):
    """Fields by name. `sample["image"]` decodes: a picture to uint8 (H, W, 3), an array, a str, JSON, a number.

    `sample.picture("image")` decodes later and only the part that is used; `sample.raw("image")` gives the bytes.
    `values` holds what a format stores as Python or NumPy values already (Parquet's columns).
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

    def raw(self, name: str) -> Raw:
        """The bytes as stored."""
        return self._find(name)[1]

    def picture(self, name: str) -> Picture:
        """A JPEG or PNG field, not decoded yet."""
        return Picture(self.raw(name))

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
            return np.load(io.BytesIO(raw), allow_pickle=False)
        case "text":
            return bytes(raw).decode()
        case "json" | "int" | "float":
            return json.loads(bytes(raw))
    return bytes(raw)

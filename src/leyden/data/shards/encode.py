"""How do a sample's values become bytes? One function a kind; each refuses what it cannot give back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leyden.data.errors import DataError
from leyden.data.shards.schema import Field, Schema, form, items
from leyden.data.sources.sample import Raw, Sample, decode

MAGIC: Final = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
JPEG_QUALITY: Final = 95
Values = Mapping[str, Any]
Coded = tuple[bytes, int, Field]  # bytes, length in items, the field as it is in this sample


@dataclass(frozen=True, slots=True)
class Stored:
    """A value of a `Sample`: bytes already, and of which kind."""

    kind: str
    raw: Raw


def infer(sample: Values) -> dict[str, Field]:
    """The schema that this sample has: JPEG and PNG by their first bytes, arrays by dtype, the rest by type."""
    return {name: Field(kind=_kind(value), dtype=_dtype(value)) for name, value in _fields(sample).items()}


def encode(schema: Schema, sample: Values, key: str) -> dict[str, Coded]:
    """Bytes, length in items and the field as it is here, by name and in the order of the schema.

    Raises DataError naming sample and field for one that is missing, not in the schema, or of another kind.
    """
    if not isinstance(sample, Mapping):
        raise DataError(
            asked=f"sample {key} was to be stored",
            found=f"it is a {type(sample).__name__}",
            do='Give dicts of fields, e.g. {"image": …, "label": …}.',
        )
    fields = _fields(sample)
    if fields.keys() != schema.keys():
        odd = sorted(fields.keys() ^ schema.keys())[0]
        raise DataError(
            asked=f"sample {key} was to be stored with the fields {', '.join(schema)}",
            found=f"field {odd!r} is {'missing' if odd in schema else 'not among them'}",
            do="Give every sample the same fields.",
        )
    return {name: _encode(field, fields[name], name, key) for name, field in schema.items()}


def stored(sample: Sample) -> dict[str, Any]:
    """Its fields as they are stored, not decoded."""
    found = {name: Stored(kind, raw) for name, kind, raw in sample.stored()}
    return {name: found.get(name) or sample[name] for name in sample}


def _fields(sample: Values) -> dict[str, Any]:
    """Without "__key__", "__url__" and the like, which are WebDataset's; files as their contents."""
    if isinstance(sample, Sample):
        return stored(sample)
    return {
        name: value.read_bytes() if isinstance(value, Path) else value
        for name, value in sample.items()
        if not name.startswith("__")
    }


def _kind(value: Any) -> str:
    if isinstance(value, Stored):
        return value.kind
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(value[:8])
        return next((kind for kind, magic in MAGIC.items() if head.startswith(magic)), "bytes")
    if isinstance(value, Image.Image):
        return "jpeg" if value.format == "JPEG" else "png"
    plain = next((kind for types, kind in _TYPES if isinstance(value, types)), None)
    return plain or ("array" if hasattr(value, "__array__") else "json")


def _dtype(value: Any) -> str | None:
    kind = _kind(value)
    if kind not in {"array", "rows"}:
        return None
    return form(kind, bytes(value.raw))[0] if isinstance(value, Stored) else np.asarray(value).dtype.str


def _encode(field: Field, value: Any, name: str, key: str) -> Coded:
    try:
        if isinstance(value, Stored):
            return _copy(field, value)
        return _ENCODERS[field.kind](field, value)
    except (TypeError, ValueError, OSError) as error:
        raise DataError(
            asked=f"field {name!r} of sample {key} was to be stored as {field.kind}",
            found=f"{_short(value)} cannot be: {error}",
            do="Give every sample values of one kind, or say the kinds with schema=….",
        ) from error


def _copy(field: Field, value: Stored) -> Coded:
    """As it is, if it is of the kind wanted: no picture is compressed a second time."""
    if value.kind != field.kind:
        return _ENCODERS[field.kind](field, decode(value.kind, value.raw))
    raw = bytes(value.raw)
    if field.kind in {"array", "rows"}:
        dtype, shape = form(field.kind, raw)
        _check_array(field, np.dtype(dtype), shape)
        field = replace(field, dtype=dtype, shape=shape)
    return raw, items(field.kind, raw), field


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}{list(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '…'}"


def _bytes(field: Field, value: Any) -> Coded:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are wanted")
    raw = bytes(value)
    return raw, len(raw), field


def _picture(field: Field, value: Any) -> Coded:
    if not isinstance(value, bytes | bytearray | memoryview):
        value = compress(field.kind, value if isinstance(value, Image.Image) else Image.fromarray(np.asarray(value)))
    raw = bytes(value)
    if not raw.startswith(MAGIC[field.kind]):
        raise ValueError(f"its first bytes {raw[:4]!r} are not those of a {field.kind.upper()}")
    return raw, len(raw), field


def compress(kind: str, image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """A picture as JPEG (grey or RGB) or PNG."""
    stream = io.BytesIO()
    if kind == "jpeg":
        image.convert("L" if image.mode in {"1", "L"} else "RGB").save(stream, "JPEG", quality=quality)
    else:
        image.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _array(field: Field, value: Any) -> Coded:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no fixed form")
    _check_array(field, array.dtype, array.shape)
    here = replace(field, dtype=array.dtype.str, shape=array.shape)
    return _packed(field.kind, array), array.shape[0] if array.ndim else 1, here


def _packed(kind: str, array: NDArray[Any]) -> bytes:
    if kind == "rows":
        from leyden.data.decode.rows import pack_rows

        return pack_rows(array)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _check_array(field: Field, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if field.dtype is not None and np.dtype(field.dtype) != dtype:
        raise TypeError(f"it is of {dtype}, {np.dtype(field.dtype)} is wanted")
    axes = field.shape
    if axes is not None and (
        len(axes) != len(shape) or any(want not in {None, found} for want, found in zip(axes, shape, strict=True))
    ):
        raise ValueError(f"it is {list(shape)}, {list(axes)} is wanted")


def _text(field: Field, value: Any) -> Coded:
    if not isinstance(value, str):
        raise TypeError("a str is wanted")
    return value.encode(), len(value), field


def _json(field: Field, value: Any) -> Coded:
    plain = value.item() if isinstance(value, np.generic) else value
    raw = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return raw, len(raw), field


def _int(field: Field, value: Any) -> Coded:
    if not (isinstance(value, int | np.integer) or getattr(value, "shape", None) == ()) or int(value) != value:
        raise TypeError("a whole number is wanted")
    raw = b"%d" % int(value)
    return raw, len(raw), field


def _float(field: Field, value: Any) -> Coded:
    if not (isinstance(value, int | float | np.number) or getattr(value, "shape", None) == ()):
        raise TypeError("a number is wanted")
    raw = json.dumps(float(value)).encode()
    return raw, len(raw), field


_TYPES: Final = (
    (str, "text"),
    (bool | np.bool_, "json"),
    (int | np.integer, "int"),
    (float | np.floating, "float"),
)
_ENCODERS: Final[Mapping[str, Callable[[Field, Any], Coded]]] = {
    "bytes": _bytes,
    "jpeg": _picture,
    "png": _picture,
    "array": _array,
    "rows": _array,
    "text": _text,
    "json": _json,
    "int": _int,
    "float": _float,
}

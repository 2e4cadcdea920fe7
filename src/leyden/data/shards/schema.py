"""What fields has a sample, and how do their values become bytes? The schema of a data set."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.sources.sample import KINDS

# What a member of the tar is called after the field's name: WebDataset's decoders go by it.
SUFFIXES: Final = {
    "bytes": "bin",
    "jpeg": "jpg",
    "png": "png",
    "array": "npy",
    "text": "txt",
    "json": "json",
    "int": "cls",
    "float": "json",
}
_KIND_OF: Final = {
    **{
        "jpg": "jpeg",
        "jpeg": "jpeg",
        "png": "png",
        "npy": "array",
        "txt": "text",
        "text": "text",
        "transcript": "text",
    },
    **{"json": "json", "jsn": "json", "cls": "int", "cls2": "int", "index": "int", "inx": "int", "id": "int"},
}
_NAME: Final = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*", re.ASCII)
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_QUALITY: Final = 95
Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What one field holds in every sample.

    `dtype` and `shape` are those of arrays; an axis of None differs from sample to sample. `names` are the classes that
    the numbers of an int field stand for.
    """

    kind: str  # one of sources.sample.KINDS
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(
                asked=f"a field of kind {self.kind!r}", found="there is no such kind", do=f"Use {', '.join(KINDS)}."
            )


Schema = Mapping[str, Field]


def as_schema(given: Mapping[str, Field | str] | None) -> dict[str, Field] | None:
    """Fields as they are given: `{"image": "jpeg", "label": Field(kind="int", names=("cat", "dog"))}`."""
    if given is None:
        return None
    schema = {name: Field(kind=one) if isinstance(one, str) else one for name, one in given.items()}
    _check_names(schema)
    return schema


def infer(sample: Values) -> dict[str, Field]:
    """The schema that this sample has: JPEG and PNG by their first bytes, arrays by dtype, the rest by type."""
    schema = {name: Field(kind=_kind(value), dtype=_dtype(value)) for name, value in _fields(sample).items()}
    _check_names(schema)
    return schema


def encode(schema: Schema, sample: Values, key: str) -> dict[str, tuple[bytes, int, Field]]:
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


def member(name: str, kind: str) -> str:
    """What follows a sample's key in the name of the tar's member.

    >>> member("image", "jpeg"), member("label", "int"), member("jpg", "jpeg"), member("seg.png", "png")
    ('image.jpg', 'label.cls', 'jpg', 'seg.png')
    """
    return name if _KIND_OF.get(name.rpartition(".")[2].lower()) == kind else f"{name}.{SUFFIXES[kind]}"


def kind_of(extension: str) -> str:
    """The kind of a member that only its name tells about.

    >>> kind_of("jpg"), kind_of("seg.png"), kind_of("tiff")
    ('jpeg', 'png', 'bytes')
    """
    return _KIND_OF.get(extension.rpartition(".")[2].lower(), "bytes")


def items(kind: str, raw: bytes) -> int:
    """How long a stored value is: characters of text, rows of an array (1 for a single number), else bytes."""
    if kind == "text":
        return len(raw.decode())
    if kind == "array":
        shape = array_head(raw)[1]
        return shape[0] if shape else 1
    return len(raw)


def array_head(raw: bytes) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of an array in NumPy's .npy form, from its header."""
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return dtype.str, shape


def merge(seen: Schema, new: Schema) -> dict[str, Field]:
    """The schema of both together: an axis whose sizes differ becomes None."""
    return {name: replace(field, shape=_merge(field.shape, new[name].shape)) for name, field in seen.items()}


def _merge(one: tuple[int | None, ...] | None, two: tuple[int | None, ...] | None) -> tuple[int | None, ...] | None:
    if one is None or two is None or len(one) != len(two):
        return None
    return tuple(a if a == b else None for a, b in zip(one, two, strict=True))


def to_json(schema: Schema) -> dict[str, Any]:
    """As it stands in dataset.json and in the index files."""
    listed = {}
    for name, field in schema.items():
        more = {"dtype": field.dtype, "shape": field.shape, "names": field.names}
        kept = {key: value for key, value in more.items() if value is not None}
        listed[name] = {"kind": field.kind, "member": member(name, field.kind), **kept}
    return listed


def from_json(listed: Mapping[str, Mapping[str, Any]]) -> dict[str, Field]:
    """The reverse of `to_json`."""
    return {
        name: Field(
            kind=one["kind"],
            dtype=one.get("dtype"),
            shape=tuple(one["shape"]) if "shape" in one else None,
            names=tuple(one["names"]) if "names" in one else None,
        )
        for name, one in listed.items()
    }


def _fields(sample: Values) -> dict[str, Any]:
    """Without "__key__", "__url__" and the like, which are WebDataset's; files as their contents."""
    return {
        name: value.read_bytes() if isinstance(value, Path) else value
        for name, value in sample.items()
        if not name.startswith("__")
    }


def _check_names(schema: Schema) -> None:
    members = [member(name, field.kind) for name, field in schema.items()]
    bad = next((name for name in schema if not _NAME.fullmatch(name)), None)
    twice = next((one for one in members if members.count(one) > 1), None)
    if bad is not None or twice is not None or not schema:
        raise DataError(
            asked=f"samples with the fields {', '.join(map(repr, schema)) or '(none)'}",
            found="a sample needs one field at least"
            if not schema
            else f"{bad or twice!r} cannot be a file's name twice"
            if bad is None
            else f"{bad!r} cannot be part of a file's name",
            do="Name fields with letters, digits, _ and -.",
        )


def _kind(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(value[:8])
        return "jpeg" if head.startswith(_JPEG) else "png" if head == _PNG else "bytes"
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray) and value.ndim:
        return "array"
    if isinstance(value, bool | np.bool_):
        return "json"
    if isinstance(value, int | np.integer):
        return "int"
    if isinstance(value, float | np.floating):
        return "float"
    if _is_image(value):
        return "jpeg" if value.format == "JPEG" else "png"
    return "array" if hasattr(value, "__array__") else "json"


def _dtype(value: Any) -> str | None:
    return np.asarray(value).dtype.str if _kind(value) == "array" else None


def _is_image(value: Any) -> bool:
    return type(value).__module__.startswith("PIL.") and hasattr(value, "save")


def _encode(field: Field, value: Any, name: str, key: str) -> tuple[bytes, int, Field]:
    try:
        return _ENCODERS[field.kind](field, value)
    except (TypeError, ValueError, OSError) as error:
        raise DataError(
            asked=f"field {name!r} of sample {key} was to be stored as {field.kind}",
            found=f"{_short(value)} cannot be: {error}",
            do="Give every sample values of one kind, or say the kinds with schema=….",
        ) from error


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}{list(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '…'}"


def _bytes(field: Field, value: Any) -> tuple[bytes, int, Field]:
    if isinstance(value, str) or not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are wanted")
    raw = bytes(value)
    return raw, len(raw), field


def _picture(field: Field, value: Any) -> tuple[bytes, int, Field]:
    if not isinstance(value, bytes | bytearray | memoryview):
        value = _compress(field.kind, value)
    raw = bytes(value)
    if not raw.startswith(_JPEG if field.kind == "jpeg" else _PNG):
        raise ValueError(f"its first bytes {raw[:4]!r} are not those of a {field.kind.upper()}")
    return raw, len(raw), field


def _compress(kind: str, value: Any) -> bytes:
    from PIL import Image

    image = value if _is_image(value) else Image.fromarray(np.asarray(value))
    stream = io.BytesIO()
    if kind == "jpeg":
        image.convert("L" if image.mode in {"1", "L"} else "RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _array(field: Field, value: Any) -> tuple[bytes, int, Field]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no fixed form")
    if field.dtype is not None and np.dtype(field.dtype) != array.dtype:
        raise TypeError(f"dtype {np.dtype(field.dtype)} is wanted")
    shape = field.shape
    if shape is not None and (
        len(shape) != array.ndim or any(a not in {None, b} for a, b in zip(shape, array.shape, strict=True))
    ):
        raise ValueError(f"shape {list(shape)} is wanted")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    here = replace(field, dtype=array.dtype.str, shape=array.shape)
    return stream.getvalue(), array.shape[0] if array.ndim else 1, here


def _text(field: Field, value: Any) -> tuple[bytes, int, Field]:
    if not isinstance(value, str):
        raise TypeError("a str is wanted")
    return value.encode(), len(value), field


def _json(field: Field, value: Any) -> tuple[bytes, int, Field]:
    plain = value.item() if isinstance(value, np.generic) else value
    raw = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return raw, len(raw), field


def _int(field: Field, value: Any) -> tuple[bytes, int, Field]:
    if not (isinstance(value, int | np.integer) or getattr(value, "shape", None) == ()) or int(value) != value:
        raise TypeError("a whole number is wanted")
    raw = str(int(value)).encode()
    return raw, len(raw), field


def _float(field: Field, value: Any) -> tuple[bytes, int, Field]:
    if not (isinstance(value, int | float | np.number) or getattr(value, "shape", None) == ()):
        raise TypeError("a number is wanted")
    raw = json.dumps(float(value)).encode()
    return raw, len(raw), field


_ENCODERS: Final[Mapping[str, Callable[[Field, Any], tuple[bytes, int, Field]]]] = {
    "bytes": _bytes,
    "jpeg": _picture,
    "png": _picture,
    "array": _array,
    "text": _text,
    "json": _json,
    "int": _int,
    "float": _float,
}

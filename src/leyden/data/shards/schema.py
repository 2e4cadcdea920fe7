"""What fields have the samples of a data set, and what is in them? Its schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from leyden.data.errors import DataError
from leyden.data.sources.sample import KINDS, array_head

# What a member of the tar is called after the field's name: WebDataset's decoders go by it.
SUFFIXES: Final = {
    "bytes": "bin",
    "jpeg": "jpg",
    "png": "png",
    "array": "npy",
    "rows": "npy.zst",
    "text": "txt",
    "json": "json",
    "int": "cls",
    "float": "json",
}
_SAID_BY: Final = {
    "jpeg": "jpg jpeg",
    "png": "png",
    "array": "npy",
    "rows": "npy.zst",
    "text": "txt text transcript",
    "json": "json jsn",
    "int": "cls cls2 index inx id",
}
_KIND_OF: Final = {suffix: kind for kind, suffixes in _SAID_BY.items() for suffix in suffixes.split()}
_NAME: Final = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What one field holds in every sample.

    `dtype` and `shape` are those of arrays (kinds "array" and "rows"); an axis of None differs from sample to sample.
    `names` are the classes that the numbers of an int field stand for.
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


def as_schema(given: Mapping[str, Field | str] | None) -> dict[str, Field]:
    """Fields as they are given: `{"image": "jpeg", "label": Field(kind="int", names=("cat", "dog"))}`."""
    return {name: Field(kind=one) if isinstance(one, str) else one for name, one in (given or {}).items()}


def settle(found: Schema, given: Schema) -> dict[str, Field]:
    """What the first sample has, as far as nothing else is given. An array's dtype holds under another kind too."""
    wanted = {
        name: replace(field, dtype=found[name].dtype)
        if field.dtype is None and field.kind in {"array", "rows"} and name in found
        else field
        for name, field in given.items()
    }
    return {**found, **wanted}


def member(name: str, kind: str) -> str:
    """What follows a sample's key in the name of the tar's member.

    >>> member("image", "jpeg"), member("label", "int"), member("jpg", "jpeg"), member("seg.png", "png")
    ('image.jpg', 'label.cls', 'jpg', 'seg.png')
    """
    return name if kind_of(name) == kind != "bytes" else f"{name}.{SUFFIXES[kind]}"


def kind_of(extension: str) -> str:
    """The kind of a member that only its name tells about.

    >>> kind_of("jpg"), kind_of("seg.png"), kind_of("tiff")
    ('jpeg', 'png', 'bytes')
    """
    parts = extension.lower().split(".")
    return _KIND_OF.get(".".join(parts[-2:])) or _KIND_OF.get(parts[-1], "bytes")


def items(kind: str, raw: bytes) -> int:
    """How long a stored value is: characters of text, rows of an array (1 for a single number), else bytes."""
    if kind == "text":
        return len(raw.decode(errors="replace"))
    if kind in {"array", "rows"}:
        shape = form(kind, raw)[1]
        return shape[0] if shape else 1
    return len(raw)


def form(kind: str, raw: bytes) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of a stored array."""
    if kind == "rows":
        from leyden.data.decode.rows import Rows

        rows = Rows(raw)
        return rows.dtype.str, rows.shape
    head = array_head(raw)
    return head.dtype.str, head.shape


def merge(seen: Schema, new: Schema) -> dict[str, Field]:
    """The schema of both together: what differs from sample to sample becomes None."""
    return {**new, **{name: _merge(field, new[name]) if name in new else field for name, field in seen.items()}}


def _merge(one: Field, two: Field) -> Field:
    if one == two:
        return one
    axes = None
    if one.shape is not None and two.shape is not None and len(one.shape) == len(two.shape):
        axes = tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True))
    return replace(one, dtype=one.dtype if one.dtype == two.dtype else None, shape=axes)


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


def check_names(schema: Schema) -> None:
    """Raise DataError for fields that cannot be parts of files' names, or whose files would have the same name."""
    members = [member(name, field.kind) for name, field in schema.items()]
    found = "a sample needs one field at least" if not schema else ""
    for name, one in zip(schema, members, strict=True):
        if not _NAME.fullmatch(name):
            found = f"{name!r} cannot be part of a file's name"
        elif members.count(one) > 1:
            found = f"two of them would be files named {one!r}"
    if found:
        raise DataError(
            asked=f"samples with the fields {', '.join(map(repr, schema)) or '(none)'}",
            found=found,
            do="Name fields with letters, digits, _ and -.",
        )

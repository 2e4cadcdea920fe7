"""What value has a row of an Arrow column? Numbers and text as Python has them, lists of numbers as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# (the column's array, row) -> the kind of one of `Sample`'s fields, or None, and its bytes or value
Column = Callable[[Any, int], tuple[str | None, Any]]
_MAGIC: Final = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))


def column(kind: Any) -> Column:
    """The reader for columns of that Arrow type."""
    from pyarrow import types

    if isinstance(kind, _tensor_type()):
        return lambda array, row: (None, array[row].to_numpy().copy() if array[row].is_valid else None)
    if hasattr(kind, "storage_type"):
        below = column(kind.storage_type)
        return lambda array, row: below(array.storage, row)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _bytes
    if types.is_struct(kind) and {kind.field(at).name for at in range(kind.num_fields)} == {"bytes", "path"}:
        return _file
    leaf = kind
    while types.is_list(leaf) or types.is_large_list(leaf) or types.is_fixed_size_list(leaf):
        leaf = leaf.value_type
    if leaf is not kind and (types.is_integer(leaf) or types.is_floating(leaf) or types.is_boolean(leaf)):
        dtype = np.dtype(leaf.to_pandas_dtype())
        return _vector if leaf == kind.value_type else lambda array, row: _array(array, row, dtype)
    return lambda array, row: (None, array[row].as_py())


def _tensor_type() -> Any:
    import pyarrow

    return pyarrow.FixedShapeTensorType


def _bytes(array: Any, row: int) -> tuple[str | None, Any]:
    buffer = array[row].as_buffer()
    return (None, None) if buffer is None else ("bytes", memoryview(buffer))


def _file(array: Any, row: int) -> tuple[str | None, Any]:
    """A picture or another file, as Hugging Face stores it. Where there is only a path, the value is just that."""
    value = array[row]
    buffer = value["bytes"].as_buffer() if value.is_valid else None
    if buffer is None:
        return None, value.as_py()
    raw = memoryview(buffer)
    head = bytes(raw[:8])
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "bytes"), raw


def _vector(array: Any, row: int) -> tuple[None, NDArray[Any] | list[Any] | None]:
    """Numbers as an array, with a copy: the file's own memory must not be written to. A list if some are missing."""
    value = array[row]
    if not value.is_valid or value.values.null_count:
        return None, value.as_py()
    return None, value.values.to_numpy(zero_copy_only=False).copy()


def _array(array: Any, row: int, dtype: np.dtype[Any]) -> tuple[None, Any]:
    """Lists of lists as an array, if all are of one length and nothing is missing."""
    value = array[row].as_py()
    try:
        found = np.array(value)
    except ValueError:
        return None, value
    return None, value if found.dtype == object or value is None else found.astype(dtype)

"""How do samples become one batch? Row by row, in the place where the batch will be read.

Arrays and tensors of one shape are stacked, numbers become arrays, dicts, tuples and lists stay what they are, all
else (strings, bytes, None, objects) becomes a list. The parent is sent the tree with a `Leaf` in place of each array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from leyden.data.workers.ring import Arena

_KINDS: Final = "biufc"  # of arrays that lie in memory as they are


class Leaf(NamedTuple):
    """An array in the slot. `dtype` is NumPy's, or "bfloat16"."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class Whole(NamedTuple):
    """A list that is not to be looked into."""

    values: list[Any]


class MismatchError(ValueError):
    """A sample does not fit to the first of its batch."""


def rebuild(tree: Any, make: Callable[[Leaf], Any]) -> Any:
    """The batch: every leaf as what `make` makes of it."""
    if type(tree) is Leaf:
        return make(tree)
    if type(tree) is Whole:
        return tree.values
    if type(tree) is dict:
        return {key: rebuild(value, make) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return like(tree, [rebuild(value, make) for value in tree])
    return tree


def place(tree: Any, arena: Arena) -> Any:
    """What a `collate` of the user's returned, its arrays written into the slot."""
    if (found := as_array(tree)) is not None:
        array, name = found
        offset, there = arena.take(array.dtype, array.shape)
        np.copyto(there, array)
        return Leaf(name, array.shape, offset)
    if isinstance(tree, Mapping):
        return {key: place(value, arena) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return like(tree, [place(value, arena) for value in tree])
    return tree


@final
class Rows:
    """A batch that grows by one sample at a time."""

    def __init__(self, arena: Arena, most: int) -> None:
        self._arena, self._most, self._node = arena, most, None
        self.count = 0

    _node: _Node | None

    def add(self, sample: Any) -> None:
        """One more. Raises MismatchError, and the batch is as before."""
        if self._node is None:
            self._node = _node(sample, self._most, self._arena, "")
        self._node.put(self.count, sample)
        self.count += 1

    def tree(self) -> Any:
        """What to send to the parent."""
        return self._node.done(self.count) if self._node and self.count else None


def as_array(value: Any) -> tuple[NDArray[Any], str] | None:
    """The array and the name of its dtype, if the value is one (scalars, tensors, PIL images are) of a plain kind."""
    if not isinstance(value, np.ndarray):
        kind = type(value)
        if isinstance(value, np.generic):
            value = np.asarray(value)
        elif kind.__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                return value.view(sys.modules["torch"].int16).numpy(), "bfloat16"
            value = value.numpy()
        elif hasattr(value, "__array_interface__"):
            value = np.asarray(value)
        else:
            return None
    if value.dtype.kind not in _KINDS:
        return None
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    return value, value.dtype.str


def like(tree: Any, values: list[Any]) -> Any:
    """A list, tuple or named tuple of these values."""
    if isinstance(tree, list):
        return values
    return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)


class _Node(Protocol):
    def put(self, row: int, value: Any) -> None: ...
    def done(self, count: int) -> Any: ...


def _node(value: Any, most: int, arena: Arena, path: str) -> _Node:
    if (found := as_array(value)) is not None:
        return _Arrays(*found, most, arena, path)
    if isinstance(value, bool | int | float | complex):
        return _Numbers(arena)
    if isinstance(value, Mapping):
        return _Dict({key: _node(each, most, arena, f"{path}[{key!r}]") for key, each in value.items()}, path)
    if isinstance(value, tuple | list):
        return _Sequence(value, [_node(each, most, arena, f"{path}[{i}]") for i, each in enumerate(value)], path)
    return _Things()


@final
class _Arrays:
    def __init__(self, first: NDArray[Any], name: str, most: int, arena: Arena, path: str) -> None:
        self._shape, self._dtype, self._name, self._path = first.shape, first.dtype, name, path
        self._offset, self._rows = arena.take(first.dtype, (most, *first.shape))

    def put(self, row: int, value: Any) -> None:
        if not (isinstance(value, np.ndarray) and value.dtype == self._dtype):
            value = self._convert(value)
        if value.shape != self._shape:
            raise MismatchError(f"its value{self._path} has shape {value.shape}, the first of the batch {self._shape}")
        self._rows[row] = value

    def _convert(self, value: Any) -> NDArray[Any]:
        found = as_array(value)
        if found is None or found[1] != self._name:
            what = found[1] if found else type(value).__name__
            raise MismatchError(f"its value{self._path} is {what}, the first of the batch {self._name}")
        return found[0]

    def done(self, count: int) -> Leaf:
        return Leaf(self._name, (count, *self._shape), self._offset)


@final
class _Numbers:
    def __init__(self, arena: Arena) -> None:
        self._arena, self._values = arena, list[Any]()

    def put(self, row: int, value: Any) -> None:
        self._values[row:] = [value]

    def done(self, count: int) -> Leaf | Whole:
        values = self._values[:count]
        if not all(isinstance(value, bool | int | float | complex | np.number) for value in values):
            return Whole(values)
        array = np.asarray(values)
        if array.dtype.kind not in _KINDS:  # integers of more than 64 bits
            return Whole(values)
        offset, there = self._arena.take(array.dtype, array.shape)
        there[:] = array
        return Leaf(array.dtype.str, array.shape, offset)


@final
class _Things:
    def __init__(self) -> None:
        self._values: list[Any] = []

    def put(self, row: int, value: Any) -> None:
        self._values[row:] = [bytes(value) if isinstance(value, memoryview) else value]

    def done(self, count: int) -> Whole:
        return Whole(self._values[:count])


@final
class _Dict:
    def __init__(self, nodes: dict[Any, _Node], path: str) -> None:
        self._nodes, self._path = nodes, path

    def put(self, row: int, value: Any) -> None:
        if not isinstance(value, Mapping) or value.keys() != self._nodes.keys():
            found = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise MismatchError(
                f"its value{self._path} has {found}, the first of the batch {sorted(map(str, self._nodes))}"
            )
        for key, node in self._nodes.items():
            node.put(row, value[key])

    def done(self, count: int) -> dict[Any, Any]:
        return {key: node.done(count) for key, node in self._nodes.items()}


@final
class _Sequence:
    def __init__(self, kind: Sequence[Any], nodes: list[_Node], path: str) -> None:
        self._kind, self._nodes, self._path = kind, nodes, path

    def put(self, row: int, value: Any) -> None:
        if not isinstance(value, tuple | list) or len(value) != len(self._nodes):
            found = f"{len(value)} values" if isinstance(value, tuple | list) else type(value).__name__
            raise MismatchError(f"its value{self._path} has {found}, the first of the batch {len(self._nodes)} values")
        for node, each in zip(self._nodes, value, strict=True):
            node.put(row, each)

    def done(self, count: int) -> Any:
        return like(self._kind, [node.done(count) for node in self._nodes])

"""How do tensors lie on disk? As safetensors: a JSON header, then bytes. No pickle.

A tensor may be spread over several files, of which each holds a box of it; where the boxes lie in the whole stands in
the headers, so that the files tell all by themselves. Files are written in one pass with their checksum, straight from
the tensors' memory and without Python's lock, so that training goes on beside it. They are read lazily: any box of
any tensor, whatever boxes it was written in.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

_BLOCK_BYTES = 1 << 22
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a part lies in its whole tensor, dimension by dimension."""

    shape: tuple[int, ...]  # of the whole
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, value: Tensor) -> Box:
        """What this rank holds of the tensor."""
        if isinstance(value, DTensor):
            for chunk in value.__create_chunk_list__():  # type: ignore[no-untyped-call]  # as torch.distributed.checkpoint asks
                return cls(shape=tuple(value.shape), offsets=tuple(chunk.offsets), sizes=tuple(chunk.sizes))
            return cls(shape=tuple(value.shape), offsets=(0,) * value.ndim, sizes=(0,) * value.ndim)
        return cls.whole(tuple(value.shape))

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Box:
        """All of a tensor."""
        return cls(shape=shape, offsets=(0,) * len(shape), sizes=shape)

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.sizes)

    def overlap(self, other: Box) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
        """What both cover: as slices of this box and as slices of the other."""
        mine, theirs = [], []
        for at, size, other_at, other_size in zip(self.offsets, self.sizes, other.offsets, other.sizes, strict=True):
            start, stop = max(at, other_at), min(at + size, other_at + other_size)
            if start >= stop:
                return None
            mine.append(slice(start - at, stop - at))
            theirs.append(slice(start - other_at, stop - other_at))
        return tuple(mine), tuple(theirs)


class Stamped:
    """A file that is written front to back, counted and summed on the way; on disk for good when the context ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.stamp = {"size_bytes": 0, "crc32": 0}

    def __enter__(self) -> Stamped:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                os.fsync(self._file.fileno())

    def write(self, data: Any) -> int:
        """As a file's; all of the data."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _BLOCK_BYTES):
            block = view[start : start + _BLOCK_BYTES]
            self.stamp["crc32"] = zlib.crc32(block, self.stamp["crc32"])
            while len(block):
                block = block[self._file.write(block) :]
        self.stamp["size_bytes"] += len(view)
        return len(view)

    def flush(self) -> None:
        """Nothing waits."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], boxes: Mapping[str, Box] | None = None) -> dict[str, int]:
    """Write a file; returns its stamp (size_bytes, crc32). Tensors that share memory are stored once.

    `boxes` says of which tensors these are only parts. Raises TypeError for a dtype that safetensors does not know.
    """
    first: dict[tuple[Any, ...], str] = {}
    own: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, value in tensors.items():
        key = (value.data_ptr() if value.numel() else name, value.shape, value.stride(), value.dtype)
        if first.setdefault(key, name) == name:
            own[name] = value
        else:
            aliases[name] = first[key]
    parts = {name: [box.shape, box.offsets] for name, box in (boxes or {}).items() if box.sizes != box.shape}
    header: dict[str, Any] = {"__metadata__": {"aliases": json.dumps(aliases), "parts": json.dumps(parts)}}
    end = 0
    for name, value in own.items():
        if value.dtype not in _DTYPES:
            raise TypeError(f"{name} is of {value.dtype}, which safetensors does not know")
        begin, end = end, end + value.nbytes
        header[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    with Stamped(path) as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for value in own.values():
            if value.numel():
                file.write(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return file.stamp


class Tensors(Mapping[str, Tensor]):
    """The tensors of some files, each read when it is asked for.

    Raises SafetensorError for a file that is none, ValueError where parts of a tensor are missing.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts: dict[str, list[tuple[Any, Box]]] = {}
        self._aliases: dict[str, str] = {}
        for path in paths:
            file: Any = safe_open(path, framework="pt")
            told = file.metadata() or {}
            boxed = json.loads(told.get("parts", "{}"))
            self._aliases |= json.loads(told.get("aliases", "{}"))
            for name in file.keys():  # noqa: SIM118  it is no mapping
                sizes = tuple(file.get_slice(name).get_shape())
                shape, offsets = boxed.get(name, (sizes, (0,) * len(sizes)))
                box = Box(shape=tuple(shape), offsets=tuple(offsets), sizes=sizes)
                self._parts.setdefault(name, []).append((file, box))
        for name, parts in self._parts.items():
            if sum(box.count for _, box in parts) != math.prod(parts[0][1].shape):
                raise ValueError(f"parts of {name} are missing")

    def __iter__(self) -> Iterator[str]:
        yield from self._parts
        yield from self._aliases

    def __len__(self) -> int:
        return len(self._parts) + len(self._aliases)

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._aliases

    def __getitem__(self, name: str) -> Tensor:
        parts = self._parts[self._aliases.get(name, name)]
        file, box = parts[0]
        if len(parts) == 1:
            tensor: Tensor = file.get_tensor(self._aliases.get(name, name))
            return tensor
        return self.part(name, Box.whole(box.shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole tensor."""
        return self._parts[self._aliases.get(name, name)][0][1].shape

    def part(self, name: str, wanted: Box) -> Tensor:
        """A box of a tensor; nothing else is read."""
        name = self._aliases.get(name, name)
        result: Tensor | None = None
        for file, box in self._parts[name]:
            if (common := wanted.overlap(box)) is not None:
                into, out_of = common
                piece = file.get_slice(name)[out_of] if out_of else file.get_tensor(name)
                if piece.shape == wanted.sizes:
                    return piece  # type: ignore[no-any-return]
                if result is None:
                    result = torch.empty(wanted.sizes, dtype=piece.dtype)
                result[into] = piece
        return torch.empty(wanted.sizes) if result is None else result


def shape_of(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """The shape of a whole tensor, without reading it where it is on disk."""
    return tensors.shape(name) if isinstance(tensors, Tensors) else tuple(tensors[name].shape)


def part_like(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """Of a whole tensor the part this rank holds of `like`; all of it where `like` is whole or has another shape."""
    if not isinstance(like, DTensor) or shape_of(tensors, name) != tuple(like.shape):
        return tensors[name]
    box = Box.of(like)
    if isinstance(tensors, Tensors):
        piece = tensors.part(name, box)
    else:
        piece = tensors[name][tuple(slice(at, at + size) for at, size in zip(box.offsets, box.sizes, strict=True))]
    mesh, places = like.device_mesh, like.placements
    return DTensor.from_local(piece, mesh, places, run_check=False, shape=like.shape, stride=like.stride())


def local(value: Tensor) -> Tensor:
    """What this rank holds of a tensor, sharing its memory."""
    return value.to_local() if isinstance(value, DTensor) else value

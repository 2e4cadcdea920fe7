"""Is every byte of a metric file accounted for, whole or damaged?"""

from __future__ import annotations

import math
import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from leyden.track import frames
from leyden.track.frames import Damage, Frame

names = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True)


def example(step: int = 0) -> bytes:
    return frames.encode(["loss", "acc"], [step, step + 1], [10.0, 11.0], [[0.5, 0.1], [0.25, 0.2]])


def test_layout_is_as_documented() -> None:
    data = frames.encode(["a"], [7], [1.5], [[2.5]])
    payload = struct.pack("<H", 1) + struct.pack("<H", 1) + b"a" + struct.pack("<Iqdd", 1, 7, 1.5, 2.5)
    assert data == b"LYM1" + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


@given(names, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.data())
def test_round_trip(keys: list[str], steps: list[int], data: st.DataObject) -> None:
    rows = [[data.draw(st.floats(width=64)) for _ in keys] for _ in steps]
    [frame] = frames.decode(frames.encode(keys, steps, [float(i) for i in range(len(steps))], rows))
    assert isinstance(frame, Frame)
    assert frame.keys == tuple(keys)
    assert list(frame.steps) == steps
    for k in range(len(keys)):
        for r, row in enumerate(rows):
            value = frame.values[k][r]
            assert value == row[k] or (math.isnan(value) and math.isnan(row[k]))


@given(st.integers(0, 2 * len(example()) - 1), st.integers(1, 255))
def test_one_flipped_byte_costs_its_own_frame_only(place: int, flip: int) -> None:
    data = bytearray(example(0) + example(2) + example(4))
    data[place] ^= flip
    parts = list(frames.decode(bytes(data)))
    whole = [part for part in parts if isinstance(part, Frame)]
    hurt = place // len(example())
    assert [part.steps[0] for part in whole] == [2 * i for i in range(3) if i != hurt]
    assert sum(part.size_bytes for part in parts if isinstance(part, Damage)) == len(example())


@given(st.integers(1, len(example()) - 1))
def test_a_torn_tail_is_left_out(cut: int) -> None:
    data = example(0) + example(2)[:-cut]
    first, tail = frames.decode(data)
    assert isinstance(first, Frame)
    assert tail == Damage(offset=len(example()), size_bytes=len(example()) - cut)


def test_a_name_that_looks_like_a_frame_does_no_harm() -> None:
    data = frames.encode(["LYM1"], [1], [0.0], [[1.0]])
    hurt = bytearray(data)
    hurt[4] ^= 1
    parts = list(frames.decode(bytes(hurt) + data))
    assert [type(part) for part in parts] == [Damage, Frame]


@given(st.binary(max_size=200))
def test_garbage_is_never_a_frame(data: bytes) -> None:
    assert sum(part.size_bytes for part in frames.decode(data) if isinstance(part, Damage)) == len(data)

"""Are the curves of a run what its ranks and attempts logged: while its files grow, damaged, and sealed?"""

from __future__ import annotations

import math
import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.track import frames, sealed
from leyden.track.blocks import WORKER, Frames
from leyden.track.points import RunPoints
from leyden.track.pyramid import Curve
from leyden.track.sealed import SEALED, open_sealed, write_sealed

Point = tuple[int, float, float]


def append(run: Path, file: str, rows: list[Point], names: tuple[str, ...] = ("a",)) -> None:
    path = run / "metrics" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    steps, times = [row[0] for row in rows], [row[1] for row in rows]
    with path.open("ab") as out:
        out.write(frames.encode(names, steps, times, [[row[2]] * len(names) for row in rows]))


def points_of(curve: Curve | None) -> list[Point]:
    assert curve is not None
    some = curve.points(0, curve.count)
    return list(zip(some.steps.tolist(), some.times.tolist(), some.values.tolist(), strict=True))


def seal(run: Path) -> None:
    points = RunPoints(run)
    points.refresh(None)
    curves = [(rank, name, points.curve(rank, name)) for rank, name in points.metrics()]
    write_sealed(run / SEALED, curves, {}, 0)  # type: ignore[arg-type]


def expected(attempts: list[list[Point]]) -> list[Point]:
    """The plain meaning: a later attempt replaces what came before it, from its least step on."""
    whole: list[Point] = []
    for attempt in attempts:
        if attempt:
            least = min(step for step, _, _ in attempt)
            whole = [one for one in whole if one[0] < least] + sorted(attempt, key=lambda one: one[1])
    return whole


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), attempts=st.integers(1, 3), looks=st.booleans())
def test_attempts_and_frames_in_any_order_of_time(
    seed: int, attempts: int, looks: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run, rng, now = tmp_path_factory.mktemp("run"), random.Random(seed), 0.0
    logged: list[list[Point]] = []
    reader = RunPoints(run)
    reader.refresh(["a"])
    for attempt in range(1, attempts + 1):
        logged.append([])
        step = rng.randrange(0, 60)
        for _ in range(rng.randrange(0, 6)):
            rows = []
            for _ in range(rng.randrange(1, 40)):
                now += 1
                step = step + 1 if rng.random() < 0.9 else max(0, step - rng.randrange(20))
                rows.append((step, now, float(rng.random())))
            cut = [rng.random() < 0.5 for _ in rows]  # frames of two key sets, one after the other
            for half, names in ((True, ("a",)), (False, ("a", "b"))):
                some = [row for row, one in zip(rows, cut, strict=True) if one is half]
                if some:
                    append(run, f"a{attempt}-r0.frames", some, names)
            logged[-1] += rows
            if looks:
                reader.refresh()
    reader.refresh()
    if wanted := expected(logged):
        assert points_of(reader.curve(0, "a")) == wanted
        seal(run)
        found = open_sealed(run)
        assert found is not None
        assert points_of(found.curve(0, "a")) == wanted


def test_ranks_and_the_worker_stand_apart(tmp_path: Path) -> None:
    append(tmp_path, "a1-r1.frames", [(0, 1.0, 1.0)])
    append(tmp_path, "a1-r0.frames", [(0, 1.0, 0.0)])
    append(tmp_path, "a1-w.frames", [(0, 1.0, 9.0)], ("a", "system/x"))
    points = RunPoints(tmp_path)
    points.refresh(None)
    assert points.metrics() == [(0, "a"), (1, "a"), (WORKER, "a"), (WORKER, "system/x")]
    assert points.ranks("a") == [0, 1, WORKER]


def test_of_a_large_run_only_what_was_asked_for_is_kept(tmp_path: Path) -> None:
    append(tmp_path, "a1-r0.frames", [(i, float(i), 1.0) for i in range(100)], ("a", "b", "c"))
    points = RunPoints(tmp_path, all_bytes=0)
    points.refresh(["a"])
    assert points.curve(0, "b") is None
    assert points.metrics() == [(0, "a"), (0, "b"), (0, "c")]
    version, before = points.version(0, "a"), points_of(points.curve(0, "a"))
    append(tmp_path, "a2-r0.frames", [(i, float(i), 2.0) for i in range(50, 60)], ("c", "b", "a"))
    append(tmp_path, "a1-r0.frames", [(100, 100.0, 1.0)], ("a", "b"))
    points.refresh(["b"])
    assert points_of(points.curve(0, "a")) == points_of(points.curve(0, "b"))
    assert len(points_of(points.curve(0, "b"))) == 60
    assert points.curve(0, "c") is None
    assert points.damage == []
    with (tmp_path / "metrics/a2-r0.frames").open("ab") as file:
        file.write(b"no frame, for sure it is none")
    append(tmp_path, "a2-r0.frames", [(60, 60.0, 2.0)], ("c", "b", "a"))
    generation = points.generation
    points.refresh(["c"])
    assert [len(points_of(points.curve(0, name))) for name in "abc"] == [61, 61, 61]
    assert (points.generation, len(points.damage)) == (generation, 1)  # what there was is not read anew, nor told twice
    assert version != points.version(0, "a")
    assert before[:50] == points_of(points.curve(0, "a"))[:50]


def test_an_attempt_that_goes_on_writing_after_the_next_one_began_is_put_in_its_place(tmp_path: Path) -> None:
    append(tmp_path, "a1-r0.frames", [(i, float(i), 1.0) for i in range(10)])
    append(tmp_path, "a2-r0.frames", [(i, 100.0 + i, 2.0) for i in range(5, 8)])
    points = RunPoints(tmp_path)
    points.refresh(None)
    append(tmp_path, "a1-r0.frames", [(i, float(i), 1.0) for i in range(10, 20)])
    points.refresh()
    assert [(step, value) for step, _, value in points_of(points.curve(0, "a"))] == [
        *((i, 1.0) for i in range(5)),
        *((i, 2.0) for i in range(5, 8)),
    ]


def test_whole_frames_only_and_each_byte_once(tmp_path: Path) -> None:
    append(tmp_path, "whole", [(0, 0.0, 1.0), (1, 1.0, 2.0)])
    append(tmp_path, "whole", [(2, 2.0, 3.0)])
    data = (tmp_path / "metrics/whole").read_bytes()
    path = tmp_path / "metrics/a1-r0.frames"
    path.write_bytes(b"")
    reader, found = Frames(tmp_path), []
    for byte in data:
        with path.open("ab") as out:
            out.write(bytes([byte]))
        for file in reader.look():
            found += [step for block in reader.read(file) for step in block.steps.tolist()]
    assert (found, reader.damage) == ([0, 1, 2], [])


@settings(max_examples=60, deadline=None)
@given(where=st.integers(0, 400), what=st.binary(max_size=40), kind=st.sampled_from(["insert", "flip", "cut"]))
def test_damage_costs_only_its_own_points(
    where: int, what: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("run")
    for step in range(8):
        append(run, "a1-r0.frames", [(step, float(step), 1.0)])
    path = run / "metrics/a1-r0.frames"
    data = path.read_bytes()
    size, where = len(data) // 8, where % len(data)
    if kind == "insert":
        data = data[:where] + what + data[where:]
    elif kind == "flip":
        data = data[:where] + bytes([data[where] ^ 255]) + data[where + 1 :]
    else:
        data = data[:where]
    path.write_bytes(data)
    points = RunPoints(run)
    points.refresh(None)
    hit = where // size
    curve = points.curve(0, "a")
    steps = [step for step, _, _ in points_of(curve)] if curve else []
    assert set(steps) >= set(range(8 if kind != "cut" else hit)) - {hit}
    append(run, "a1-r0.frames", [(99, 99.0, 1.0)])
    points.refresh()
    assert points_of(points.curve(0, "a"))[-1][0] == 99  # whatever stood before, what comes after is found


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xff", b"\1\0\xff\xffa", b"\1\0\1\0\xff\1\0\0\0" + bytes(24), b"\1\0\1\0a\xff\xff\xff\xff" + bytes(24)],
)
def test_a_frame_whose_checksum_is_right_and_that_makes_no_sense_is_damage(tmp_path: Path, payload: bytes) -> None:
    append(tmp_path, "a1-r0.frames", [(0, 0.0, 1.0)])
    with (tmp_path / "metrics/a1-r0.frames").open("ab") as out:
        out.write(struct.pack("<4sII", frames.MAGIC, len(payload), zlib.crc32(payload)) + payload)
    append(tmp_path, "a1-r0.frames", [(1, 1.0, 1.0)])
    points = RunPoints(tmp_path)
    points.refresh(None)
    assert len(points_of(points.curve(0, "a"))) == 2
    assert points.damage


def test_names_that_are_too_long_are_left_out_and_their_neighbours_kept(tmp_path: Path) -> None:
    append(tmp_path, "a1-r0.frames", [(0, 0.0, 1.0)], ("x" * 10_000, "b", "é" * 600))
    points = RunPoints(tmp_path)
    points.refresh(None)
    assert points.metrics() == [(0, "b")]
    assert points_of(points.curve(0, "b")) == [(0, 0.0, 1.0)]


def test_a_million_points_are_drawn_from_the_sealed_file_in_milliseconds(tmp_path: Path) -> None:
    path, count = tmp_path / "metrics/a1-r0.frames", 1_000_000
    path.parent.mkdir()
    steps = np.arange(count)
    columns = [steps, *(one.view(np.int64) for one in (steps.astype(float), np.sin(steps / 1e4)))]
    payload = struct.pack("<HH4sI", 1, 4, b"loss", count) + b"".join(one.tobytes() for one in columns)
    path.write_bytes(struct.pack("<4sII", frames.MAGIC, len(payload), zlib.crc32(payload)) + payload)
    seal(tmp_path)
    points = RunPoints(tmp_path)
    points.refresh(["loss"])
    curve = points.curve(0, "loss")
    assert curve is not None
    want = curve.draw(1000).groups, curve.draw(1000, "time", 111_111, 555_555).groups
    path.unlink()
    best = [math.inf, math.inf]
    for _ in range(3):
        for part, bounds in enumerate(((None, None), (111_111.0, 555_555.0))):
            begun = time.thread_time()
            cold = RunPoints(tmp_path)
            cold.refresh(["loss"])
            drawn = cold.curve(0, "loss").draw(1000, "time", *bounds)  # type: ignore[union-attr]
            best[part] = min(best[part], time.thread_time() - begun)
            np.testing.assert_array_equal(drawn.groups.mean, want[part].mean)
            np.testing.assert_array_equal(drawn.groups.steps, want[part].steps)
    assert best[0] < 0.02
    assert best[1] < 0.04
    assert sealed.has_pyarrow()

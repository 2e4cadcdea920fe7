"""Is a drawn curve where its points are?"""

from __future__ import annotations

import itertools
import math

from leyden.cli.plot import draw


def dots(drawn: str) -> list[tuple[int, int]]:
    """The characters of the canvas that hold a dot, as (column, row)."""
    return [
        (column, row)
        for row, line in enumerate(drawn.splitlines())
        for column, char in enumerate(line)
        if 0x2800 < ord(char) < 0x2900
    ]


def test_a_straight_line_goes_from_corner_to_corner() -> None:
    drawn = draw([0, 10], [0.0, 100.0], width=30, height=8)
    lines = drawn.splitlines()
    assert len(lines) == 8
    assert max(len(line) for line in lines) <= 30
    assert lines[0].startswith("100 ┤")
    assert lines[5].startswith("  0 ┤")
    assert lines[6].startswith("    └─")
    assert lines[7].split() == ["0", "step", "10"]
    found = dots(drawn)
    assert (29, 0) in found
    assert (5, 5) in found
    assert {column for column, _ in found} == set(range(5, 30))  # no hole in a line
    assert found == sorted(found, key=lambda dot: (dot[1], dot[0]))


def test_every_height_of_a_dot_is_used() -> None:
    drawn = draw([0, 1, 2, 3], [3.0, 2.0, 1.0, 0.0], width=10, height=3 + 2)
    canvas = "".join(char for line in drawn.splitlines()[:3] for char in line if ord(char) > 0x2800)
    assert canvas
    assert "⠁" in "".join(chr(0x2800 + (ord(char) - 0x2800 & 1)) for char in canvas)


def test_nan_and_infinity_leave_a_gap() -> None:
    values = [1.0, 1.0, math.nan, math.inf, 1.0, 1.0]
    drawn = draw(range(6), values, width=40, height=6)
    columns = sorted({column for column, _ in dots(drawn)})
    gaps = [(a, b) for a, b in itertools.pairwise(columns) if b - a > 1]
    assert len(gaps) == 1
    assert gaps[0][1] - gaps[0][0] > 10


def test_a_single_point_and_a_flat_curve_stand_in_the_middle() -> None:
    assert len(dots(draw([5], [2.0], width=20, height=7))) == 1
    assert {row for _, row in dots(draw([0, 1, 2], [7.0, 7.0, 7.0], width=20, height=7))} == {2}


def test_logarithmic_axis() -> None:
    values = [10.0**-power for power in range(5)]
    drawn = draw(range(5), values, width=40, height=11, log_y=True)
    lines = drawn.splitlines()
    assert lines[0].lstrip().startswith("1 ┤")
    assert lines[8].startswith("0.0001 ┤")
    assert "0.01 ┤" in drawn
    straight = draw(range(5), [-float(power) for power in range(5)], width=40, height=11)
    shape = [row for _, row in dots(drawn)]
    assert sorted(set(shape)) == sorted({row for _, row in dots(straight)})
    assert len(dots(draw([0, 1, 2], [0.0, -1.0, 5.0], log_y=True))) == 1
    assert "no points" in draw([0], [0.0], log_y=True)
    assert "no points" in draw([], [])


def test_steps_out_of_order_and_far_apart_stay_inside() -> None:
    drawn = draw([1_000_000, 0, 5], [1e-9, 1e9, 0.0], width=50, height=9)
    assert max(len(line) for line in drawn.splitlines()) <= 50
    assert "1e+06" in drawn

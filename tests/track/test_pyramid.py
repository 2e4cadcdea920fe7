"""Does a picture show what was logged, however it came and whatever part is asked for?"""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.track.pyramid import Drawn, Pyramid

VALUES = st.floats(width=32) | st.just(float("nan")) | st.sampled_from([float("inf"), float("-inf")])


def made(values: np.ndarray, steps: np.ndarray | None = None, cuts: tuple[int, ...] = ()) -> Pyramid:
    """Added in pieces."""
    one = Pyramid()
    numbers = np.arange(len(values)) if steps is None else steps
    for part in np.split(np.arange(len(values)), sorted(min(cut, len(values)) for cut in cuts)):
        one.append(numbers[part], part.astype(float), values[part])
    return one


def check(drawn: Drawn, steps: np.ndarray, values: np.ndarray, most: int) -> None:
    """Against the plain meaning; points are numbered by their times."""
    groups, count = drawn.groups, len(values)
    assert drawn.count == count
    assert len(groups.times) <= most
    assert drawn.nan == np.isnan(values).sum()
    assert groups.sizes.sum() == count
    if count == 0:
        return
    starts = np.cumsum(groups.sizes).astype(int) - groups.sizes.astype(int)
    assert groups.steps.tolist() == steps[starts].tolist()
    for start, least, greatest, mean, nan, size in zip(
        starts, groups.least, groups.greatest, groups.mean, groups.nan, groups.sizes.astype(int), strict=True
    ):
        part = values[start : start + size]
        good = part[~np.isnan(part)]
        assert nan == len(part) - len(good)
        if not len(good):
            assert np.isnan([least, greatest, mean]).all()
            continue
        assert (least, greatest) == (good.min(), good.max())
        with np.errstate(invalid="ignore"):
            scale = np.abs(good).max() if np.isfinite(good).all() else 1.0
            np.testing.assert_allclose(mean, good.mean(), rtol=1e-9, atol=1e-9 * scale)


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, 9000), cuts=st.tuples(st.integers(0, 9000), st.integers(0, 9000)), most=st.integers(1, 300),
    low=st.integers(-10, 9000), width=st.integers(0, 9000), special=st.lists(VALUES, max_size=9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_picture_of_any_part(
    count: int, cuts: tuple[int, int], most: int, low: int, width: int, special: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    for one in special:
        if count:
            at = rng.integers(count)
            values[at : at + rng.integers(1, 400)] = one
    curve, steps = made(values, cuts=cuts), np.arange(count)
    check(curve.draw(most), steps, values, most)
    keep = (steps >= low) & (steps <= low + width)
    for x in ("step", "time"):
        check(curve.draw(most, x, low, low + width), steps[keep], values[keep], most)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 3000)), min_size=1, max_size=5), st.integers(1, 50))
def test_cut_off_and_added_to_is_as_if_never_cut(history: list[tuple[int, int]], most: int) -> None:
    curve, whole = Pyramid(), np.empty(0)
    rng = np.random.default_rng(0)
    for keep, fresh in history:
        curve.truncate(keep)
        whole = whole[:keep]
        more = rng.normal(size=fresh)
        curve.append(len(whole) + np.arange(fresh), len(whole) + np.arange(fresh).astype(float), more)
        whole = np.concatenate((whole, more))
    check(curve.draw(most), np.arange(len(whole)), whole, most)
    assert curve.ordered("step")


def test_steps_that_run_backwards_are_said_and_found() -> None:
    steps = np.array([0, 1, 2, 10, 11, 3, 4, 5])
    curve = made(np.arange(8.0), steps)
    assert not curve.ordered("step")
    assert curve.ordered("time")
    drawn = curve.draw(100, "step", 2, 4)
    assert (drawn.groups.steps.tolist(), drawn.ordered) == ([2, 3, 4], False)
    assert drawn.groups.mean.tolist() == [2.0, 5.0, 6.0]
    curve.truncate(5)
    assert curve.ordered("step")


def test_groups_keep_their_place_while_points_are_added() -> None:
    curve = made(np.arange(10_000.0))
    before = curve.draw(1000).groups.steps.tolist()
    curve.append(np.array([10_000]), np.array([1e4]), np.array([1.0]))
    assert curve.draw(1000).groups.steps.tolist()[: len(before)] == before


@pytest.mark.parametrize("count", [1_000_000])
def test_a_million_points_are_drawn_in_milliseconds(count: int) -> None:
    curve = made(np.random.default_rng(0).normal(size=count))
    best = float("inf")
    for low in (None, 12_345):
        for _ in range(5):
            begun = time.thread_time()
            drawn = curve.draw(1000, "step", low, None)
            best = min(best, time.thread_time() - begun)
        assert 400 < len(drawn.groups.steps) <= 1000
    assert best < 0.02

"""Are windows drawn evenly, and as torchvision draws them?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from leyden.data.decode import Window, center_window, random_resized_window, random_window
from leyden.data.errors import SampleError


def test_every_place_is_as_likely() -> None:
    rng = np.random.default_rng(0)
    places = np.zeros((5, 7))
    for _ in range(7000):
        top, left, height, width = random_window((12, 16), (8, 10), rng)
        assert (height, width) == (8, 10)
        places[top, left] += 1
    assert np.abs(places - 200).max() < 5 * math.sqrt(200)


def test_with_a_border() -> None:
    rng = np.random.default_rng(0)
    tops = {random_window((32, 32), 32, rng, pad=4).top for _ in range(300)}
    assert tops == {*range(-4, 5)}
    with pytest.raises(SampleError, match=r"33×33.*32×32 pixels and pad=0"):
        random_window((32, 32), 33, rng)


def test_one_seed_is_one_window() -> None:
    draws = [
        (random_window((99, 99), 9, rng), random_resized_window((99, 99), rng))
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    assert draws[0] == draws[1]


def test_area_and_shape() -> None:
    """Of a square picture: area uniform but for windows that do not fit, shape uniform in its logarithm."""
    rng = np.random.default_rng(0)
    windows = np.array([random_resized_window((400, 400), rng) for _ in range(20_000)])
    top, left, height, width = windows.T
    assert (windows >= 0).all()
    assert (top + height).max() <= 400
    assert (left + width).max() <= 400
    area, shape = height * width / 160_000, np.log(width / height)
    assert 0.078 < area.min() < 0.085
    assert abs(shape.mean()) < 0.005
    assert np.abs(shape).max() < math.log(4 / 3) + 0.01
    # The same law drawn at once: pairs (area, shape) that do not fit are drawn again.
    a, s = rng.uniform(0.08, 1, 400_000), rng.uniform(math.log(3 / 4), math.log(4 / 3), 400_000)
    fits = (a * np.exp(np.abs(s))) <= 1
    assert abs(area.mean() - a[fits].mean()) < 0.006
    assert abs(np.abs(shape).mean() - np.abs(s[fits]).mean()) < 0.003
    # A place is uniform in what is left.
    free = height < 400
    assert abs((top[free] / (400 - height[free])).mean() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("whole", "window"),
    [((10, 1000), Window(0, 493, 10, 13)), ((1000, 10), Window(493, 0, 13, 10)), ((1, 1), Window(0, 0, 1, 1))],
)
def test_a_picture_too_long_gives_its_middle(whole: tuple[int, int], window: Window) -> None:
    assert random_resized_window(whole, np.random.default_rng(0), scale=(0.9, 1.0)) == window


def test_the_middle() -> None:
    assert center_window((60, 80), (20, 30)) == Window(20, 25, 20, 30)
    assert center_window((10, 80), 20) == Window(-5, 30, 20, 20)

"""Which trials are on the front?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leyden.sweeps.pareto import front


def test_by_hand() -> None:
    assert front({}) == []
    assert front({7: (0.3,), 2: (0.1,), 5: (0.1,)}) == [2, 5], "with one metric, the best"
    assert front({0: (1.0, 5.0), 1: (2.0, 2.0), 2: (2.0, 3.0), 3: (5.0, 1.0), 4: (2.0, 2.0)}) == [0, 1, 3, 4]


@given(st.dictionaries(st.integers(0, 50), st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=30))
def test_as_defined(finals: dict[int, tuple[float, float, float]]) -> None:
    def beaten(one: tuple[float, ...]) -> bool:
        return any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in finals.values())

    assert front(finals) == sorted(number for number, values in finals.items() if not beaten(values))

"""Which trials are beaten by no other one in all metrics?"""

from __future__ import annotations

from collections.abc import Mapping


def front(finals: Mapping[int, tuple[float, ...]]) -> list[int]:
    """Numbers of the trials on the Pareto front, rising. Less is better in every metric.

    A trial is beaten by one that is nowhere worse and somewhere better; of equal ones all stay.

    >>> front({0: (1.0, 5.0), 1: (2.0, 2.0), 2: (2.0, 3.0), 3: (5.0, 1.0)})
    [0, 1, 3]
    """
    best: list[tuple[float, ...]] = []  # in their order no later one can beat an earlier one
    for values in sorted(set(finals.values())):
        if not any(all(b <= v for b, v in zip(one, values, strict=True)) for one in best):
            best.append(values)
    on_front = set(best)
    return sorted(number for number, values in finals.items() if values in on_front)

"""What does a curve look like in a terminal? Braille dots, two by four in each character."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column, as Unicode numbers them
_TICKS = 4  # lines between two numbers of the vertical axis


def draw(
    steps: Sequence[float], values: Sequence[float], *, width: int = 80, height: int = 12, log_y: bool = False
) -> str:
    """The points joined by lines; what is no number, or not positive on a logarithmic axis, leaves a gap.

    `width` and `height` are in characters, axes included.
    """
    points = [(float(step), _scaled(value, log_y)) for step, value in zip(steps, values, strict=True)]
    finite = [y for _, y in points if math.isfinite(y)]
    if not finite:
        return "no points to draw" + (" on a logarithmic axis" if log_y else "")
    low, high = _span(min(finite), max(finite))
    first, last = _span(min(x for x, _ in points), max(x for x, _ in points), pad=1.0)
    rows = max(2, height - 2)
    labels = _labels(low, high, rows, log_y)
    margin = max(len(label) for label in labels)
    columns = max(4, width - margin - 2)
    canvas = [[0] * columns for _ in range(rows)]
    before: tuple[int, int] | None = None
    for x, y in points:
        if not math.isfinite(y):
            before = None
            continue
        dot = (
            round((x - first) / (last - first) * (2 * columns - 1)),
            round((high - y) / (high - low) * (4 * rows - 1)),
        )
        for column, row in _line(before or dot, dot):
            canvas[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        before = dot
    lines = [
        f"{label:>{margin}} {'┤' if label else '│'}{''.join(chr(0x2800 + cell) if cell else ' ' for cell in row)}"
        for label, row in zip(labels, canvas, strict=True)
    ]
    ends = number(first), number(last)
    foot = f"{ends[0]}{'step':^{columns - len(ends[0]) - len(ends[1])}}{ends[1]}"
    return "\n".join(
        [*(line.rstrip() for line in lines), f"{' ' * margin} └{'─' * columns}", f"{' ' * (margin + 2)}{foot}"]
    )


def number(value: float) -> str:
    """At most five characters' worth of precision.

    >>> number(1000), number(0.0312345), number(1.5e-9), number(1234567)
    ('1000', '0.0312', '1.5e-09', '1.23e+06')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e6 else f"{value:.3g}"


def _scaled(value: float, log_y: bool) -> float:
    if not log_y:
        return value
    return math.log10(value) if value > 0 else math.nan


def _span(low: float, high: float, *, pad: float | None = None) -> tuple[float, float]:
    """The range of an axis; a flat curve gets room on both sides so that it runs through the middle."""
    if low < high:
        return low, high
    room = pad if pad is not None else abs(low) * 0.1 or 1.0
    return low - room, high + room


def _labels(low: float, high: float, rows: int, log_y: bool) -> list[str]:
    marked = {
        round(part * (rows - 1) / max(1, (rows - 1) // _TICKS)) for part in range(max(1, (rows - 1) // _TICKS) + 1)
    }
    levels = (high - (high - low) * row / (rows - 1) for row in range(rows))
    return [number(10**level if log_y else level) if row in marked else "" for row, level in enumerate(levels)]


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Dots from one to the other, as many as the longer axis needs."""
    (x, y), (to_x, to_y) = start, end
    count = max(abs(to_x - x), abs(to_y - y), 1)
    return [(x + round((to_x - x) * at / count), y + round((to_y - y) * at / count)) for at in range(count + 1)]

"""How do the figures of measure.py look? Drawn as SVG: when the device worked, and what was learned by when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

WIDTH, LEFT, RIGHT = 960, 40, 920
ROW, CURVES = 62, 210  # heights
BLUE, RED, GREY = "#2563eb", "#dc2626", "#6b7280"
SECONDS = 2.0  # of the device's work
Curve = Sequence[tuple[float, float]]


def draw(path: Path, seen: Mapping[str, Any], curves: Mapping[str, Curve]) -> None:
    """`seen`: way → measure.Seen; `curves`: kind → (seconds, mIoU in %) after each epoch."""
    parts = [
        text(LEFT, 34, f"The device at work (blue), for {SECONDS:.0f} seconds across an epoch's end (red)", size=17)
    ]
    for number, (name, one) in enumerate(seen.items()):
        parts += timeline(58 + number * ROW, name, one)
    top = 58 + len(seen) * ROW + 30
    if curves:
        parts += [
            text(LEFT, top, "What the same net has learned by when (mIoU): one core trains, one decodes", size=17)
        ]
        parts += plot(top + 20, curves)
        top += CURVES + 70
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="14">'
    )
    path.write_text(
        "\n".join([head, f'<rect width="{WIDTH}" height="{top}" rx="8" fill="white"/>', *parts, "</svg>\n"])
    )


def timeline(y: float, name: str, seen: Any) -> list[str]:
    """A bar that is blue while the device works; a red line is the epoch's end."""
    end = seen.ends[1]
    start = max(0.0, end - SECONDS / 2)
    scale = (RIGHT - LEFT) / SECONDS
    parts = [text(LEFT, y + 12, name), text(RIGHT, y + 12, f"{median(seen.busy):.0%} busy", anchor="end")]
    parts.append(box(LEFT, y + 20, RIGHT - LEFT, 22, "#e5e7eb"))
    for began, ended in joined(seen.spans, 0.5 / scale):
        left, right = max(began - start, 0) * scale, min(ended - start, SECONDS) * scale
        if right > left:
            parts.append(box(LEFT + left, y + 20, right - left, 22, BLUE))
    x = LEFT + (end - start) * scale
    parts.append(f'<path d="M{x:.1f} {y + 15}v32" stroke="{RED}" stroke-width="2"/>')
    return parts


def joined(spans: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Spans so close that no gap could be drawn are one."""
    merged = [spans[0]]
    for start, end in spans[1:]:
        if start - merged[-1][1] < gap:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return merged


def plot(y: float, curves: Mapping[str, Curve]) -> list[str]:
    """Lines from the origin, with axes."""
    seconds = max(s for curve in curves.values() for s, _ in curve)
    most = 10 * (int(max(miou for curve in curves.values() for _, miou in curve) / 10) + 1)
    width = RIGHT - LEFT - 30

    def at(s: float, miou: float) -> str:
        return f"{LEFT + 30 + s / seconds * width:.1f} {y + CURVES * (1 - miou / most):.1f}"

    parts = []
    for miou in range(0, most + 1, 10):
        parts.append(f'<path d="M{at(0, miou)}H{RIGHT}" stroke="#e5e7eb"/>')
        parts.append(text(LEFT + 24, y + CURVES * (1 - miou / most) + 5, f"{miou} %", anchor="end", colour=GREY))
    step = next(s for s in (5, 10, 20, 30, 60, 120, 300, 600, 1200) if seconds / s <= 9)
    for s in range(0, int(seconds) + 1, step):
        parts.append(text(LEFT + 30 + s / seconds * width, y + CURVES + 20, f"{s} s", anchor="middle", colour=GREY))
    for (kind, curve), colour in zip(curves.items(), (GREY, BLUE), strict=False):
        points = "L".join(at(s, miou) for s, miou in [(0.0, 0.0), *curve])
        parts.append(f'<path d="M{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x}" cy="{cy}" r="3.5" fill="{colour}"/>' for x, cy in (at(*p).split() for p in curve)]
        x, cy = (float(part) for part in at(*curve[-1]).split())
        parts.append(text(x, cy - 12, kind, anchor="end", colour=colour))
    return parts


def text(x: float, y: float, what: str, *, size: int = 14, anchor: str = "start", colour: str = "#111827") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(what)}</text>'
    )


def box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>'

"""How do a sweep, its rungs and its trials look in a terminal?"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from leyden.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, Cell, clean, columns, painter, table
from leyden.core.sweep_views import SweepDetail, SweepView, TrialView, Value
from leyden.core.units import format_duration

COLOURS = {"running": (GREEN,), "waiting": (YELLOW,), "failed": (RED,), "dropped": (DIM,), "paused": (DIM,)}


def number(value: Value | None) -> str:
    """
    >>> number(0.012345678), number(64), number("relu"), number(None)
    ('0.01235', '64', 'relu', '')
    """
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def params_said(params: Mapping[str, Value]) -> str:
    """
    >>> params_said({"lr": 0.1, "width": 64})
    'lr=0.1 width=64'
    """
    return " ".join(f"{name}={number(value)}" for name, value in params.items())


def headline(sweep: SweepView) -> str:
    """How far it is, in one line."""
    counts = sweep.counts
    ended = counts["done"] + counts["failed"] + counts["dropped"]
    parts = [f"{ended:,}/{sweep.asked:,}" if sweep.asked else f"{ended:,} ended"]
    parts += [f"{counts[state]} {state}" for state in ("running", "waiting", "paused", "failed") if counts[state]]
    if sweep.best is not None:
        parts.append(f"best {first_metric(sweep)} {number(sweep.best.value)} of trial {sweep.best.number}")
    if sweep.reason and sweep.state == "running":
        parts.append(sweep.reason)
    return " · ".join(parts)


def first_metric(sweep: SweepView) -> str:
    """Its name."""
    return sweep.metrics[0].rpartition(":")[0] if sweep.metrics else ""


def rung_table(found: SweepDetail) -> str:
    """A line a rung."""
    several = len({one.bracket for one in found.rungs}) > 1
    rows = [
        [
            Cell(text=str(one.bracket) if several else "", right=True),
            Cell(text=str(one.resource), right=True),
            Cell(text=str(one.reached), right=True),
            Cell(text=str(one.gone_on), right=True),
            Cell(text=number(one.best), right=True),
        ]
        for one in found.rungs
    ]
    heads = ("BRACKET", f"{found.sweep.resource.upper()}S", "MEASURED", "WENT ON", "BEST")
    return table(heads, rows, width=columns(sys.stdout), paint=painter(sys.stdout))


def trial_table(found: SweepDetail, *, limit: int) -> str:
    """The best trials first, then those without a value."""
    paint = painter(sys.stdout)
    largest = bool(found.sweep.metrics) and found.sweep.metrics[0].endswith(":max")

    def order(one: TrialView) -> tuple[bool, float, int]:
        value = one.value or 0.0
        return one.value is None or one.state == "failed", -value if largest else value, one.number

    names = list(dict.fromkeys(name for one in found.trials for name in one.params))
    others = [one.rpartition(":")[0] for one in found.sweep.metrics[1:]]
    rows = []
    blank = [None] * len(others)
    for one in sorted(found.trials, key=order)[:limit]:
        colours = COLOURS.get(one.state, ())
        mark = "*" if one.number in found.front else ""
        rows.append([
            Cell(text=f"{one.number}{mark}", right=True, paint=lambda text: paint(text, BOLD)),
            Cell(text=one.state, paint=lambda text, colours=colours: paint(text, *colours)),  # type: ignore[misc]
            Cell(text=number(one.value), right=True),
            *(Cell(text=number(value), right=True) for value in one.values[1:] or blank),
            *(Cell(text=number(one.params.get(name)), right=True) for name in names),
            Cell(text=str(one.resource or ""), right=True),
            Cell(text=format_duration(one.device_s), right=True),
            Cell(text=one.job_id),
            Cell(text=clean(one.note), paint=lambda text: paint(text, DIM)),
        ])  # fmt: skip
    metric = first_metric(found.sweep) or "value"
    heads = ("TRIAL", "STATE", metric, *others, *names, f"{found.sweep.resource.upper()}S", "DEVICE", "JOB", "NOTE")
    return table(heads, rows, width=columns(sys.stdout), paint=paint)

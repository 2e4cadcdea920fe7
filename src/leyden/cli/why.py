"""leyden why: what does a job wait for?"""

from __future__ import annotations

import sys
import time

import click

from leyden.cli.common import known, print_json
from leyden.cli.screen import BOLD, DIM, clean, compact, painter
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.ids import short_id
from leyden.core.units import format_duration
from leyden.core.wait_views import HolderView, WhyView


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@json_option
def command(job: str, output: str) -> None:
    """Say why a job waits: what it needs, what is free, who holds the rest and until when, and when it may start.

    \b
    leyden why             the newest job
    leyden why q7k2 -o json
    """
    found = known().why(job)
    if output == "json":
        print_json(found)
    else:
        print(page(found, now=time.time()))


def page(why: WhyView, *, now: float) -> str:
    """The answer as text."""
    paint = painter(sys.stdout)
    title = f"{paint(short_id(why.id), BOLD)} {clean(why.name)} is {why.state}"
    if why.state != "queued":
        return title + (f": {clean(why.text)}" if why.text and why.text != why.state else "")
    lines = [f"{title}: {clean(why.text)}"]
    if why.needs:
        lines.append(f"  needs    {_count(why.needs)}; free now: {_count(why.free)}")
    lines += [f"  {'held by' if not at else '       '}  {_holder(one, now)}" for at, one in enumerate(why.holders)]
    if why.position is not None:
        lines.append(f"  in line  number {why.position} of {why.waiting}, {why.standing or f'priority {why.priority}'}")
    if why.starts_after is not None and why.starts_before is not None:
        lines.append(f"  starts   {_when(why.starts_after, why.starts_before, now)} {paint('(estimated)', DIM)}")
    return "\n".join(lines)


def _holder(one: HolderView, now: float) -> str:
    until = f", until {_clock(one.until, now)} at the latest" if one.until is not None else ""
    stops = ", which is stopping" if one.stops else ""
    held = format_duration(max(0.0, now - one.since))
    return clean(f"{short_id(one.id)} {one.name} ({one.user}): {compact(one.devices)} for {held}{until}{stops}")


def _count(found: dict[str, int]) -> str:
    """
    >>> _count({"gpus": 2, "cpus": 1}), _count({"gpus": 0, "cpus": 0}), _count({"gpus": 1, "gpus_most": 4, "cpus": 2})
    ('2 GPUs and 1 CPU', 'nothing', '1 to 4 GPUs and 2 CPUs')
    >>> _count({"gpus": 1, "share": 4, "cpus": 2}), _count({"gpus": 1, "share": 4, "parts": 3, "cpus": 0})
    ('1/4 of a GPU and 2 CPUs', '1 GPU and 3 times 1/4 of a GPU')
    """
    words, share = [], found.get("share", 1)
    if share > 1 and "parts" not in found:
        words.append(f"1/{share} of a GPU")
    elif found.get("gpus"):
        words.append(_so_many(found, "gpus"))
    if found.get("parts"):
        words.append(f"{found['parts']} times 1/{share} of a GPU")
    if found.get("cpus"):
        words.append(_so_many(found, "cpus"))
    return " and ".join(words) or "nothing"


def _so_many(found: dict[str, int], kind: str) -> str:
    fewest = found[kind]
    most = found.get(f"{kind}_most", fewest)
    number = f"{fewest} to {most}" if most > fewest else str(fewest)
    return f"{number} {kind[:-1].upper()}{'s' * (most != 1)}"


def _when(low: float, high: float, now: float) -> str:
    if high <= now + 1:
        return "any moment now"
    if high - low < 60:
        return f"at about {_clock(high, now)}"
    return f"between {_clock(max(low, now), now)} and {_clock(high, now)}"


def _clock(at: float, now: float) -> str:
    """The time of day, with the date where it is not today's."""
    then = time.localtime(at)
    same_day = time.strftime("%F", then) == time.strftime("%F", time.localtime(now))
    return time.strftime("%H:%M" if same_day else "%F %H:%M", then)

"""How are sizes and durations written and shown? Sizes in bytes, durations in seconds."""

from __future__ import annotations

import re

from leyden.core.errors import SpecError

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?\s*$", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_CLOCK = re.compile(r"^(?:(\d+)-)?(\d+):(\d{1,2})(?::(\d{1,2}))?$")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")
_DURATIONS = frozenset({"time", "grace_s", "idle", "stall"})  # keys of a job that hold one
_SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}


def parse_size(text: str | int) -> int:
    """Bytes. "GB" counts in thousands, "GiB" in 1024s, as SI and IEC say; a bare number is bytes.

    >>> parse_size("8GB"), parse_size("1.5GiB"), parse_size("100 k")
    (8000000000, 1610612736, 100000)
    """
    match = _SIZE.match(str(text))
    if not match:
        raise SpecError(asked="a size", found=f"found {text!r}", do="Write it like 500MB, 8GB or 24GiB.")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWER[prefix.lower()])


def parse_duration(text: str | float) -> float:
    """Seconds, from "90s", "1h30m", "2d", Slurm's "1-12:00:00" and "1:30:00", or a bare number of seconds.

    >>> parse_duration("1h30m"), parse_duration("1-00:00:01"), parse_duration("05:00"), parse_duration(90)
    (5400.0, 86401.0, 300.0, 90.0)
    """
    bare = str(text).strip().lower()
    if clock := _CLOCK.match(bare):
        days, first, second, third = (int(part) if part else 0 for part in clock.groups())
        if clock.group(4) is None and clock.group(1) is None:  # Slurm: "MM:SS"
            return float(first * 60 + second)
        return float(days * 86_400 + first * 3_600 + second * 60 + third)
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        return float(bare)
    parts = _PART.findall(bare)
    if not parts or _PART.sub("", bare).strip():
        raise SpecError(asked="a duration", found=f"found {text!r}", do="Write it like 90s, 30m, 1h30m, 2d or 1:30:00.")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def format_size(size_bytes: float) -> str:
    """Three digits and a decimal unit.

    >>> format_size(512), format_size(24_300_000_000)
    ('512 B', '24.3 GB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} PB"


def spell_duration(duration_s: float) -> str:
    """The whole of it, as parse_duration reads it.

    >>> spell_duration(600), spell_duration(5_401), spell_duration(0.5), spell_duration(172_800), spell_duration(0)
    ('10m', '1h30m1s', '0.5s', '2d', '0s')
    """
    parts, left = [], duration_s
    for unit in ("d", "h", "m"):
        count, left = divmod(left, _SECONDS[unit])
        parts += [f"{count:.0f}{unit}"] if count else []
    return "".join([*parts, f"{left:.10g}s"] if left or not parts else parts)


def spell(key: str, value: object) -> str:
    """What a key of a job says; durations as people write them.

    >>> spell("time", 600.0), spell("gpus", 2), spell("after", ("a", "b"))
    ('10m', '2', 'a b')
    """
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return spell_duration(value) if key in _DURATIONS and isinstance(value, int | float) else str(value)


def format_duration(duration_s: float) -> str:
    """Two units at most.

    >>> format_duration(0.25), format_duration(75), format_duration(5_400), format_duration(200_000)
    ('0.2s', '1m15s', '1h30m', '2d07h')
    """
    seconds = int(duration_s)
    if seconds < 10:
        return f"{duration_s:.1f}s"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3_600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86_400:
        return f"{seconds // 3_600}h{seconds % 3_600 // 60:02}m"
    return f"{seconds // 86_400}d{seconds % 86_400 // 3_600:02}h"

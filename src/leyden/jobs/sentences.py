"""What does a waiting job say? Sentences that stay the same as long as what they tell does: they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from math import inf

from leyden.core.devices import split_of, whole
from leyden.core.reasons import Reason, ReasonCode
from leyden.core.units import format_duration
from leyden.jobs.backfill import Need
from leyden.jobs.snapshot import Quota, Running, Who


def lacking(
    short: Sequence[Need],
    holders: Mapping[str, Running],
    leases: Mapping[str, Running],
    now: float,
    zone: tzinfo | None,
) -> Reason:
    """E.g. "waits for cpu:0–1, held by job 0q7k 'digits' (ada) for 3m, until 14:05 at the latest".

    `holders`: who stands in the way of each device that cannot be had; `leases`: who really holds which, or a part.
    """
    held: dict[str, list[str]] = {}
    for device in leases:
        held.setdefault(whole(device), []).append(device)
    theirs: dict[str, list[str]] = {}
    for device in dict.fromkeys(whole(device) for need in short for device in need.devices):
        for one in held.get(device, ()):
            theirs.setdefault(leases[one].who.job_id, []).append(one)
    parts = [f"{shorten(devices)}, {_held(leases[devices[0]], now, zone)}" for devices in theirs.values()]
    more = f"; and {len(parts) - 3} more jobs" if len(parts) > 3 else ""
    missing = [(need, need.count - sum(one not in holders for one in need.devices)) for need in short]
    some = " and ".join(amount(count / split_of(need.devices[0]), need.kind) for need, count in missing) + " of "
    all_ = sum(map(len, theirs.values())) == sum(count for _, count in missing)
    return Reason(code=ReasonCode.DEVICES, text=f"waits for {'' if all_ else some}{'; '.join(parts[:3])}{more}")


def amount(count: float, kind: str) -> str:
    """So many of a kind.

    >>> amount(2, "GPU"), amount(1, "CPU"), amount(0.25, "GPU")
    ('2 GPUs', '1 CPU', '1/4 of a GPU')
    """
    if 0 < count < 1:
        return f"1/{round(1 / count)} of a {kind}"
    return f"{count:g} {kind}{'s' * (count != 1)}"


def _held(holder: Running, now: float, zone: tzinfo | None) -> str:
    told = f"held by {holder.who} for {age(now - holder.since)}"
    if holder.stops:
        return f"{told}, which is being stopped"
    end = inf if holder.time_s is None else holder.since + holder.time_s
    return f"{told}, until {time_of_day(end, now, zone)} at the latest" if now < end < inf else told


def behind(kinds: str, who: Who) -> Reason:
    """Of who stands in line, but not first."""
    return Reason(code=ReasonCode.BEHIND, text=f"waits for {kinds} behind {who}, ahead of it in the queue")


def kept(kinds: str, who: Who, until: float, now: float, zone: tzinfo | None) -> Reason:
    """Of who would fit now, but must leave devices to another."""
    text = behind(kinds, who).text
    if until > now:
        text += f"; a job whose --time ends before {time_of_day(until, now, zone, up=False)} may go first"
    return Reason(code=ReasonCode.BEHIND, text=text)


def preempting(devices: Sequence[str], jobs: Sequence[Running]) -> Reason:
    """Of who waits for jobs that save a checkpoint and stop."""
    names = " and ".join(str(job.who) for job in jobs[:3]) + (f" and {len(jobs) - 3} more" if len(jobs) > 3 else "")
    verb = "saves a checkpoint and makes" if len(jobs) == 1 else "save a checkpoint and make"
    text = f"waits for {shorten(devices)}; {names}, of lower priority, {verb} way"
    return Reason(code=ReasonCode.PREEMPTING, text=text)


def over_quota(user: str, needs: Mapping[str, float], held: Mapping[str, float], quota: Quota) -> Reason | None:
    """Of whose user may not hold so much more; None where they may. Keys are "GPU" and "CPU"."""
    for kind, most in (("GPU", quota.gpus), ("CPU", quota.cpus)):
        if most is None or not needs[kind] or needs[kind] + held[kind] <= most + 1e-6:  # thirds add up to nearly one
            continue
        asks = f"asks for {amount(needs[kind], kind)}"
        if needs[kind] > most:
            return Reason(code=ReasonCode.QUOTA, text=f"{asks}, more than the quota of {most} that {user} has")
        return Reason(code=ReasonCode.QUOTA, text=f"{asks}; {user} holds {held[kind]:.3g} of a quota of {most}")
    return None


def shorten(devices: Sequence[str]) -> str:
    """Devices with neighbours joined.

    >>> shorten(["gpu:3", "cpu:0", "cpu:1", "cpu:2", "cpu:4"]), shorten(["gpu:0/4.2", "cpu:7"])
    ('gpu:3, cpu:0–2, cpu:4', 'gpu:0/4.2, cpu:7')
    """
    runs: list[tuple[str, int, int]] = []
    for device in devices:
        kind = device.rstrip("0123456789")
        number = int(device.removeprefix(kind))
        if runs and runs[-1][0] == kind and runs[-1][2] == number - 1:
            runs[-1] = (kind, runs[-1][1], number)
        else:
            runs.append((kind, number, number))
    return ", ".join(f"{kind}{first}" + (f"–{last}" if last > first else "") for kind, first, last in runs)


def age(seconds: float) -> str:
    """Whole minutes below an hour, ten of them below a day, then hours."""
    if seconds < 60:
        return "less than a minute"
    if seconds < 3600:
        return f"{int(seconds // 60)}m"
    return format_duration(seconds - seconds % (600 if seconds < 86_400 else 3600))


def time_of_day(at: float, now: float, zone: tzinfo | None, *, up: bool = True) -> str:
    """To the minute, the next one (or the last); with the date where it is another day.

    >>> from datetime import UTC
    >>> time_of_day(90.0, 0.0, UTC), time_of_day(90.0, 0.0, UTC, up=False), time_of_day(100_000.0, 0.0, UTC)
    ('00:02', '00:01', '2 January 03:47')
    """
    when, today = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone)
    if up and (when.second or when.microsecond):
        when += timedelta(minutes=1)
    day = "" if when.date() == today.date() else f"{when.day} {when:%B} "
    return f"{day}{when:%H:%M}"

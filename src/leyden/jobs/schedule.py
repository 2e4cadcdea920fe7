"""Which waiting jobs start now, on which devices, and why does every other one wait?

A pure function over a snapshot: priority first (higher wins), then order of submit. A job never overtakes one before it
that waits for the same kind of device, so big jobs do not starve; jobs that need only other kinds go past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from leyden.core.errors import PlacementError
from leyden.core.ids import short_id
from leyden.core.units import format_duration
from leyden.engines.base import Machine
from leyden.jobs.placement import Size, refuse_impossible


@dataclass(frozen=True, kw_only=True)
class Who:
    """What messages say of a job."""

    job_id: str
    name: str
    user: str

    def __str__(self) -> str:
        return f"job {short_id(self.job_id)} {self.name!r} ({self.user})"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job in the queue. Ids sort by the time of submit."""

    who: Who
    priority: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class Held:
    """A device that is taken."""

    device: str
    who: Who
    since: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that decisions are made from."""

    now: float
    machine: Machine
    waiting: Sequence[Waiting]
    held: Sequence[Held]


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Devices of every job that starts; a reason for every one that does not."""

    starts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def decide(snapshot: Snapshot) -> Decisions:
    """One pass over the queue."""
    decisions = Decisions()
    held = {one.device: one for one in snapshot.held}
    first_in_line: dict[str, Who] = {}  # kind of device → the job that waits for it
    for job in sorted(snapshot.waiting, key=lambda one: (-one.priority, one.who.job_id)):
        try:
            refuse_impossible(job.size, snapshot.machine)
        except PlacementError as error:  # the machine shrank since the submit; nobody else need wait for that
            decisions.reasons[job.who.job_id] = f"cannot start: {error}"
            continue
        wanted = _wanted(job.size, snapshot.machine)
        free = {kind: [one for one in wanted[kind] if one not in held] for kind in wanted}
        needs = {"gpu": job.size.gpus, "cpu": job.size.cpus}
        short = [kind for kind in wanted if len(free[kind]) < needs[kind]]
        ahead = [kind for kind in wanted if needs[kind] and kind in first_in_line]
        if not short and not ahead:
            devices = tuple(device for kind in wanted for device in free[kind][: needs[kind]])
            decisions.starts[job.who.job_id] = devices
            held.update({one: Held(device=one, who=job.who, since=snapshot.now) for one in devices})
            continue
        for kind in short:
            first_in_line.setdefault(kind, job.who)
        if ahead:
            decisions.reasons[job.who.job_id] = _behind(ahead, first_in_line)
        else:
            decisions.reasons[job.who.job_id] = _lacking(short, wanted, needs, held, snapshot.now)
    return decisions


def _wanted(size: Size, machine: Machine) -> dict[str, list[str]]:
    """The devices of each kind that would do."""
    gpus = [gpu.device for gpu in machine.gpus if size.takes(gpu)]
    return {"gpu": gpus, "cpu": [f"cpu:{number}" for number in range(machine.cpus)]}


def _behind(kinds: Sequence[str], first_in_line: dict[str, Who]) -> str:
    names = " and ".join(f"{kind.upper()}s" for kind in kinds)
    others = dict.fromkeys(str(first_in_line[kind]) for kind in kinds)
    return f"waits for {names} behind {' and '.join(others)}, ahead of it in the queue"


def _lacking(
    kinds: Sequence[str], wanted: dict[str, list[str]], needs: dict[str, int], held: dict[str, Held], now: float
) -> str:
    """E.g. "waits for cpu:0–1, held by job 0q7k 'digits' (ada) for 3m"."""
    holders: dict[Who, list[Held]] = {}
    for kind in kinds:
        for device in wanted[kind]:
            if device in held:
                holders.setdefault(held[device].who, []).append(held[device])
    parts = [
        f"{shorten([one.device for one in theirs])}, held by {who} for {_age(now - theirs[0].since)}"
        for who, theirs in holders.items()
    ]
    more = f"; and {len(parts) - 3} more jobs" if len(parts) > 3 else ""
    whole = sum(len(theirs) for theirs in holders.values())
    missing = {kind: needs[kind] - sum(one not in held for one in wanted[kind]) for kind in kinds}
    some = " and ".join(f"{count} {kind.upper()}{'s' * (count != 1)} of " for kind, count in missing.items())
    return f"waits for {some if sum(missing.values()) < whole else ''}{'; '.join(parts[:3])}{more}"


def shorten(devices: Sequence[str]) -> str:
    """Devices with neighbours joined.

    >>> shorten(["gpu:3", "cpu:0", "cpu:1", "cpu:2", "cpu:4"])
    'gpu:3, cpu:0–2, cpu:4'
    """
    runs: list[tuple[str, int, int]] = []
    for device in devices:
        kind, _, text = device.partition(":")
        number = int(text)
        if runs and runs[-1][0] == kind and runs[-1][2] == number - 1:
            runs[-1] = (kind, runs[-1][1], number)
        else:
            runs.append((kind, number, number))
    return ", ".join(f"{kind}:{first}" + (f"–{last}" if last > first else "") for kind, first, last in runs)


def _age(seconds: float) -> str:
    """Whole minutes below an hour: reasons are stored, and should not change every second."""
    if seconds < 60:
        return "less than a minute"
    return f"{int(seconds // 60)}m" if seconds < 3600 else format_duration(seconds)

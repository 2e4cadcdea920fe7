"""How long does the loop wait for data, what for, and what would help?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from leyden.data.workers.crew import Crew, usable_cpus
from leyden.data.workers.stream import Made

CAUSES: Final = ("fetch", "decode", "transform", "copy")
_STARVED: Final = 0.05  # of the time spent waiting
_LEAST: Final = 10  # batches before there is a hint


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Of the time since the epoch began or `reset`; pauses between loops do not count."""

    seconds: float
    batches: int
    samples: int
    skipped: int
    wait_share: float  # of `seconds`, in which the loop waited for a batch
    causes: Mapping[str, float]  # shares of that wait: fetch, decode, transform, copy; together 1, or 0 without a wait
    samples_per_s: float
    worker_cpus: float  # CPUs the workers kept busy
    workers: str  # kind and number, and why these
    hint: str  # what to do, if starved; else ""


@final
class Meter:
    """Adds up what each batch cost."""

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self.reset()

    def begin(self, crew: Crew) -> None:
        """A loop begins; these make its batches."""
        self._crew = crew
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._busy = self._waited = self._cpu = self._queued = 0.0
        self._batches = self._samples = self._skipped = self._pictures = self._stored = self._used = 0
        self._causes = dict.fromkeys(CAUSES, 0.0)
        self._spent = dict.fromkeys(CAUSES, 0.0)

    def add(self, made: Made, *, waited_s: float, busy_s: float) -> None:
        """A batch was waited for `waited_s`, `busy_s` after the one before was handed out.

        The wait is put down to what its own worker spent its time on, but for the part until its bytes had come.
        """
        times, fetch = made.answer.times, min(made.fetch_s, waited_s)
        self._busy += busy_s
        self._waited += waited_s
        self._batches += 1
        self._samples += made.answer.items
        self._skipped += len(made.answer.skipped)
        self._cpu += times.cpu
        self._queued += times.queued
        self._pictures += times.pictures
        self._stored += times.stored
        self._used += times.used
        rest, total = waited_s - fetch, times.total
        self._causes["fetch"] += fetch
        for cause in CAUSES:
            spent: float = getattr(times, cause)
            self._spent[cause] += spent
            self._causes[cause] += rest * spent / total if total else 0.0

    def read(self) -> Reading:
        """What has been found so far."""
        seconds, waited = self._busy + self._waited, sum(self._causes.values())
        share = self._waited / seconds if seconds else 0.0
        return Reading(
            seconds=seconds,
            batches=self._batches,
            samples=self._samples,
            skipped=self._skipped,
            wait_share=share,
            causes={cause: found / waited if waited else 0.0 for cause, found in self._causes.items()},
            samples_per_s=self._samples / seconds if seconds else 0.0,
            worker_cpus=self._cpu / seconds if seconds else 0.0,
            workers=self._crew.describe() if self._crew else "",
            hint=self._hint(seconds) if share > _STARVED and self._batches >= _LEAST else "",
        )

    def _hint(self, seconds: float) -> str:
        cause = max(CAUSES, key=self._causes.__getitem__)
        if cause == "fetch" and self._causes["fetch"] > self._spent["fetch"]:
            return (
                "fetch-bound: the bytes come too late; cache them nearer (cache=), or fetch further ahead (prefetch=)"
            )
        cpus, used = usable_cpus(), self._cpu / seconds
        assert self._crew is not None
        count = self._crew.count
        who = self._crew.describe().partition(" (")[0] + (" uses" if count == 1 else " use")
        found = f"{cause}-bound: {who} {100 * used / cpus:.0f} % of {cpus} core{'s' * (cpus > 1)}"
        if used + self._queued / seconds < 0.7 * min(count, cpus):
            return f"{found}; they wait for something else than the processor: try more workers (workers={2 * count})"
        if count < cpus:
            return f"{found}; give workers={cpus}"
        return f"{found}; {self._advice(cause)}"

    def _advice(self, cause: str) -> str:
        if cause == "decode" and self._pictures and self._used < 0.5 * self._stored:
            share, stored = self._used / self._stored, self._stored / self._pictures / 1e6
            return (
                f"of pictures of {stored:.1f} megapixels {100 * share:.0f} % are used: "
                "crop before resize; of tiled pictures a crop costs half (`leyden data convert --tile`), or store them "
                f"with sides {math.sqrt(1 / share):.1f} times shorter"
            )
        return {
            "decode": "store pictures smaller or less compressed, or give the job more cores",
            "transform": "move work of the transform to the device (on_device=), or give the job more cores",
            "copy": "return smaller arrays (uint8 instead of float32; normalise on the device with on_device=)",
        }.get(cause, "read less of each sample, or give the job more cores")

"""What does a job cost? Device-hours by the prices that the server was told, in whatever money they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leyden.core.devices import count_of
from leyden.core.errors import SpecError
from leyden.core.job import Job
from leyden.jobs.placement import Size
from leyden.jobs.rows import AttemptRow

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of an hour of one device. All 0: nobody said."""

    gpu_hour: float = 0.0
    cpu_hour: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return self.gpu_hour > 0 or self.cpu_hour > 0

    def an_hour(self, gpus: float, cpus: int) -> float:
        """Of so many.

        >>> Prices(gpu_hour=2.0, cpu_hour=0.05).an_hour(gpus=4, cpus=8)
        8.4
        """
        return gpus * self.gpu_hour + cpus * self.cpu_hour

    def cost(self, attempts: Iterable[AttemptRow], now: float) -> float:
        """Of attempts, those that run counted up to now: a device costs as long as it is held."""
        return sum(self._rate(one.devices) * _hours(one, now) for one in attempts)

    def budget_s(self, limit: float, attempt: AttemptRow, before: Iterable[AttemptRow]) -> float:
        """For how long the attempt may run until the job has cost the limit."""
        rate = self._rate(attempt.devices)
        left = limit - self.cost(before, attempt.created_at)
        return max(0.0, left / rate * HOUR_S) if rate else float("inf")

    def refuse_unpriced(self, job: Job, size: Size) -> None:
        """Raise SpecError where the job has a limit that could never be reached."""
        if job.limits.cost is None or self.an_hour(size.gpus, size.cpus):
            return
        what = "GPUs" if size.gpus else "CPUs"
        raise SpecError(
            asked=f"the job may cost {job.limits.cost:g}",
            found=f"this server knows no price of {what}",
            do=f"Start it with one, `leyden server start --price-{what.lower()[:-1]}-hour 2.50`, or limit the --time.",
        )

    def _rate(self, devices: Sequence[str]) -> float:
        return self.an_hour(*count_of(devices))


def _hours(attempt: AttemptRow, now: float) -> float:
    end = now if attempt.ended_at is None else attempt.ended_at
    return max(0.0, end - attempt.created_at) / HOUR_S

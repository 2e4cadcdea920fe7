"""How much do processes and GPUs do just now?

Straight from /proc, two small files a process: 72 processes of eight ranks cost a fifth of what psutil takes, and a job
with one rank never imports it. Where there is no /proc nothing is measured.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Of one rank: its process and all of its session."""

    cpu_percent: float  # of one CPU: 400 is four CPUs busy
    memory_bytes: float  # resident; what processes share counts for each
    read_bytes: float  # from storage, since the start; the page cache's are not in it
    written_bytes: float
    threads: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GpuUse:
    """Of one GPU. None: the driver does not say."""

    use_percent: float | None  # of the time a kernel ran
    memory_bytes: float | None
    power_w: float | None = None
    own_percent: float | None = None  # of a shared one: the part of it that is the job's own


class GpuGauge(Protocol):
    """Reads GPUs, given what the ranks use."""

    def sample(self, ranks: Sequence[Use]) -> dict[int, GpuUse]:
        """By index."""


@final
class RankGauges:
    """Reads what each session uses; a rank leads its own."""

    def __init__(self, sessions: Sequence[int], *, now: float) -> None:
        self._sessions = sessions
        self._cpu_s = dict.fromkeys(sessions, 0.0)
        self._at = now

    def sample(self, *, now: float) -> list[Use]:
        """Since the last time, by rank."""
        members: dict[int, list[int]] = {session: [] for session in self._sessions}
        for name in _names("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    if (session := os.getsid(int(name))) in members:
                        members[session].append(int(name))
        spent_s, self._at = max(1e-3, now - self._at), now
        return [self._use(session, pids, spent_s) for session, pids in members.items()]

    def _use(self, session: int, pids: Iterable[int], spent_s: float) -> Use:
        figures = [one for one in map(_process, pids) if one]
        cpu_s, memory, read, written, threads = (sum(column) for column in zip((0.0,) * 5, *figures, strict=True))
        worked_s = max(0.0, cpu_s - self._cpu_s[session])  # an orphan takes its share along
        self._cpu_s[session] = cpu_s
        return Use(
            cpu_percent=100 * worked_s / spent_s,
            memory_bytes=memory,
            read_bytes=read,
            written_bytes=written,
            threads=threads,
        )


def nvidia_gauge(indices: Sequence[int], *, own: Sequence[int] = ()) -> GpuGauge | None:
    """Asks the driver; None where it does not answer. `own`: sessions whose part of the use is to be told."""
    import pynvml  # 20 ms

    try:
        pynvml.nvmlInit()
        return _NvidiaGauge({index: pynvml.nvmlDeviceGetHandleByIndex(index) for index in indices}, own)
    except pynvml.NVMLError as error:
        print(f"the use of GPUs is not measured: {error}", file=sys.stderr)
        return None


@final
class _NvidiaGauge:
    def __init__(self, handles: Mapping[int, object], own: Sequence[int]) -> None:
        self._handles, self._own = handles, own
        self._seen_us = dict.fromkeys(handles, 0)

    def sample(self, ranks: Sequence[Use]) -> dict[int, GpuUse]:
        import pynvml

        def ask(question: str, handle: object) -> Any:
            with contextlib.suppress(pynvml.NVMLError):  # e.g. the use of a partition (MIG) is not to be had
                return getattr(pynvml, question)(handle)

        found = {}
        for index, handle in self._handles.items():
            rates, memory = ask("nvmlDeviceGetUtilizationRates", handle), ask("nvmlDeviceGetMemoryInfo", handle)
            power_mw = ask("nvmlDeviceGetPowerUsage", handle)
            found[index] = GpuUse(
                use_percent=float(rates.gpu) if rates else None,
                memory_bytes=float(memory.used) if memory else None,
                power_w=None if power_mw is None else power_mw / 1000,
                own_percent=self._own_percent(index, handle) if self._own else None,
            )
        return found

    def _own_percent(self, index: int, handle: object) -> float | None:
        """None where the driver names none of our processes, as in a container that numbers them anew."""
        import pynvml

        try:
            mine = {one.pid for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if _of(one.pid, self._own)}
        except pynvml.NVMLError:
            return None
        if not mine:
            return None
        try:
            found = pynvml.nvmlDeviceGetProcessUtilization(handle, self._seen_us[index])
        except pynvml.NVMLError as error:  # by pynvml "nothing" is an error too: nobody used it since the last time
            return 0.0 if error.value in {pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_FOUND} else None
        self._seen_us[index] = max((one.timeStamp for one in found), default=self._seen_us[index])
        newest = {one.pid: one.smUtil for one in sorted(found, key=lambda one: one.timeStamp)}
        return min(100.0, float(sum(newest.get(pid, 0) for pid in mine)))


@final
class FakeGauge:
    """Of GPUs that are none: busy as the CPUs of the rank that has it, or of all ranks, are."""

    def __init__(self, indices: Sequence[int], *, shared: bool) -> None:
        self._indices, self._shared = indices, shared

    def sample(self, ranks: Sequence[Use]) -> dict[int, GpuUse]:
        """One rank a GPU, else all on each; of a shared one no more than the job's own."""
        each = ranks if len(ranks) == len(self._indices) else [_sum(ranks)] * len(self._indices)
        percents = [min(100.0, use.cpu_percent) for use in each]
        return {
            index: GpuUse(
                use_percent=percent, memory_bytes=use.memory_bytes, own_percent=percent if self._shared else None
            )
            for index, use, percent in zip(self._indices, each, percents, strict=True)
        }


def _of(pid: int, sessions: Sequence[int]) -> bool:
    try:
        return os.getsid(pid) in sessions
    except OSError:  # it has ended, or is of another user
        return False


def _sum(ranks: Sequence[Use]) -> Use:
    names = Use.__dataclass_fields__
    return Use(**{name: sum(getattr(rank, name) for rank in ranks) for name in names})


def _process(pid: int) -> tuple[float, float, float, float, float] | None:
    """CPU seconds with its reaped children's, memory, bytes read, bytes written, threads; None where it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    counts = {}
    with contextlib.suppress(OSError):  # of a program with more rights than ours
        counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    cpu_s = sum(map(int, words[11:15])) * _TICK_S
    read, written = (float(counts.get(name, 0)) for name in ("read_bytes", "write_bytes"))
    return (cpu_s, float(words[21]) * _PAGE_BYTES, read, written, float(words[17]))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  half the time
    except OSError:
        return []

"""leyden top: who is on which GPU just now, how busy is it, and who comes next?"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

import click

from leyden.cli.common import print_json
from leyden.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, Cell, clean, columns, compact, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.client import embedded
from leyden.core.devices import whole
from leyden.core.home import Home
from leyden.core.ids import short_id
from leyden.core.machine_views import GpuTop, JobTop, TopView
from leyden.core.units import format_duration, format_size

REFRESH_S = 2.0
IDLE_MARK_S = 300.0
_OTHER_SCREEN, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command(context_settings=SETTINGS)
@click.option("--once", is_flag=True, help="Print it once, also in a terminal.")
@json_option
def command(once: bool, output: str) -> None:
    """Show each GPU with its job, its use and memory, then the CPUs and the head of the queue.

    In a terminal it is drawn anew every two seconds until Ctrl-C. A GPU that is held and was used less than 5 % for
    five minutes is marked idle.
    """
    client = embedded.connect(Home.from_environ())
    if client is None:
        print("No server runs. `leyden run train.py` or `leyden server start` starts one.")
    elif output == "json":
        print_json(client.top())
    elif once or not sys.stdout.isatty():
        print(page(client.top()))
    else:
        _watch(client.top)


def _watch(look: Callable[[], TopView]) -> None:
    """Draw on the terminal's other screen; what was drawn last stays on the first."""
    drawn = page(look())
    try:
        sys.stdout.write(_OTHER_SCREEN)
        while True:
            lines = drawn.splitlines()[: shutil.get_terminal_size().lines - 1]
            sys.stdout.write(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in lines) + _REST_OF_SCREEN)
            sys.stdout.flush()
            time.sleep(REFRESH_S)
            drawn = page(look())
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_BACK)
        print(drawn)


def page(view: TopView) -> str:
    """All of it as text."""
    paint = painter(sys.stdout)
    title = f"{paint(clean(view.node), BOLD)}  {time.strftime('%H:%M:%S', time.localtime(view.at))}"
    parts = [title, _gpus(view), _sums(view)]
    others = [job for job in view.jobs if not any(device.startswith("gpu:") for device in job.devices)]
    if others:
        parts += ["", _jobs(others, view.at)]
    return "\n".join(part for part in [*parts, *_queue(view)] if part is not None)


def _gpus(view: TopView) -> str | None:
    if not view.gpus:
        return None
    heads = ("GPU", "MODEL", "USE", "MEMORY", "POWER", "JOB", "NAME", "USER", "")
    rows = [row for gpu in view.gpus for row in _of_one(gpu, view.jobs)]
    return table(heads, rows, width=columns(sys.stdout), paint=painter(sys.stdout))


def _of_one(gpu: GpuTop, jobs: list[JobTop]) -> list[list[Cell]]:
    """The GPU with its job, and a line for each other job that has a part of it."""
    theirs = {job.id: one for job in jobs for one in job.devices if whole(one) == f"gpu:{gpu.index}"}
    name = theirs.get(gpu.job, str(gpu.index)).removeprefix("gpu:")
    others = [job for job in jobs if job.id in theirs and job.id != gpu.job]
    return [_gpu(gpu, name), *(_part(job, theirs[job.id].removeprefix("gpu:")) for job in others)]


def _gpu(gpu: GpuTop, name: str) -> list[Cell]:
    paint = painter(sys.stdout)
    return [
        Cell(text=name, right=True),
        Cell(text=gpu.name, paint=lambda text: paint(text, DIM)),
        Cell(text=_percent(gpu.use_percent), right=True, paint=_use_colour(gpu)),
        Cell(text=f"{_size(gpu.used_bytes)} of {format_size(gpu.memory_bytes)}".removeprefix(" of "), right=True),
        Cell(text="" if gpu.power_w is None else f"{gpu.power_w:.0f} W", right=True),
        Cell(text=short_id(gpu.job) if gpu.job else "free", paint=_bold_if(bool(gpu.job))),
        Cell(text=gpu.job_name),
        Cell(text=gpu.user),
        Cell(text=_idle(gpu), paint=lambda text: paint(text, YELLOW)),
    ]


def _part(job: JobTop, name: str) -> list[Cell]:
    nothing = [Cell(text="")] * 4
    who = [Cell(text=short_id(job.id), paint=_bold_if(True)), Cell(text=job.name), Cell(text=job.user)]
    return [Cell(text=name, right=True), *nothing, *who, Cell(text="")]


def _sums(view: TopView) -> str:
    busy = [job.cpu_percent / 100 for job in view.jobs if job.cpu_percent is not None]
    memory = [job.memory_bytes for job in view.jobs if job.memory_bytes is not None]
    used = f", {sum(busy):.1f} busy; jobs take {format_size(sum(memory))} of {format_size(view.memory_bytes)}"
    return f"CPUs: {view.cpus_held} of {view.cpus} held{used if busy else ''}"


def _jobs(jobs: list[JobTop], now: float) -> str:
    paint = painter(sys.stdout)
    rows = [
        [
            Cell(text=short_id(job.id), paint=lambda text: paint(text, BOLD)),
            Cell(text=job.name),
            Cell(text=job.user),
            Cell(text=compact(job.devices)),
            Cell(text=_percent(job.cpu_percent), right=True),
            Cell(text=_size(job.memory_bytes), right=True),
            Cell(text="" if job.started_at is None else format_duration(max(0.0, now - job.started_at)), right=True),
        ]
        for job in jobs
    ]
    heads = ("JOB", "NAME", "USER", "DEVICES", "CPU", "MEMORY", "RUNTIME")
    return table(heads, rows, width=columns(sys.stdout), paint=paint)


def _queue(view: TopView) -> list[str]:
    if not view.waiting:
        return ["", "Nothing waits."]
    paint = painter(sys.stdout)
    rows = [
        [
            Cell(text=short_id(job.id), paint=lambda text: paint(text, BOLD)),
            Cell(text=job.name),
            Cell(text=job.user),
            Cell(text=str(job.priority), right=True),
            Cell(text=format_duration(max(0.0, view.at - job.created_at)), right=True),
            Cell(text=job.reason, paint=lambda text: paint(text, DIM)),
        ]
        for job in view.waiting
    ]
    left = view.waiting_count - len(rows)
    more = [paint(f"and {left} more: leyden ps", DIM)] if left > 0 else []
    heads = ("WAITS", "NAME", "USER", "PRIORITY", "SINCE", "REASON")
    return ["", table(heads, rows, width=columns(sys.stdout), paint=paint), *more]


def _idle(gpu: GpuTop) -> str:
    """
    >>> gpu = GpuTop(index=0, name="", memory_bytes=0, job="0000000q7k", job_name="", user="ada", use_percent=0.0,
    ...     used_bytes=None, power_w=None, idle_s=720.0)
    >>> _idle(gpu)
    'held but idle for 12m00s'
    """
    held = gpu.job and gpu.idle_s is not None and gpu.idle_s >= IDLE_MARK_S
    return f"held but idle for {format_duration(gpu.idle_s or 0)}" if held else ""


def _use_colour(gpu: GpuTop) -> Callable[[str], str]:
    paint = painter(sys.stdout)
    return lambda text: paint(text, RED if _idle(gpu) else GREEN) if gpu.job else text


def _bold_if(wanted: bool) -> Callable[[str], str]:
    paint = painter(sys.stdout)
    return lambda text: paint(text, BOLD if wanted else DIM)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _size(value: float | None) -> str:
    return "" if value is None else format_size(value)

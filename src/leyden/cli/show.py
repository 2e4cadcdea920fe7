"""leyden show: everything about one job."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import click

from leyden.cli.common import STATE_COLOURS, as_typed, far, known, print_json, runtime_s
from leyden.cli.screen import BOLD, DIM, Cell, clean, columns, compact, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.ids import short_id
from leyden.core.states import State
from leyden.core.units import format_duration, spell
from leyden.core.views import AttemptView, EventView, JobDetail

# What a spec says that the lines above it say already, or that is the same for nearly every job.
_SHOWN_ABOVE = frozenset({"name", "script", "command", "args", "python", "priority", "env", "git"})


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@json_option
def command(job: str, output: str) -> None:
    """Show a job's state, what it runs, its devices, attempts, events and folders.

    \b
    leyden show             the newest job
    leyden show q7k2        the job whose id ends so
    leyden show -o json     everything, for programs
    """
    detail = known().job(job)
    if output == "json":
        print_json(detail)
    else:
        print(page(detail, now=time.time()))


def page(detail: JobDetail, *, now: float) -> str:
    """The job as text: a title, what is known by line, then attempts and events as tables."""
    job, paint = detail.job, painter(sys.stdout)
    spent = runtime_s(job, now)
    title = f"{paint(job.id, BOLD)}  {clean(job.name)}  {paint(job.state, *STATE_COLOURS.get(State(job.state), ()))}"
    facts = [
        ("reason", "" if job.reason == job.state else job.reason),
        ("exit code", "" if job.exit_code is None else str(job.exit_code)),
        ("command", _command(detail)),
        ("python", str(detail.spec.get("python", "")) if detail.spec.get("script") else ""),
        ("user", job.user),
        ("priority", str(job.priority)),
        ("submitted", _moment(job.created_at, now)),
        ("started", _moment(job.started_at, now)),
        ("ended", _moment(job.ended_at, now)),
        ("runtime", "" if spent is None else format_duration(spent)),
        ("done", far(job)),
        ("cost", "" if detail.cost is None else f"{detail.cost:.2f}{_of(detail)}"),
        ("devices", f"{compact(job.devices)} on {job.node}" if job.devices else ""),
        ("asked for", ", ".join(f"{key} {value}" for key, value in _asked(detail))),
        ("code", detail.code[:12] or "in place, no copy"),
        ("environment", env if (env := str(detail.spec.get("env", "inherit"))) != "inherit" else ""),
        ("commit", detail.commit.describe().removeprefix("commit ") if detail.commit else ""),
        ("from", detail.commit.remote if detail.commit else ""),
        ("run folder", job.run_dir),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"  {paint(f'{name:<{width}}', DIM)}  {clean(value)}" for name, value in facts if value]
    parts = [title, *lines]
    if detail.attempts:
        parts += ["", paint("Attempts", BOLD), _attempts(detail.attempts, now)]
    parts += ["", paint("Events", BOLD), _events(detail.events, job.created_at)]
    if job.attempt:
        short = short_id(job.id)
        parts += ["", paint("   ".join(map(as_typed, (f"leyden logs {short}", f"leyden metrics {short} --plot"))), DIM)]
    return "\n".join(parts)


def _command(detail: JobDetail) -> str:
    import shlex

    spec = detail.spec
    first = [spec["script"]] if spec.get("script") else list(spec.get("command") or ())
    return shlex.join([str(word) for word in [*first, *(spec.get("args") or ())]])


def _of(detail: JobDetail) -> str:
    limit = (detail.spec.get("limits") or {}).get("cost")
    return f" of {limit:g} at most" if limit else ""


def _asked(detail: JobDetail) -> Iterable[tuple[str, str]]:
    for key, value in detail.spec.items():
        if key not in _SHOWN_ABOVE and value not in (None, "", {}, [], ()):
            held = value.items() if isinstance(value, dict) else ()
            yield key, ",".join(f"{name}={spell(name, one)}" for name, one in held) or spell(key, value)


def _moment(at: float | None, now: float) -> str:
    if at is None:
        return ""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} ({format_duration(max(0.0, now - at))} ago)"


def _attempts(attempts: list[AttemptView], now: float) -> str:
    rows = [
        [
            Cell(text=str(one.number)),
            Cell(text=one.node),
            Cell(text=compact(one.devices)),
            Cell(text="" if one.pid is None else str(one.pid)),
            Cell(text="" if one.started_at is None else format_duration((one.ended_at or now) - one.started_at)),
            Cell(text="" if one.exit_code is None else str(one.exit_code)),
            Cell(text=one.outcome),
        ]
        for one in attempts
    ]
    heads = ("  #", "NODE", "DEVICES", "PID", "RUNTIME", "EXIT", "OUTCOME")
    return _indented(heads, rows)


def _events(events: list[EventView], origin: float) -> str:
    rows = [
        [
            Cell(text=f"+{format_duration(max(0.0, one.at - origin))}"),
            Cell(text=f"{one.before} → {one.after}" if one.before else one.after),
            Cell(text=one.who),
            Cell(text=one.why),
        ]
        for one in events
    ]
    return _indented(("  WHEN", "STATE", "WHO", "WHY"), rows)


def _indented(heads: tuple[str, ...], rows: list[list[Cell]]) -> str:
    moved = [[Cell(text=f"  {row[0].text}", paint=row[0].paint), *row[1:]] for row in rows]
    return table(heads, moved, width=columns(sys.stdout), paint=painter(sys.stdout))

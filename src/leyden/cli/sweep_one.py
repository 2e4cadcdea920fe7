"""leyden sweep show, best, export: one sweep, its best trial, all of its trials."""

from __future__ import annotations

import csv
import shlex
from typing import TextIO

import click

from leyden.cli.common import known, print_json
from leyden.cli.screen import BOLD, clean, note
from leyden.cli.sweep_tables import headline, params_said, rung_table, trial_table
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.errors import NotFoundError
from leyden.core.ids import short_id
from leyden.core.sweep_views import ImportanceView, SweepDetail


@click.command(context_settings=SETTINGS)
@click.argument("sweep", metavar="[SWEEP]", default="last")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=40, help="At most so many trials, the best first."
)
@json_option
def show(sweep: str, limit: int, output: str) -> None:
    """Show a sweep, the newest by default: what it searches, its rungs, its trials with the best first."""
    found = known().sweeps.get(sweep)
    if output == "json":
        print_json(found)
        return
    one = found.sweep
    print(clean(f"{one.id} {one.name} ({one.user}) {one.state}{f': {one.reason}' if one.reason else ''}"))
    print(clean(shlex.join(["leyden", "sweep", *found.command[2:]])))
    print(clean(headline(one)))
    if found.rungs:
        print(rung_table(found))
    if found.trials:
        print(trial_table(found, limit=limit))
    if len(found.trials) > limit:
        note(f"{limit} of {len(found.trials):,} trials; --limit shows more, `leyden sweep export` all")
    if found.front:
        note("* no other trial is better in every metric")


@click.command(context_settings=SETTINGS)
@click.argument("sweep", metavar="[SWEEP]", default="last")
@json_option
def best(sweep: str, output: str) -> None:
    """Print the best trial so far as a command, ready to be typed."""
    found = known().sweeps.get(sweep)
    if found.sweep.best is None:
        raise NotFoundError(
            asked=f"the best trial of sweep {short_id(found.sweep.id)}",
            found="none has a value yet" if found.sweep.metrics else "no metric says what is better",
            do="Wait until one has ended." if found.sweep.metrics else "Give the sweep a --metric.",
        )
    if output == "json":
        print_json({"trial": found.sweep.best, "command": found.best_command, "front": found.front})
        return
    one = found.sweep.best
    note(clean(f"trial {one.number}, job {short_id(one.job_id)}: {found.sweep.metrics[0]} {one.value:.6g}"), BOLD)
    note(clean(params_said(one.params)))
    print(shlex.join(found.best_command))


@click.command(context_settings=SETTINGS)
@click.argument("sweep", metavar="[SWEEP]", default="last")
@click.option("-f", "--file", type=click.File("w"), default="-", help="Where to; stdout by default.")
@click.option("--curves", is_flag=True, help="A row for each rung that each trial reached, instead of one a trial.")
@click.option("--importance", is_flag=True, help="How much each parameter explains (fANOVA), instead of the trials.")
@json_option
def export(sweep: str, file: TextIO, curves: bool, importance: bool, output: str) -> None:
    """Write all trials as CSV: number, job, state, parameters, values, what they took."""
    if importance:
        _write_importance(known().sweeps.importance(sweep), file, output)
        return
    found = known().sweeps.get(sweep)
    if output == "json":
        print_json(found.trials)
        return
    (_write_curves if curves else _write)(found, file)


def _write(found: SweepDetail, file: TextIO) -> None:
    names = list(dict.fromkeys(name for one in found.trials for name in one.params))
    metrics = [one.rpartition(":")[0] for one in found.sweep.metrics]
    rows = csv.writer(file)
    rows.writerow(["trial", "job", "state", *names, *metrics, found.sweep.resource, "device_s", "parent", "note"])
    for one in found.trials:
        values = list(one.values) if one.values else [one.value, *[None] * (len(metrics) - 1)][: len(metrics)]
        params = [one.params.get(name, "") for name in names]
        rest = [one.resource, round(one.device_s, 3), "" if one.parent is None else one.parent, one.note]
        rows.writerow([one.number, one.job_id, one.state, *params, *values, *rest])


def _write_importance(found: ImportanceView, file: TextIO, output: str) -> None:
    if output == "json":
        print_json(found)
        return
    if found.note:
        note(found.note)
    rows = csv.writer(file)
    rows.writerow(["parameter", "importance"])
    rows.writerows(found.shares.items())


def _write_curves(found: SweepDetail, file: TextIO) -> None:
    metric = found.sweep.metrics[0].rpartition(":")[0] if found.sweep.metrics else "value"
    rows = csv.writer(file)
    rows.writerow(["trial", found.sweep.resource, metric])
    for one in found.trials:
        rows.writerows([one.number, *point] for point in one.curve)

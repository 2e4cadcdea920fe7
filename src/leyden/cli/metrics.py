"""leyden metrics: what did the job log?"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from leyden.cli.common import known, print_json
from leyden.cli.plot import draw, number
from leyden.cli.screen import BOLD, CYAN, DIM, Cell, columns, painter, table
from leyden.cli.usage import SETTINGS
from leyden.core.errors import NotFoundError, nearest
from leyden.core.ids import short_id
from leyden.core.log_views import MetricView, SeriesView

HEADS = ("METRIC", "POINTS", "LAST STEP", "LAST", "MIN", "MAX")
_ALL_POINTS = 1_000_000  # the most the API gives of one metric


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where metrics are read from: the server, or a folder."""

    title: str
    metrics: list[MetricView]
    series: Callable[[str, int], SeriesView]


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@click.argument("names", metavar="[NAME]…", nargs=-1)
@click.option("--plot", is_flag=True, help="Draw the curves.")
@click.option("--log-y", is_flag=True, help="Draw them on a logarithmic axis.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "csv"]), default="text", metavar="FORMAT",
    help="text (the default), or json or csv with every point.",
)  # fmt: skip
def command(job: str, names: tuple[str, ...], plot: bool, log_y: bool, output: str) -> None:
    """Show what a job logged, one line a metric, or draw it.

    \b
    leyden metrics                          the newest job
    leyden metrics loss val_loss --plot     two curves of it
    leyden metrics q7k2                     another job
    leyden metrics leyden_runs --plot       the newest run of a bare `python train.py`
    leyden metrics q7k2 -o csv > points.csv
    """
    source, wanted = _source(job, list(names))
    chosen = _chosen(source, wanted)
    if output == "json":
        print_json([_points(source, one) for one in chosen])
    elif output == "csv":
        _print_csv(source, chosen)
    elif not chosen:
        print(f"{source.title} has logged no metrics yet.")
    elif plot or log_y:
        # Epochs only count, and the machine's use is not what was trained; both are drawn when asked for by name.
        telling = [one for one in chosen if wanted or (one.name != "epoch" and not one.name.startswith("system/"))]
        _print_curves(source, telling, log_y)
    else:
        print(listing(chosen))


def listing(rows: list[MetricView]) -> str:
    """The table of metrics."""
    paint = painter(sys.stdout)
    shown = [
        [
            Cell(text=one.name),
            *(Cell(text=str(value), right=True) for value in (one.count, one.last_step)),
            *(Cell(text=f"{value:.6g}", right=True) for value in (one.last, one.least, one.greatest)),
        ]
        for one in rows
    ]
    return table(HEADS, shown, width=columns(sys.stdout), paint=paint)


def _source(ref: str, names: list[str]) -> tuple[Source, list[str]]:
    """The run asked for and the names wanted of it; `leyden metrics loss` means that metric of the newest job."""
    try:
        return _open(ref), names
    except NotFoundError:
        newest = _open("last")
        if not any(one.name == ref for one in newest.metrics):
            raise
        return newest, [ref, *names]


def _open(ref: str) -> Source:
    path = Path(ref)
    if path.is_dir() and not (path / "metrics").is_dir() and path.name == "leyden_runs":
        path = max((one for one in path.iterdir() if (one / "metrics").is_dir()), default=path)
    if path.is_dir():
        from leyden.track import read  # only folders are read here; a job's are read by its server

        return Source(
            title=str(path),
            metrics=read.read_metrics(path),
            series=lambda name, most: read.read_series(path, name, max_points=most),
        )
    client = known()
    found = client.job(ref).job
    return Source(
        title=f"{short_id(found.id)} {found.name}",
        metrics=client.metrics(found.id),
        series=lambda name, most: client.series(found.id, name, max_points=most),
    )


def _chosen(source: Source, names: list[str]) -> list[MetricView]:
    by_name = {one.name: one for one in source.metrics}
    for name in names:
        if name not in by_name:
            advice = nearest(name, by_name) if by_name else "it has logged nothing yet"
            raise NotFoundError(
                asked=f"metric {name!r} was asked for",
                found=f"{source.title} has no such metric",
                do=f"Check the name: {advice}",
            )
    return [by_name[name] for name in names] if names else source.metrics


def _points(source: Source, metric: MetricView) -> dict[str, object]:
    series = source.series(metric.name, _ALL_POINTS)
    return {**asdict(metric), "steps": series.steps, "times": series.times, "values": series.values}


def _print_csv(source: Source, chosen: list[MetricView]) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("metric", "step", "time", "value"))
    for one in chosen:
        series = source.series(one.name, _ALL_POINTS)
        rows.writerows((one.name, *point) for point in zip(series.steps, series.times, series.values, strict=True))


def _print_curves(source: Source, chosen: list[MetricView], log_y: bool) -> None:
    paint = painter(sys.stdout)
    width = columns(sys.stdout) or 80
    for one in chosen:
        ends = f"last {number(one.last)}  min {number(one.least)}  max {number(one.greatest)}"
        if one.count == 1:
            print(f"{paint(one.name, BOLD)}  {number(one.last)}  {paint(f'once, at step {one.last_step}', DIM)}\n")
            continue
        print(f"{paint(one.name, BOLD)}  {paint(ends, DIM)}")
        series = source.series(one.name, 4 * width)
        drawn = draw(series.steps, series.values, width=width, log_y=log_y)
        print(re.sub("[\u2800-\u28ff]+", lambda dots: paint(dots[0], CYAN), drawn), end="\n\n")

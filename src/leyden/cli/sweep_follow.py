"""What is shown while a sweep goes on?"""

from __future__ import annotations

import sys
import time

from leyden.cli.common import hints, reconnected
from leyden.cli.run import EXIT_DETACHED, SECOND_CTRL_C_S
from leyden.cli.screen import BOLD, GREEN, RED, YELLOW, clean, columns, cut, note
from leyden.cli.sweep_tables import headline, params_said, rung_table, trial_table
from leyden.client.follow import GIVE_UP_S
from leyden.core.errors import UnreachableError
from leyden.core.ids import short_id
from leyden.core.states import EXIT_LIMIT
from leyden.core.sweep_views import SweepDetail, SweepView
from leyden.core.units import format_duration

EVERY_S = 0.5
_TOP = 5


def follow(sweep: SweepView) -> int:
    """Until it ends; the exit code: 0 finished, 1 failed, 105 stopped."""
    note(f"{short_id(sweep.id)} {clean(sweep.name)} · {sweep.strategy}, {_asked(sweep)}")
    line = _Line()
    try:
        found = _until_its_end(sweep.id, line)
    except KeyboardInterrupt:
        line.close()
        return _detach(sweep)
    line.close()
    summarise(found)
    return {"finished": 0, "failed": 1}.get(found.sweep.state, EXIT_LIMIT)


def summarise(found: SweepDetail) -> None:
    """How it ended: rungs, the best trials, what to type next."""
    sweep = found.sweep
    short = short_id(sweep.id)
    good = sweep.state == "finished"
    mark, colours = ("✓", (GREEN,)) if good else ("✗", (BOLD, RED) if sweep.state == "failed" else (YELLOW,))
    spent = format_duration(max(0.0, (sweep.ended_at or time.time()) - sweep.created_at))
    note(clean(f"{mark} {short} {sweep.state} after {spent}: {sweep.reason}"), *colours)
    if found.rungs:
        print(rung_table(found))
    if sweep.best is not None:
        print(trial_table(found, limit=_TOP))
    rows = [(f"leyden sweep show {short}", "all of its trials")]
    if sweep.best is not None:
        rows.insert(0, (f"leyden sweep best {short}", "the best one as a command"))
    if not good:
        rows.append((f"leyden sweep resume {short}", "go on with it"))
    hints(rows)


def _until_its_end(sweep_id: str, line: _Line) -> SweepDetail:
    lost_at: float | None = None
    while True:
        asked_at = time.monotonic()
        try:
            found = reconnected().sweeps.get(sweep_id)
            lost_at = None
        except UnreachableError as error:
            if lost_at is None:
                note(f"{error.found}; trying again for {GIVE_UP_S / 60:.0f} minutes. The sweep itself goes on.")
                lost_at = time.monotonic()
            if time.monotonic() - lost_at > GIVE_UP_S:
                raise
            time.sleep(1.0)
            continue
        line.show(found)
        if found.sweep.state != "running":
            return found
        time.sleep(max(EVERY_S, 20 * (time.monotonic() - asked_at)))  # of a thousand trials less often


class _Line:
    """One line on a terminal, kept up to date; elsewhere a line whenever there is a better trial."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._best: int | None = None
        self._shown = ""

    def show(self, found: SweepDetail) -> None:
        text = clean(headline(found.sweep))
        if self._live and text != self._shown:
            self._shown = text
            sys.stderr.write(f"\r\x1b[K{cut(text, columns(sys.stderr) or 100)}")
            sys.stderr.flush()
        best = found.sweep.best
        if not self._live and best is not None and best.number != self._best:
            self._best = best.number
            note(clean(f"{text} ({params_said(best.params)})"))

    def close(self) -> None:
        if self._live and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _asked(sweep: SweepView) -> str:
    return "as many trials as there is time for" if sweep.asked is None else f"{sweep.asked:,} trials"


def _detach(sweep: SweepView) -> int:
    """The first Ctrl-C leaves the sweep alone; a second one soon after stops it."""
    short = short_id(sweep.id)
    try:
        note(f"\n{short} goes on without this terminal. Ctrl-C again within {SECOND_CTRL_C_S:.0f} s stops it.", "1")
        hints([(f"leyden sweep show {short}", "how it goes"), (f"leyden sweep stop {short}", "pause its trials")])
        time.sleep(SECOND_CTRL_C_S)
    except KeyboardInterrupt:
        stopped = reconnected().sweeps.stop(sweep.id)
        note(f"\n{short} {stopped.state}; `leyden sweep resume {short}` lets it go on.")
        return EXIT_LIMIT
    return EXIT_DETACHED

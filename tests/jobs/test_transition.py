"""Does a state change only by the rules, and never twice from the same beginning?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select

import leyden.jobs
from leyden.core.states import State
from leyden.jobs import life
from leyden.jobs.rows import get_job, held_devices
from leyden.jobs.store import Store
from leyden.jobs.tables import events
from leyden.jobs.transition import LostRaceError, transition
from tests.jobs.samples import a_job


def test_of_two_who_loaded_the_same_row_one_loses(store: Store) -> None:
    job = a_job()
    store.write(lambda connection: life.submit(connection, job))
    first = store.submit(
        lambda connection: transition(connection, job, State.CANCELLED, at=2.0, who="ada", why="cancelled")
    )
    second = store.submit(lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=2.0))
    first.result()
    with pytest.raises(LostRaceError):
        second.result()
    assert store.read(lambda connection: get_job(connection, job.id)).state is State.CANCELLED
    assert store.read(held_devices) == {}  # and no lease was left


def test_an_event_is_written_with_every_change(store: Store) -> None:
    job = a_job()
    store.write(lambda connection: life.submit(connection, job))
    store.write(lambda connection: life.cancel(connection, job.id, at=2.0, who="bob"))
    rows = store.read(lambda connection: connection.execute(select(events).order_by(events.c.id)).all())
    assert [(row.before, row.after, row.who) for row in rows] == [("", "queued", "ada"), ("queued", "cancelled", "bob")]


def test_states_that_do_not_follow_each_other_are_refused(store: Store) -> None:
    job = a_job()
    store.write(lambda connection: life.submit(connection, job))
    with pytest.raises(ValueError, match="cannot go from queued to running"):
        store.write(lambda connection: transition(connection, job, State.RUNNING, at=2.0, who="x", why=""))


def test_only_one_file_changes_states() -> None:
    folder = Path(leyden.jobs.__file__).parent
    writers = [
        path.name
        for path in folder.parent.rglob("*.py")
        if re.search(r"(?:update\(|change\(connection, )jobs\b|insert\(jobs\)", _without_reasons(path.read_text()))
    ]
    assert writers == ["transition.py"]


def _without_reasons(text: str) -> str:
    """Why a job waits, or what it is busy with, is told without a change of its state: by two statements of life.py."""
    told = r"_EXPLAIN = \(\n.*?\n\)\n|change\(connection, jobs, \{[^}]*\}, \{\"reason\": doing\}\)"
    return re.sub(told, "", text, flags=re.DOTALL)

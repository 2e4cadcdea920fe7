"""What holds of a sweep at each moment, whichever thread looks?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from leyden.core.home import Home
from leyden.core.ids import new_id
from leyden.core.job import Job
from leyden.core.sweep import make_sweep
from leyden.jobs.store import Store
from leyden.jobs.tables import trials
from leyden.server.services import Services
from leyden.server.sweeps.rows import SweepRow, SweepState


def test_a_trial_on_record_is_told_how_far_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler may launch it at once: one that is told nothing would train to its end."""
    home = Home(tmp_path / "home").create()
    services = Services.open(home, url="http://127.0.0.1:1", stop_grace_s=1.0)
    services.sweeper.open(services)
    write, told = Store.write, list[str]()

    def looked_at(self: Store, work: Any) -> Any:
        found = write(self, work)
        ids = self.read(lambda connection: connection.scalars(select(trials.c.job_id)).all())
        told.extend(services.sweeper.launch_of(one)[0] for one in ids)
        return found

    monkeypatch.setattr(Store, "write", looked_at)
    spec = make_sweep(
        {"strategy": "asha", "metric": "loss:min", "trials": 4, "max_resource": 9, "space": {"lr": [1, 2, 3, 4]}}
    )
    row = SweepRow(
        id=new_id(),
        key="k",
        version=1,
        state=SweepState.RUNNING,
        reason="",
        name="one",
        user="ada",
        job=Job(script="train.py", cpus=1).model_dump_json(),
        spec=spec.model_dump_json(),
        code="",
        cwd=str(tmp_path),
        submit_dir=str(tmp_path),
        environ="",
        created_at=1.0,
    )
    try:
        services.sweeper.submit(row)
    finally:
        services.sweeper.close()
        services.close()
    assert told
    assert set(told) == {"epoch:1"}

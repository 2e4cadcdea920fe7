"""Where does a server keep its jobs, and who else may?"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conformance.engine import WAITS
from tests.conformance.postgres import Postgres
from tests.server.running import Running


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path / "team")
    yield one
    one.end()


@pytest.mark.slow
def test_jobs_in_postgresql_outlive_a_killed_server_and_no_second_one_takes_them(
    team: Running, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.database()
    team.start("--database", url)
    job_id = team.submit(WAITS)
    pid = team.rank_pid(job_id)
    first = team.published()["pid"]
    refused(tmp_path / "other", url, f"another server has it open (leyden server: {os.uname().nodename}, pid {first})")
    team.kill()
    team.start()  # it has been told once
    assert team.rank_pid(job_id) == pid
    (team.home / "runs" / job_id / "go").touch()
    assert team.wait(job_id)["state"] == "succeeded"
    assert not (team.home / "leyden.db").exists()
    assert team.get("/api/server")["database"].startswith("postgresql://leyden@/jobs")
    assert team.get("/api/machine")["held"] == {}


def test_a_file_elsewhere_has_one_server_too(team: Running, tmp_path: Path) -> None:
    file = str(tmp_path / "jobs.db")
    team.start("--database", file)
    refused(tmp_path / "other", file, f"a server with pid {team.published()['pid']} has it open")
    job_id = team.submit("print('here')")
    assert team.wait(job_id)["state"] == "succeeded"
    assert json.loads((team.home / "settings.json").read_text())["database"] == file


def test_a_home_of_the_first_leyden_goes_on_with_its_jobs(team: Running) -> None:
    """One waits behind one that ran when its server was stopped for good, together with the machine."""
    waits = team.home / "runs/0c8n0v1c03"
    waits.mkdir(parents=True)
    (waits / "environ.json").write_text(json.dumps(dict(os.environ)))
    with closing(sqlite3.connect(team.home / "leyden.db")) as database:
        database.executescript((Path(__file__).parents[1] / "jobs/first_version.sql").read_text())
    team.start()
    assert team.wait("0c8n0v1c03")["state"] == "succeeded"
    assert team.job("0c8n0v1a01")["state"] == "succeeded"
    assert team.get("/api/jobs/0c8n0v1b02")["attempts"][0]["outcome"] == "infra"


def refused(home: Path, where: str, words: str) -> None:
    """A server of another home that is to open it ends with an error that says why."""
    command = [sys.executable, "-m", "leyden.server", "--home", str(home), "--database", where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "settings.json").exists()

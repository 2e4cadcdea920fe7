"""Do links that other programs print open the dashboard where they mean?"""

from __future__ import annotations

import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import World, home_of
from tests.ui.test_runs import LEYDEN

pytestmark = pytest.mark.slow


def test_links_of_mlflows_client_open_the_run_and_the_experiment(page: Page, world: World) -> None:
    def said(path: str, body: dict[str, str]) -> dict[str, dict[str, dict[str, str]]]:
        status, found = world.server.ask("POST", f"/api/2.0/mlflow/{path}", body)
        assert status == 200, found
        return dict(found)

    experiment = said("experiments/create", {"name": 'old "streets"'})["experiment_id"]
    made = said("runs/create", {"experiment_id": str(experiment), "run_name": "by-mlflow"})["run"]["info"]
    said("runs/log-parameter", {"run_id": made["run_id"], "key": "lr", "value": "0.1"})
    page.goto(f"{world.url}/#/experiments/{experiment}/runs/{made['run_id']}")
    expect(page.get_by_role("heading", name="by-mlflow")).to_be_visible()
    page.goto(f"{world.url}/#/experiments/{experiment}")
    expect(page.get_by_label("Filter")).to_have_value('project="old \\"streets\\""')
    expect(page.get_by_role("link", name="by-mlflow")).to_be_visible()
    asked = [str(LEYDEN), "ui", "--no-browser", "by-mlflow"]  # a run without a job
    done = subprocess.run(asked, env=home_of(world.server.home), capture_output=True, text=True, check=True)
    assert f"/login?to=/runs/{made['run_id']}#token=" in done.stdout
    said("runs/delete", {"run_id": made["run_id"]})  # other tests count what there is

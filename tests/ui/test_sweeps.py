"""Sweeps: what of real ones is seen, before and while they go on, and when they are over."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, expect

from leyden.core.ids import new_id
from tests.conformance.until import until
from tests.server.running import Running
from tests.ui.conftest import log_in, new_context, open_page

pytestmark = pytest.mark.slow

TRAINS = """
import argparse, math, os, pathlib, leyden
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--width", type=int, default=1)
parser.add_argument("--until", type=pathlib.Path)
given = parser.parse_args()
while given.until and not given.until.exists():
    os.sched_yield()
assert given.width != 13, "<img src=x onerror=hacked()>"
saved = leyden.latest_checkpoint()
mine = pathlib.Path(os.environ["LEYDEN_RUN_DIR"]) / "epoch"
for epoch in range(int(saved.read_text()) if saved else 0, 4):
    mine.write_text(str(epoch + 1))
    leyden.checkpoint(mine, step=epoch + 1)
    loss = abs(math.log10(given.lr) + 2) + 1 / (epoch + 1)
    leyden.report(epoch + 1, {"val_loss": loss, "size": given.width / given.lr})
"""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A server with a sweep that pauses at rungs, one with two metrics, and what the API says of them."""

    server: Running
    asha: dict[str, Any]
    grid: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.server.published()["url"])

    def open(self, page: Page, sweep: dict[str, Any], query: str = "") -> None:
        page.goto(f"{self.url}/sweeps/{sweep['sweep']['id']}?{query}")


def begin(server: Running, name: str, args: list[str], **sweep: object) -> str:
    """Its id."""
    job = {"script": "train.py", "args": args, "name": name, "cpus": 1, "gpus": 0}
    body = {"job": job, "sweep": sweep, "cwd": str(server.home), "environ": dict(os.environ), "user": "ada"}
    status, found = server.ask("POST", "/api/sweeps", {**body, "key": f"key-{new_id()}"})
    assert status == 201, found
    return str(found["id"])


def over(server: Running, sweep: str) -> dict[str, Any]:
    """All that is said of it once it has ended."""
    ended = lambda: (found := server.get(f"/api/sweeps/{sweep}"))["sweep"]["state"] != "running" and found  # noqa: E731
    return dict(until(ended))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Nothing was swept there yet."""
    one = Running(tmp_path_factory.mktemp("sweeps") / "home")
    one.start()
    (one.home / "train.py").write_text(TRAINS)
    yield one
    one.end()


@pytest.fixture(scope="module")
def swept(server: Running) -> Swept:
    """Both at once. One trial of the grid fails."""
    rates = "loguniform(1e-4,1e-1)"
    rungs = {"strategy": "asha", "min_resource": 1, "max_resource": 4, "eta": 2, "trials": 6, "parallel": 2}
    asha = begin(server, "pauses", ["--lr", rates, "--width", "[32,64]"], metric="val_loss:min", **rungs)
    grid = begin(
        server, "<b>grid</b>", ["--lr", "[1e-3,1e-2]", "--width", "[8,13]"], strategy="grid", metric="val_loss,size:max"
    )
    return Swept(server=server, asha=over(server, asha), grid=over(server, grid))


@pytest.fixture(scope="module")
def state(browser: Browser, server: Running) -> StorageState:
    """What the browser of somebody who is logged in keeps."""
    context = new_context(browser)
    log_in(context, server.published()["url"], server.published()["token"])
    found = context.storage_state()
    context.close()
    return found


@pytest.fixture
def page(browser: Browser, server: Running, state: StorageState) -> Iterator[Page]:
    """Logged in; whatever a test does, no script fails, none of another's runs, nothing outside is asked."""
    context = new_context(browser, state)
    found = open_page(context, server.published()["url"])
    yield found
    assert found.wrong == []  # type: ignore[attr-defined]
    assert found.evaluate("window.hacked") is None
    context.close()


def rows(page: Page) -> list[str]:
    return [one.inner_text().replace("\n", " ") for one in page.locator(".runs-table .row").all()]


def test_a_sweep_appears_by_itself_and_can_be_stopped_and_resumed(page: Page, server: Running) -> None:
    page.goto(f"{server.published()['url']}/sweeps")
    expect(page.get_by_text('leyden sweep train.py --lr "loguniform(1e-4,1e-1)" --trials 20')).to_be_visible()
    end = server.home / "end"
    sweep = begin(server, "waits", ["--lr", "[0.1]", "--until", str(end)], strategy="grid", metric="val_loss:min")
    row = page.locator(".runs-table .row")
    expect(row.get_by_title("1 running, of 1")).to_be_visible()
    row.get_by_role("link", name="waits").click()
    expect(page.locator(".run-head")).to_contain_text("0 of 1 trial ended")
    page.once("dialog", lambda asked: asked.accept())
    page.get_by_role("button", name="stop").click()
    expect(page.locator(".run-head .state")).to_have_text("stopped")
    expect(page.locator(".reason")).to_have_text("stopped by eve")  # whose `leyden ui` it was
    page.get_by_role("button", name="resume").click()
    expect(page.locator(".run-head .state")).to_have_text("running")
    end.touch()
    expect(page.locator(".run-head")).to_contain_text("1 of 1 trial ended")
    expect(page.locator(".run-head .state")).to_have_text("finished")
    best = server.get(f"/api/sweeps/{sweep}")["sweep"]["best"]
    expect(page.locator(".best strong")).to_have_text(f"{best['value']:.4g}")
    expect(page.locator(".best .command")).to_contain_text("leyden run train.py --lr 0.1")
    [asked] = page.wrong  # type: ignore[attr-defined]
    assert asked.startswith("Stop waits")
    page.wrong.clear()  # type: ignore[attr-defined]


def test_sweeps_are_listed_filtered_sorted_and_saved(page: Page, swept: Swept) -> None:
    page.goto(f"{swept.url}/sweeps?sort=-name")
    expect(page.locator(".runs-table .row")).to_have_count(3)
    assert [row.split()[0] for row in rows(page)] == ["waits", "pauses", "<b>grid</b>"]
    page.get_by_role("button", name="Strategy").click()
    assert "sort=strategy" in page.url
    page.get_by_label("Filter").fill("strategy=asha best<9")
    expect(page.locator(".runs-table .row")).to_have_count(1)
    expect(page.get_by_role("status").last).to_have_text("1 sweep of 3")
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    names, line = saved.value.path().read_text().splitlines()
    assert dict(zip(names.split(","), line.split(","), strict=True))["trials"] == "6"
    page.get_by_label("Filter").fill("colour=red")
    expect(page.get_by_role("alert")).to_contain_text('there is no "colour" here')
    page.get_by_label("Filter").fill("user=nobody")
    expect(page.get_by_text("No sweep is like that")).to_be_visible()


def test_rungs_show_who_reached_them_and_who_went_on(page: Page, swept: Swept) -> None:
    swept.open(page, swept.asha)
    plot, rungs = page.locator("svg.rungs"), swept.asha["rungs"]
    for rung in rungs:
        expect(plot).to_contain_text(f"{rung['reached']} reached")
        expect(plot).to_contain_text(f"epoch {rung['resource']}")
    expect(plot).to_contain_text(f"{rungs[0]['gone_on']} gone on")
    expect(plot.locator("circle")).to_have_count(sum(one["reached"] for one in rungs))
    expect(plot.locator("circle.gone-on")).to_have_count(sum(one["gone_on"] for one in rungs))
    expect(plot.locator("circle.done")).to_have_count(rungs[-1]["reached"])
    best = swept.asha["sweep"]["best"]
    mine = plot.locator(f"circle[data-trial='{best['number']}']")
    mine.last.hover()
    expect(page.get_by_label("Rungs", exact=True)).to_contain_text(f"width {best['params']['width']}")
    expect(plot.locator("path.way")).to_be_visible()
    height = mine.last.get_attribute("cy")
    page.get_by_role("button", name="log y").click()
    expect(mine.first).not_to_have_attribute("cy", height or "")
    assert "log=y" in page.url
    mine.last.click()
    page.wait_for_url(f"**/runs/{best['job_id']}")


def test_curves_are_drawn_and_leave_the_page_as_picture_and_table(page: Page, swept: Swept) -> None:
    swept.open(page, swept.asha)
    panel = page.get_by_label("Learning curves")
    expect(panel.locator("g.curve")).to_have_count(6)
    expect(panel.locator("g.curve.best")).to_have_attribute("data-trial", str(swept.asha["sweep"]["best"]["number"]))
    with page.expect_download() as saved:
        panel.get_by_role("button", name="CSV").click()
    lines = saved.value.path().read_text().splitlines()
    assert lines[0] == "trial,bracket,epoch,val_loss"
    assert len(lines) == 1 + sum(len(one["curve"]) for one in swept.asha["trials"])
    with page.expect_download() as saved:
        panel.get_by_role("button", name="PNG").click()
    picture = Image.open(io.BytesIO(saved.value.path().read_bytes())).convert("RGB")
    assert (0x24, 0x56, 0xC4) in {colour for _, colour in picture.getcolors(1 << 24) or []}  # the best one's line


def test_trials_are_found_ordered_and_compared(page: Page, swept: Swept) -> None:
    swept.open(page, swept.asha, "tab=trials")
    trials = swept.asha["trials"]
    expect(page.locator(".runs-table .row")).to_have_count(6)
    page.get_by_role("button", name="lr", exact=True).click()
    expect(page.locator(".runs-table .row").first).to_contain_text(re.compile("^" + str(smallest(trials)["number"])))
    page.get_by_label("Filter").fill("state=dropped value>0 width>=32")
    expect(page.locator(".runs-table .row")).to_have_count(sum(one["state"] == "dropped" for one in trials))
    expect(page.locator(".runs-table .row").first).to_contain_text("not let past rung")
    page.get_by_label("Filter").fill("")
    page.get_by_label("Filter").press("Escape")
    expect(page.locator(".runs-table .row")).to_have_count(6)
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Compare 2")).to_be_visible()
    by_rate = sorted(trials, key=lambda one: one["params"]["lr"])
    page.reload()
    expect(page.locator(".runs-table .row.chosen")).to_have_count(2)
    page.keyboard.press("c")
    page.wait_for_url("**/compare?runs=*")
    assert set(page.url.partition("runs=")[2].split(",")) == {one["job_id"] for one in by_rate[:2]}
    expect(page.get_by_label("chart of val_loss").locator(".legend button")).to_have_count(2)


def smallest(trials: list[dict[str, Any]]) -> dict[str, Any]:
    return min(trials, key=lambda one: one["params"]["lr"])


def test_parameters_are_weighed_also_at_one_rung_alone(page: Page, swept: Swept) -> None:
    swept.open(page, swept.asha, "tab=parameters")
    plot = page.get_by_label("parallel coordinates")
    expect(plot.locator("path.run")).to_have_count(6)
    expect(page.get_by_label("Importance").get_by_role("meter")).to_have_count(2, timeout=60_000)  # Optuna is loaded
    found = swept.server.get(f"/api/sweeps/{swept.asha['sweep']['id']}/importance")
    for name, share in found["shares"].items():
        expect(page.get_by_role("meter", name=f"importance of {name}")).to_have_attribute(
            "aria-valuenow", str(round(share * 100))
        )
    page.get_by_label("At rung").select_option("2")
    expect(plot.locator("path.run")).to_have_count(swept.asha["rungs"][1]["reached"])
    page.get_by_label("Scatter x").select_option("lr")
    query = page.url
    page.reload()
    expect(plot.locator("path.run")).to_have_count(swept.asha["rungs"][1]["reached"])
    assert page.url == query


def test_of_several_metrics_the_front_is_marked_and_failures_tell_why(page: Page, swept: Swept) -> None:
    swept.open(page, swept.grid)
    front = swept.grid["front"]
    expect(page.get_by_label("Front").locator("circle")).to_have_count(2)
    page.get_by_role("link", name=f"{len(front)} trial").click()
    expect(page.locator(".runs-table .row")).to_have_count(len(front))
    page.get_by_label("Filter").fill('note~"hacked()"')
    expect(page.locator(".runs-table .row")).to_have_count(2)
    expect(page.locator(".runs-table .row .state.failed")).to_have_count(2)
    page.get_by_role("link", name="space").click()
    expect(page.get_by_role("row", name="lr [1e-3,1e-2]")).to_be_visible()


def test_a_sweep_that_is_not_there_is_said(page: Page, swept: Swept) -> None:
    page.goto(f"{swept.url}/sweeps/nothing")
    expect(page.get_by_role("alert")).to_contain_text("nothing")
    page.get_by_role("link", name="All sweeps").click()
    expect(page.locator(".runs-table .row")).to_have_count(3)

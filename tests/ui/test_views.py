"""Compare, cluster and queue; and what the dashboard does while the server is away, or has nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.running import Running
from tests.ui.conftest import World, drag, log_in

pytestmark = pytest.mark.slow


def compare(page: Page, world: World, view: str = "") -> None:
    page.goto(f"{world.url}/compare?runs={','.join(world.runs[:3])}&view={view}")


def test_compared_runs_share_charts(page: Page, world: World) -> None:
    compare(page, world)
    card = page.get_by_label("chart of val_loss")
    expect(card.locator(".legend button")).to_have_count(3)
    expect(card).to_contain_text("3 NaN")
    page.locator(".who button").first.click()
    expect(card.locator(".legend button")).to_have_count(2)
    assert world.runs[0] not in page.url


def test_compared_charts_zoom_in_on_detail_over_time_and_epochs_and_take_further_metrics(
    page: Page, world: World
) -> None:
    compare(page, world, "charts&m=val")
    page.get_by_label("x axis").select_option("time")
    card = page.get_by_label("chart of val_loss")
    with page.expect_response(re.compile("series.*x=time.*low=.*relative=true")) as answer:
        drag(card, 0.0)
    found = answer.value.json()
    assert [one["run"] for one in found] == world.runs[:3]
    low, high = (float(re.findall(rf"{name}=([^&]+)", answer.value.url)[0]) for name in ("low", "high"))
    begun = [world.server.get(f"/api/runs/{run}")["run"]["started_at"] for run in world.runs[:3]]
    since = [at - start for one, start in zip(found, begun, strict=True) for at in one["times"]]
    assert since  # of each run since its own start
    assert low - 1e-5 <= min(since) <= max(since) <= high + 1e-5
    page.get_by_label("x axis").select_option("epoch")
    expect(page.get_by_title("Show all again")).to_have_count(0)
    with page.expect_response(re.compile(r"val_loss.*low=[3-7]\d&high=1[0-3]\d")):
        drag(card)
    card.get_by_label("Add a metric to val_loss").click()
    page.get_by_label("Search metrics to add").fill("train")
    page.get_by_role("button", name="+ train_loss").click()
    expect(card.locator(".legend button")).to_have_count(6)
    expect(card.locator(".legend button").nth(1)).to_contain_text("train_loss")
    page.reload()
    expect(card.locator(".legend button")).to_have_count(6)


def test_only_what_differs_is_listed(page: Page, world: World) -> None:
    compare(page, world, "differences")
    expect(page.get_by_role("row", name="lr 0.001 0.01 0.1")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("model.depth"))).to_have_count(0)
    page.get_by_role("button", name="Show what is the same too").click()
    expect(page.get_by_role("row", name="model.depth 4 4 4")).to_be_visible()


def test_parameters_are_drawn_and_weighed(page: Page, world: World) -> None:
    compare(page, world, "parameters")
    expect(page.locator("path.run")).to_have_count(3)
    expect(page.locator("circle")).to_have_count(3)
    expect(page.get_by_label("importance of lr")).to_be_visible()
    plot = page.get_by_label("parallel coordinates")
    axis = plot.locator("rect[cursor]").last
    box = axis.bounding_box()
    assert box
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.6, steps=3)
    page.mouse.up()
    expect(page.locator("path.run")).to_have_count(1)  # the one with a small loss
    page.reload()
    expect(page.locator("path.run")).to_have_count(1)
    page.get_by_role("button", name="Keep all").click()
    expect(page.locator("path.run")).to_have_count(3)


def test_the_cluster_says_who_has_which_gpu(page: Page, world: World) -> None:
    page.goto(f"{world.url}/cluster")
    expect(page.get_by_text("2 of 2 GPUs held")).to_be_visible()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("live")
    expect(rows.first).to_contain_text("ada")
    expect(page.get_by_role("meter", name="use of GPU 0")).to_be_visible()


def test_the_queue_says_why_and_for_whom(page: Page, world: World) -> None:
    page.goto(f"{world.url}/queue")
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("waits for gpu:0–1")
    expect(row).to_contain_text("'live' (ada)")
    row.get_by_role("link").click()
    page.get_by_role("button", name="hold").click()
    expect(page.locator(".run-head .state")).to_have_text("held")
    page.get_by_role("button", name="release").click()
    expect(page.locator(".run-head .state")).to_have_text("queued")
    page.get_by_role("link", name="events").click()
    expect(page.get_by_role("row", name="queued eve no longer held")).to_be_visible()  # whose `leyden ui` it was


QUIET = """(ms) => new Promise((done) => {
  const end = () => { watch.disconnect(); done(document.querySelector("main").innerText); };
  let timer = setTimeout(end, ms);
  const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(end, ms); });
  watch.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
})"""


def test_every_view_is_the_same_after_a_reload(page: Page, world: World) -> None:
    three = ",".join(world.runs[:3])
    for path in (
        f"/runs?q=state=succeeded&sort=name&cols=name,state,val_loss&sel={three}&w=name:300",
        "/runs?group=name&cols=name,val_loss",
        f"/runs/{world.runs[0]}?smooth=0.7&x=epoch&log=xy&other=loss&wide=epoch&hide=val_loss&overlay=0&m=e",
        f"/runs/{world.printer}?tab=logs&find=line+77&only=1&line=78",
        f"/runs/{world.runs[0]}?tab=config&find=depth",
        f"/runs/{world.runs[2]}?tab=code&against={world.runs[0]}",
        f"/compare?runs={three}&view=parameters&metric=train_loss&sx=val_loss",
    ):
        page.goto(world.url + path)
        expect(page.locator("main")).not_to_have_text(re.compile("^…?$"))
        before = without_ages(page.evaluate(QUIET, 150))
        page.reload()
        expect(page.locator("main")).not_to_have_text(re.compile("^…?$"))
        assert without_ages(page.evaluate(QUIET, 150)) == before
        assert page.url == world.url + path


def without_ages(text: str) -> str:
    return re.sub(r"\d+[smh] ago|now", "", text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Nothing ran there yet; the tests use it in turn."""
    one = Running(tmp_path_factory.mktemp("empty") / "home")
    one.start()
    yield one
    one.end()


def test_an_empty_home_tells_the_next_command_and_runs_appear_by_themselves(
    context: BrowserContext, server: Running
) -> None:
    page = log_in(context, server.published()["url"], server.published()["token"])
    expect(page.get_by_text("leyden run train.py")).to_be_visible()
    job_id = server.submit("import leyden; leyden.log({'loss': 1.0})")
    expect(page.locator(".runs-table .row")).to_have_count(1)
    server.wait(job_id)
    expect(page.locator(".runs-table .row .state")).to_have_text("succeeded")
    expect(page.locator(".runs-table .row")).to_contain_text(re.compile(r"\d(ms|s)"))  # the runtime; nobody reloaded


def test_a_server_that_comes_back_is_found_again_and_knows_who_was_logged_in(
    context: BrowserContext, server: Running
) -> None:
    page = log_in(context, server.published()["url"], server.published()["token"])
    expect(page.locator(".liveness")).to_have_text("live")
    job_id = server.submit("import leyden; [leyden.log({'loss': 1.0}, step=step) for step in range(9)]")
    server.wait(job_id)
    page.goto(f"{server.published()['url']}/runs/{job_id}")
    expect(page.get_by_label("chart of loss").locator("[data-key]")).to_have_count(1)
    server.stop()
    expect(page.locator(".liveness")).to_have_text("reconnecting")
    page.get_by_label("x axis").select_option("time")
    expect(page.get_by_text("Not up to date")).to_be_visible()
    charts = page.url
    page.get_by_role("link", name="Cluster").click()
    expect(page.get_by_role("alert")).to_contain_text("it does not answer")
    page.go_back()
    page.wait_for_url(charts)
    server.start()
    expect(page.locator(".liveness")).to_have_text("live", timeout=20_000)
    expect(page.get_by_text("Not up to date")).to_have_count(0)
    expect(page.get_by_label("chart of loss").locator("[data-key]")).to_have_count(1)
    page.get_by_role("link", name="Runs").click()
    server.submit("print(1)", name="later")
    expect(page.locator(".runs-table .row").first).to_contain_text("later")

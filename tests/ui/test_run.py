"""Does a run's page show its curves as they grow, what it printed, what it was given and what it left?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conformance.until import until
from tests.ui.conftest import LINES, PICTURE, World, drag

pytestmark = pytest.mark.slow


def open_run(page: Page, world: World, run: str, **query: str) -> None:
    words = "&".join(f"{key}={value}" for key, value in query.items())
    page.goto(f"{world.url}/runs/{run}?{words}")


def live_run(world: World) -> str:
    return next(str(one["id"]) for one in world.server.get("/api/jobs?all=true") if one["name"] == "live")


def chart(page: Page, title: str) -> Any:
    return page.get_by_label(f"chart of {title}")


def test_curves_of_one_kind_stand_together_and_what_is_no_number_is_said(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    expect(chart(page, "loss").locator(".legend button")).to_have_text(["train_loss", "val_loss"])
    expect(chart(page, "loss")).to_contain_text("1 NaN")
    expect(page.locator(".chart")).to_have_count(3)
    page.get_by_role("button", name="overlay").click()
    expect(page.locator(".chart")).to_have_count(4)


def test_any_metric_is_drawn_in_any_chart_and_lines_are_hidden(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    lines = chart(page, "epoch").locator(".legend button")
    page.get_by_label("Add a metric to epoch").click()
    page.get_by_role("button", name="+ val_loss").click()
    page.get_by_role("button", name="+ <img").click()
    page.keyboard.press("Escape")
    expect(lines).to_have_text(["epoch", "val_loss", "<img src=x onerror=hacked()>"])
    chart(page, "loss").get_by_role("button", name="val_loss", exact=True).click()
    chart(page, "epoch").get_by_role("button", name="Larger").click()
    page.reload()
    expect(lines).to_have_count(3)
    expect(lines.nth(1)).to_have_attribute("aria-pressed", "false")  # hidden in one chart, hidden in all
    expect(chart(page, "epoch").get_by_role("button", name="Larger")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Add a metric to epoch").click()
    page.get_by_role("button", name="× val_loss").click()
    expect(lines).to_have_text(["epoch", "<img src=x onerror=hacked()>"])


def test_zoom_is_asked_for_in_detail_by_all_and_stands_in_the_address(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    expect(page.locator(".u-over")).to_have_count(3)
    with page.expect_response(re.compile("name=val_loss.*low=.*high=")), page.expect_response(re.compile("img.*low=")):
        drag(chart(page, "loss"))
    page.wait_for_url("**zoom=*")
    expect(page.get_by_title("Show all again")).to_be_visible()
    low, high = (float(one) for one in page.url.split("zoom=")[1].split(":"))
    assert 30 < low < 80
    assert 100 < high < 140
    page.reload()
    expect(page.get_by_title("Show all again")).to_be_visible()
    chart(page, "loss").locator(".u-over").dblclick()
    expect(page.get_by_title("Show all again")).to_have_count(0)
    assert "zoom" not in page.url
    page.get_by_label("x axis").select_option("epoch")
    with page.expect_response(re.compile(r"name=val_loss.*low=[4-7]\d&high=1[0-3]\d")):  # of steps
        drag(chart(page, "loss"))


def test_the_pointer_tells_values_in_every_chart(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    values = chart(page, "loss").locator("b").first
    for title in ("loss", "<img src=x onerror=hacked()>"):
        expect(chart(page, title).locator("[data-key]").first).to_be_visible()

    def told() -> str:
        box = until(lambda: chart(page, "loss").locator(".u-over").bounding_box())
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
        page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 30)
        return str(values.inner_text())

    assert until(told)
    for title in ("loss", "<img src=x onerror=hacked()>"):
        expect(chart(page, title).locator("output")).to_contain_text("step ")


def test_curves_grow_while_the_run_goes_on(page: Page, world: World) -> None:
    open_run(page, world, live_run(world), x="step")
    over = chart(page, "train_loss").locator(".u-over")
    expect(over).to_be_visible()

    def last_step() -> int:
        box = until(over.bounding_box)
        page.mouse.move(box["x"] + 5, box["y"] + 30)
        page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 30)
        said = chart(page, "train_loss").locator("output").inner_text()
        return int(said.removeprefix("step ").replace(",", "") or 0)

    first = last_step()
    for _ in range(100):
        if last_step() > first + 20:
            break
        page.wait_for_timeout(50)  # the page's own clock, between two looks at it
    assert last_step() > first + 20
    expect(page.locator(".run-head .state")).to_have_text("running")
    expect(page.locator(".run-head")).to_contain_text(re.compile(r"25 % ?.* left, until"))


def test_smoothing_axes_and_time_stand_in_the_address(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    page.get_by_label("Smoothing").fill("0.9")
    page.get_by_role("button", name="log y").click()
    page.get_by_label("x axis").select_option("time")
    expect(page.locator(".u-over")).to_have_count(3)
    assert {"smooth=0.9", "log=y", "x=time"} <= set(page.url.partition("?")[2].split("&"))


def test_a_chart_is_saved_as_picture_and_numbers(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0])
    expect(chart(page, "loss").locator("[data-key]")).to_have_count(2)
    with page.expect_download() as picture:
        chart(page, "loss").get_by_role("button", name="PNG").click()
    with Image.open(picture.value.path()) as drawn:
        colours = {colour: count for count, colour in drawn.convert("RGB").getcolors(1 << 24) or []}
    for line in ((0x3B, 0x78, 0xD8), (0xDD, 0x7F, 0x2F)):  # as in charts/colours.ts
        assert colours[line] > 20
    with page.expect_download() as numbers:
        chart(page, "loss").get_by_role("button", name="CSV").click()
    lines = Path(numbers.value.path()).read_text().splitlines()
    assert lines[0] == "metric,step,value,least,greatest"
    assert len(lines) == 1 + 2 * 200
    assert lines[1:3] == ["train_loss,0,2,,", "train_loss,1,1.5,,"]
    assert lines[200 + 8] == "val_loss,7,,,"  # it was NaN
    chart(page, "loss").get_by_role("button", name="train_loss").click()
    with page.expect_download() as numbers:
        chart(page, "loss").get_by_role("button", name="CSV").click()
    assert len(Path(numbers.value.path()).read_text().splitlines()) == 1 + 200


def test_a_long_log_is_drawn_where_it_is_seen_and_searched_whole(page: Page, world: World) -> None:
    open_run(page, world, world.printer, tab="logs")
    expect(page.get_by_text(f"{LINES:,} lines")).to_be_visible()
    expect(page.get_by_text(f"line {LINES - 1} of output")).to_be_visible()  # it begins at its end
    assert page.locator(".line").count() < 200
    page.get_by_label("Search in the log").fill("line 4242")
    expect(page.get_by_text("11 lines", exact=True)).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".line.at mark")).to_have_text("line 4242")
    expect(page.locator(".line.at i")).to_have_text("4243")
    page.get_by_role("button", name="only these").click()
    expect(page.locator(".line")).to_have_count(11)
    assert {"find=line+4242", "only=1", "line=4243"} <= set(page.url.partition("?")[2].split("&"))
    page.reload()
    expect(page.locator(".line.at i")).to_have_text("4243")
    page.goto(page.url.partition("?")[0] + "?tab=logs&line=100")
    expect(page.locator(".line.at")).to_be_in_viewport()


def test_output_from_elsewhere_is_shown_and_where_there_is_none_it_is_said(page: Page, world: World) -> None:
    open_run(page, world, world.pushed)
    page.get_by_role("link", name="logs").click()
    expect(page.locator(".line")).to_have_text(["1printed elsewhere", "2<script>window.hacked = 6</script>"])
    page.get_by_label("rank").select_option("1")
    expect(page.get_by_text("leyden run train.py")).to_be_visible()


def test_output_that_looks_like_a_script_is_text_and_colours_are_kept(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0], tab="logs")
    expect(page.get_by_text("<script>window.hacked = 1</script>")).to_be_visible()
    expect(page.locator(".ansi1")).to_have_text("red")
    open_run(page, world, world.printer, tab="config")
    expect(page.get_by_role("row", name="<b>why</b> <script>window.hacked = 5</script>")).to_be_visible()


def test_files_are_listed_and_a_page_that_a_job_wrote_runs_nothing(page: Page, world: World) -> None:
    open_run(page, world, world.printer, tab="files")
    expect(page.get_by_role("cell", name="step=7")).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="a #1 50%?é.bin").click()
    assert Path(waiting.value.path()).stat().st_size == 300_000
    expect(page.get_by_role("cell", name="300 kB")).to_be_visible()
    link = page.get_by_role("link", name="report.html")
    with page.expect_download() as waiting:
        link.click()
    assert "hacked" in Path(waiting.value.path()).read_text()
    page.goto(world.url + str(link.get_attribute("href")))
    assert page.evaluate("window.hacked") is None
    page.goto(world.url)


def test_config_notes_events_and_cost(page: Page, world: World) -> None:
    open_run(page, world, world.runs[1], tab="config")
    expect(page.get_by_role("row", name="model.width 64")).to_be_visible()
    page.get_by_label("Tags").fill("baseline good")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved")).to_be_visible()
    expect(page.locator(".run-head .tag")).to_have_text(["baseline", "good"])
    page.get_by_role("link", name="events").click()
    expect(page.get_by_role("cell", name="submitted")).to_be_visible()
    open_run(page, world, live_run(world))
    expect(page.locator(".facts")).to_contain_text("cost")
    page.get_by_role("link", name="system").click()
    expect(page.locator(".chart").first).to_be_visible()


def test_pictures_tables_histograms_and_texts(page: Page, world: World) -> None:
    open_run(page, world, world.printer, tab="media")
    picture = page.get_by_role("img", name="<b>step 5</b>")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
    page.get_by_label(f"Step of {PICTURE}").fill("0")
    expect(page.get_by_role("img", name="<b>step 0</b>")).to_be_visible()
    expect(page.get_by_role("row", name="<i>dog</i> nan")).to_be_visible()
    expect(page.get_by_role("img", name="histogram")).to_contain_text("1 NaN")
    expect(page.get_by_text("<script>window.hacked = 4</script>")).to_be_visible()


def test_code_is_compared_with_another_job(page: Page, world: World) -> None:
    open_run(page, world, world.runs[0], tab="code")
    page.get_by_label("Compare with job").fill(world.runs[2])
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("cell", name="command")).to_be_visible()
    assert f"against={world.runs[2]}" in page.url


def test_what_is_not_there_is_said(page: Page, world: World) -> None:
    page.goto(f"{world.url}/runs/nothing")
    expect(page.get_by_role("alert")).to_contain_text("nothing")
    expect(page.get_by_role("alert").get_by_role("link", name="All runs")).to_be_visible()
    page.goto(f"{world.url}/runs/50%")
    expect(page.get_by_role("alert")).to_contain_text("50%")

"""Does the table of runs filter, sort, group and compare, by hand and by keys?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.ui.conftest import World, home_of

pytestmark = pytest.mark.slow
LEYDEN = Path(sys.executable).parent / "leyden"
ALL = 8


def rows(page: Page) -> list[str]:
    return [one.inner_text().replace("\n", " ") for one in page.locator(".runs-table .row").all()]


def open_runs(page: Page, world: World, query: str = "", *, count: int) -> None:
    page.goto(f"{world.url}/runs?{query}")
    expect_rows(page, count)


def expect_rows(page: Page, count: int) -> None:
    expect(page.locator(".runs-table .row")).to_have_count(count)


def test_the_command_opens_it_and_the_token_stays_nowhere(context: BrowserContext, world: World) -> None:
    asked = [str(LEYDEN), "ui", "--no-browser"]
    url = subprocess.run(
        asked, env=home_of(world.server.home), capture_output=True, text=True, check=True
    ).stdout.strip()
    page = context.new_page()
    page.goto(url)
    expect_rows(page, ALL)
    assert world.server.published()["token"] not in page.evaluate("location.href + document.cookie")
    [cookie] = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.go_back()
    assert "token" not in page.url


def test_without_the_cookie_it_says_how_to_get_in(context: BrowserContext, world: World) -> None:
    page = context.new_page()
    page.goto(f"{world.url}/runs?q=name=prints")
    page.get_by_role("link", name="Log in").click()
    expect(page.get_by_text("leyden ui")).to_be_visible()
    page.get_by_placeholder("paste the server's token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("the token is wrong")
    page.get_by_placeholder("paste the server's token").fill(world.server.published()["token"])
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_label("Filter")).to_have_value("name=prints")  # where it was


def test_a_filter_is_applied_as_it_is_typed_and_its_fault_is_pointed_at(page: Page, world: World) -> None:
    open_runs(page, world, count=ALL)
    page.keyboard.press("/")
    page.keyboard.type("name=digits val_loss<1")
    expect_rows(page, 1)
    assert "q=name" in page.url
    page.keyboard.type(" lr>>1")
    expect(page.locator(".pointed")).to_contain_text("^")
    page.reload()
    expect(page.get_by_label("Filter")).to_have_value("name=digits val_loss<1 lr>>1")
    page.get_by_label("Filter").fill("name=nothing")
    expect(page.get_by_text("No run is like that")).to_be_visible()


def test_columns_sort_pin_and_go(page: Page, world: World) -> None:
    open_runs(page, world, "q=name=digits", count=3)
    page.get_by_role("button", name="val_loss").click()
    expect(page.get_by_role("columnheader", name="val_loss")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator(".runs-table .row").first).to_contain_text("0.01")
    page.get_by_role("button", name="val_loss").click()
    expect(page.get_by_role("columnheader", name="val_loss")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Search columns").fill("width")
    expect(page.get_by_role("button", name="hide config.model.width")).to_be_visible()
    page.get_by_role("button", name="hide user").click()
    expect(page.get_by_role("columnheader", name="User")).to_have_count(0)
    edge = page.get_by_label("width of name")
    box = edge.bounding_box()
    assert box
    page.mouse.move(box["x"] + 3, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 63, box["y"] + 10, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile("w=name:250"))
    page.get_by_label("width of val_loss").press("ArrowRight")
    expect(page).to_have_url(re.compile("w=name:250,val_loss:"))
    page.reload()
    expect(page.get_by_role("columnheader", name="val_loss")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("columnheader", name="User")).to_have_count(0)
    assert page.locator(".head .pinned").nth(1).evaluate("cell => cell.clientWidth") == 250
    edge.dblclick()
    expect(page).to_have_url(re.compile(r"w=val_loss:\d+(&|$)"))
    expect(edge).to_have_attribute("aria-valuenow", "190")


def test_keys_select_and_compare(page: Page, world: World) -> None:
    open_runs(page, world, "q=name=digits", count=3)
    page.locator(".row input").last.click()
    for key in ("k", "j", "x", "j", "j", "x", "k"):  # a box that was clicked keeps no key from them
        page.keyboard.press(key)
    expect(page.locator(".row[aria-selected=true]")).to_have_count(1)
    page.get_by_role("grid").focus()
    for key in ("Home", "ArrowDown", "ArrowUp", "Space", "End", "ArrowUp"):
        page.keyboard.press(key)
    expect(page.locator(".row[aria-selected=true]")).to_have_count(2)
    expect(page.locator(".row.cursor")).to_have_attribute("aria-rowindex", "2")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_contain_text("next, previous run")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_url(re.compile("/compare.runs=[0-9a-z]+,[0-9a-z]+$"))
    page.go_back()
    expect(page.locator(".row[aria-selected=true]")).to_have_count(2)


def test_groups_say_how_many_and_open(page: Page, world: World) -> None:
    open_runs(page, world, count=ALL)
    page.get_by_label("Group by").select_option("name")
    group = page.get_by_role("row").filter(has=page.get_by_role("link", name="digits"))
    expect(group.locator("td").nth(1)).to_have_text("3")
    group.get_by_role("link").press("Enter")
    expect_rows(page, 3)
    assert "name=digits" in page.url.replace("%3D", "=")
    page.goto(f"{world.url}/runs?group=config.lr")
    page.get_by_role("link", name="(none)").click()
    expect(page.get_by_label("Filter")).to_have_value("not config.lr=*")
    expect_rows(page, ALL - 4)


def test_the_table_is_saved_as_it_is_shown(page: Page, world: World) -> None:
    open_runs(page, world, "q=name=digits&cols=name,val_loss,config.lr&sort=config.lr", count=3)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0] == "name,val_loss,config.lr"
    assert [line.split(",")[2] for line in lines[1:]] == ["0.001", "0.01", "0.1"]


def test_names_that_look_like_scripts_are_text(page: Page, world: World) -> None:
    open_runs(page, world, count=ALL)
    page.get_by_role("link", name="<script>window.hacked = 2</script>").click()
    expect(page.locator("h1")).to_have_text("<script>window.hacked = 2</script>")
    expect(page.get_by_role("heading", name="<img src=x onerror=hacked()>")).to_be_visible()


def test_it_can_be_used_on_a_narrow_screen_and_at_night(page: Page, world: World) -> None:
    page.set_viewport_size({"width": 400, "height": 760})
    open_runs(page, world, count=ALL)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    name = page.locator(".runs-table .row .pinned").nth(1)
    before = name.bounding_box()
    page.locator(".runs-table").evaluate("box => box.scrollLeft = 300")
    assert name.bounding_box() == before  # what says which run it is stays in view
    day = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != day
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"

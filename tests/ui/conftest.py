"""A real server with real jobs, and a real browser that looks at them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect, sync_playwright

from leyden import ui
from leyden.core.ids import new_id
from leyden.track.frames import encode
from tests.conformance.until import until
from tests.server.running import Running

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")  # the first takes two thirds of the CPU
TRAINS = """
import leyden, math
leyden.log_config({"lr": LR, "model": {"width": WIDTH, "depth": 4}})
for step in range(200):
    loss = 1 / (1 + step) + abs(math.log10(LR) + 2)
    val_loss = loss * 2 if step != 7 else math.nan
    leyden.log({"train_loss": loss, "val_loss": val_loss, "<img src=x onerror=hacked()>": step}, step=step)
    leyden.log({"epoch": step / 50}, step=step)
print("<script>window.hacked = 1</script>")
print("\\x1b[31mred\\x1b[0m and plain")
print("lr", LR)
"""
LINES = 60_000
PICTURE = "gu#ess/50% \u00e9?"
PRINTS = f"""
import leyden, json, numpy, os, pathlib
leyden.log_config({{"<b>why</b>": "<script>window.hacked = 5</script>"}})
for step in (0, 5):
    leyden.log({{"loss": 1.0}}, step=step)
    leyden.log_image({PICTURE!r}, numpy.zeros((8, 8), numpy.uint8), caption=f"<b>step {{step}}</b>")
leyden.log_table("scores", {{"name": ["cat", "<i>dog</i>"], "score": [0.5, float("nan")]}})
leyden.log_histogram("weights", [1.0, 2.0, 2.0, float("nan")], bins=4)
leyden.log_text("poem", "<script>window.hacked = 4</script>")
print("\\n".join(f"line {{number}} of output" for number in range({LINES})))
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
(run / "artifacts/a #1 50%?\u00e9.bin").write_bytes(bytes(300_000))
(run / "artifacts/report.html").write_text("<script>window.hacked = 3</script>")
(run / "checkpoints/step=7").mkdir(parents=True)
manifest = {{"step": 7, "epoch": 1, "created_at": 1.0, "files": {{}}}}
(run / "checkpoints/step=7/manifest.json").write_text(json.dumps(manifest))
"""
LIVES = """
import leyden, pathlib, time, os
end = pathlib.Path(os.environ["END"])
step = 0
while not end.exists():
    leyden.log({"train_loss": 1 / (step + 1), "progress": 0.25}, step=step)
    step += 1
    time.sleep(0.02)
"""


class World:
    """A server, and what runs there."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.runs: list[str] = []
        self.printer = ""
        self.pushed = new_id()
        self.end = server.home / "end"

    @property
    def url(self) -> str:
        """Of the server."""
        return str(self.server.published()["url"])

    def begin(self) -> None:
        """What the tests look at, all at once; the runs that they compare come first."""
        programs = [(TRAINS, "digits", lr, 32 << number) for number, lr in enumerate((0.001, 0.01, 0.1))]
        programs += [(TRAINS, "<script>window.hacked = 2</script>", 0.01, 32), (PRINTS, "prints", 0.0, 0)]
        jobs = [
            self.server.submit(program.replace("LR", str(lr)).replace("WIDTH", str(width)), name=name, gpus=0, cpus=1)
            for program, name, lr, width in programs
        ]
        for job_id in jobs:
            assert self.server.wait(job_id)["state"] == "succeeded", self.server.log(job_id)[-2000:]
        self.runs, self.printer = jobs[:-1], jobs[-1]

    def push(self) -> None:
        """A run without a job, as another machine sends it; only rank 0 sends what it printed."""
        about = {"id": self.pushed, "name": "elsewhere", "user": "bob", "created_at": time.time()}
        frames = encode(["loss"], [0, 1], [time.time()] * 2, [[1.0], [0.5]])
        for name, body in (
            ("run.json", json.dumps(about).encode()),
            ("metrics/a1-r0.frames", frames),
            ("metrics/a1-r1.frames", frames),
            ("logs/a1-r0.log", b"printed elsewhere\n<script>window.hacked = 6</script>\n"),
        ):
            assert self.server.ask("PUT", f"/api/runs/{self.pushed}/files/{name}", body)[0] == 200

    def live(self) -> str:
        """A job on two GPUs that logs until the test ends it."""
        job_id = self.server.submit(LIVES, name="live", gpus=2, ranks=1, vars={"END": str(self.end)})
        self.server.state_is(job_id, "running")
        return job_id


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. It ends with this folder's tests: while it runs nobody else here has an event loop."""
    if CHROMIUM is None or not ui.built():
        pytest.skip("needs chromium (apt-get install chromium) and a dashboard that is built")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Five runs that have ended, one from elsewhere, one that goes on, one that waits for it; no test changes them."""
    server = Running(tmp_path_factory.mktemp("ui") / "home")
    server.start("--fake-gpus", "2", "--price-gpu-hour", "2")
    found = World(server)
    found.begin()
    found.push()
    found.live()
    server.submit("print(1)", name="waits", gpus=2, ranks=1)
    yield found
    found.end.touch()
    server.end()


def new_context(browser: Browser, state: StorageState | None = None) -> BrowserContext:
    """A browser of its own."""
    found = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, storage_state=state)
    found.set_default_timeout(10_000)
    return found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Nobody is logged in."""
    found = new_context(browser)
    yield found
    found.close()


def open_page(context: BrowserContext, url: str) -> Page:
    """A page with everything that goes wrong in it kept in `page.wrong`."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith((url, "blob:")) else wrong.append(asked.url))
    page.wrong = wrong  # type: ignore[attr-defined]
    return page


def log_in(context: BrowserContext, url: str, token: str) -> Page:
    """The page of the runs."""
    page = open_page(context, url)
    page.goto(f"{url}/login#token={token}&user=eve")
    page.wait_for_url("**/runs")
    return page


@pytest.fixture(scope="package")
def member(browser: Browser, world: World) -> StorageState:
    """What the browser of somebody who is logged in keeps."""
    context = new_context(browser)
    log_in(context, world.url, world.server.published()["token"])
    found = context.storage_state()
    context.close()
    return found


@pytest.fixture
def page(browser: Browser, world: World, member: StorageState) -> Iterator[Page]:
    """Logged in, and nowhere yet; whatever a test does, no script fails, none of another's runs, nothing outside is
    asked."""
    context = new_context(browser, member)
    found = open_page(context, world.url)
    yield found
    assert found.wrong == []  # type: ignore[attr-defined]
    assert found.evaluate("window.hacked") is None
    context.close()


def drag(card: Locator, start: float = 0.3) -> None:
    """Over the middle of a chart, once it has its points."""
    expect(card.locator("[data-key]").first).to_be_visible()
    box = until(lambda: card.locator(".u-over").bounding_box())
    page = card.page
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50, steps=4)
    page.mouse.up()


def home_of(path: Path) -> dict[str, str]:
    """The environment of a command line beside that server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LEYDEN_", "DISPLAY", "BROWSER"))}
    return {**kept, "LEYDEN_HOME": str(path)}

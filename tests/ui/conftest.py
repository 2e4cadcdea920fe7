"""A real server with real jobs, and a real browser that looks at them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from leyden import ui
from tests.server.running import Running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TRAINS = """
import leyden, math
leyden.log_config({"lr": LR, "model": {"width": WIDTH, "depth": 4}})
for step in range(200):
    loss = 1 / (1 + step) + abs(math.log10(LR) + 2)
    val_loss = loss * 2 if step != 7 else math.nan
    leyden.log({"train_loss": loss, "val_loss": val_loss, "<img src=x onerror=hacked()>": step}, step=step)
print("<script>window.hacked = 1</script>")
print("\\x1b[31mred\\x1b[0m and plain")
print("lr", LR)
"""
LINES = 60_000
PRINTS = f"""
import leyden, json, numpy, os, pathlib
for step in (0, 5):
    leyden.log({{"loss": 1.0}}, step=step)
    leyden.log_image("guess", numpy.zeros((8, 8), numpy.uint8), caption=f"<b>step {{step}}</b>")
leyden.log_table("scores", {{"name": ["cat", "<i>dog</i>"], "score": [0.5, float("nan")]}})
leyden.log_histogram("weights", [1.0, 2.0, 2.0, float("nan")], bins=4)
leyden.log_text("poem", "<script>window.hacked = 4</script>")
print("\\n".join(f"line {{number}} of output" for number in range({LINES})))
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
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
    leyden.log({"train_loss": 1 / (step + 1)}, step=step)
    step += 1
    time.sleep(0.02)
"""


class World:
    """A server, and what runs there."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.runs: list[str] = []
        self.printer = ""
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

    def live(self) -> str:
        """A job on two GPUs that logs until the test ends it."""
        job_id = self.server.submit(LIVES, name="live", gpus=2, ranks=1, vars={"END": str(self.end)})
        self.server.state_is(job_id, "running")
        return job_id


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. It ends with the file's tests: while it runs nobody else in the process has an event loop."""
    if CHROMIUM is None or not ui.built():
        pytest.skip("needs chromium (apt-get install chromium) and a dashboard that is built")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Five runs that have ended, one that goes on, one that waits for it; for tests that change none of it."""
    server = Running(tmp_path_factory.mktemp("ui") / "home")
    server.start("--fake-gpus", "2", "--price-gpu-hour", "2")
    found = World(server)
    found.begin()
    found.live()
    server.submit("print(1)", name="waits", gpus=2, ranks=1)
    yield found
    found.end.touch()
    server.end()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of its own for each test."""
    found = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    found.set_default_timeout(10_000)
    yield found
    found.close()


def log_in(context: BrowserContext, url: str, token: str) -> Page:
    """The page of the runs, with everything that goes wrong in it kept in `page.wrong`."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith((url, "blob:")) else wrong.append(asked.url))
    page.wrong = wrong  # type: ignore[attr-defined]
    page.goto(f"{url}/login#token={token}")
    page.wait_for_url("**/runs")
    return page


@pytest.fixture
def page(context: BrowserContext, world: World) -> Iterator[Page]:
    """Logged in; whatever a test does, no script fails, none of another's runs, and nothing outside is asked."""
    found = log_in(context, world.url, world.server.published()["token"])
    yield found
    assert found.wrong == []  # type: ignore[attr-defined]
    assert found.evaluate("window.hacked") is None


def home_of(path: Path) -> dict[str, str]:
    """The environment of a command line beside that server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LEYDEN_", "DISPLAY", "BROWSER"))}
    return {**kept, "LEYDEN_HOME": str(path)}

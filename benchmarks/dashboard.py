"""How soon is a table of 5,000 runs seen, do frames stay short while curves grow, and what do 20 open dashboards cost?

    python benchmarks/dashboard.py            a server and a Chromium of its own; about two minutes on a machine that
                                              does nothing else; writes benchmarks/results/dashboard_…

Runs are pushed as a node far away pushes them; nothing is trained. Frames are those of Chromium without a screen: it
draws sixty a second like one that has a screen, so a frame longer than 17 ms is one that came late. Twenty dashboards
are twenty readers of the two streams that an open page of a run holds, and of the requests it repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from leyden.core.ids import new_id
from leyden.track import frames

AGAIN_S = 3.0  # as run/RunPage.tsx
NAMES = [f"metric_{number:02d}" for number in range(20)]
FRAMES = """(ms) => new Promise((done) => {
  const found = []; let before = performance.now(); const end = before + ms;
  const tick = (now) => {
    found.push(now - before); before = now; now < end ? requestAnimationFrame(tick) : done(found);
  };
  requestAnimationFrame(tick);
})"""


Found = dict[str, Any]


class Server:
    """One of its own, asked over one connection."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "leyden.server", "--home", str(home)])
        file = home / "server.json"
        while not file.exists():
            time.sleep(0.05)
        found = json.loads(file.read_text())
        self.url, self.token = found["url"], found["token"]
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        """Another one."""
        url = urlsplit(self.url)
        return http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer, which must be good."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        except ConnectionError:  # it was idle for too long
            self.connection = self.connect()
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        said = answer.read()
        assert answer.status < 300, (path, answer.status, said[:300])
        return said


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/dashboard_…")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            for number in range(options.runs):
                push(server, number)
            with _browser() as page:
                seen = table(server, page, options.runs)
                frames_ = growing(server, page, options.seconds)
                lines = list(report(options.runs, load, page.context.browser, seen, frames_))
            lines += costs(watched(server, options.seconds))
        finally:
            server.process.terminate()
            server.process.wait()
    print("\n".join(lines))
    name = f"dashboard_{os.cpu_count()}-core_{datetime.now(UTC):%Y-%m-%d}.md"
    (options.out or Path(__file__).parent / "results" / name).write_text("\n".join(lines) + "\n")


def report(runs: int, load: float, browser: Browser | None, seen: Found, grown: Found) -> Iterator[str]:
    """Markdown: what a browser shows, and how soon."""
    yield "# What does the dashboard cost, and how soon is it seen?\n"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    yield f"- {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {today}"
    yield f"- load before {load:.1f}; python benchmarks/dashboard.py {' '.join(sys.argv[1:])}".rstrip()
    yield f"- Chromium {browser.version if browser else '?'} without a screen, on the same cores as the server\n"
    yield "| | found | wished |\n| --- | --- | --- |"
    yield f"| the table of {runs:,} runs is seen, median of 5 | {seen['seen_s']:.2f} s | ≤ 1 s |"
    yield f"| bytes that came for it | {seen['page_bytes']:,} | |"
    for what, found in (("scrolled from end to end", seen["scroll"]), (f"{len(NAMES)} curves grow", grown)):
        spread_ = f"{found['p50']:.0f}, {found['p99']:.0f}, {found['most']:.0f} ms"
        yield f"| a frame while {what}: p50, p99, longest | {spread_} | p99 ≤ 50 ms |"


def costs(found: Found) -> Iterator[str]:
    """What the server spends on them."""
    alone, watched_ = found["cpu_alone"], found["cpu_watched"]
    yield f"| a core of the server while a run logs {len(NAMES)} points a second, nobody looks | {alone:.1%} | |"
    many = found["dashboards"]
    yield f"| the same, {many} dashboards look at it | {watched_:.1%}, so {watched_ - alone:.1%} for them | ≤ 5 % |"


def push(server: Server, number: int) -> str:
    """A run with a configuration and twenty metrics."""
    run, now = new_id(), time.time()
    about = {"id": run, "name": f"trial-{number % 50}", "user": "ada", "created_at": now}
    config = {"lr": 10 ** -(1 + number % 7 / 2), "model": {"width": 2 ** (4 + number % 5)}}
    rows = [[1 / (step + 1) + name / 10 for name in range(len(NAMES))] for step in range(10)]
    points = frames.encode(NAMES, range(10), [now] * 10, rows)
    for name, body in (("run.json", about), ("config.json", config)):
        server.ask("PUT", f"/api/runs/{run}/files/{name}", json.dumps(body).encode())
    server.ask("PUT", f"/api/runs/{run}/files/metrics/a1-r0.frames", points)
    return run


@contextmanager
def _browser() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1600, "height": 900})
        browser.close()


def table(server: Server, page: Page, runs: int) -> Found:
    """From asking for the page to rows being seen, and frames while it is scrolled from end to end."""
    page.goto(f"{server.url}/login#token={server.token}")
    page.wait_for_url("**/runs")
    seen = []
    for _ in range(5):
        begin = time.perf_counter()
        page.goto(f"{server.url}/runs")
        page.wait_for_selector(".runs-table .row a")
        seen.append(time.perf_counter() - begin)
    assert f"{runs:,} runs" in page.inner_text(".toolbar")
    page.evaluate("""() => { const box = document.querySelector('.runs-table'); let top = 0;
        setInterval(() => { box.scrollTop = top += 400; if (top > box.scrollHeight) top = 0; }, 50); }""")
    late = page.evaluate(FRAMES, 5000)
    moved = page.evaluate(
        "() => performance.getEntriesByType('resource').reduce((sum, one) => sum + one.transferSize, 0)"
    )
    return {"seen_s": statistics.median(seen), "page_bytes": moved, "scroll": spread(late)}


def growing(server: Server, page: Page, seconds: float) -> Found:
    """Frames while twenty curves get a point each second."""
    run = push(server, 0)
    page.goto(f"{server.url}/runs/{run}?overlay=0")
    page.wait_for_selector(".u-over")
    with _grows(server, run):
        found = page.evaluate(FRAMES, int(seconds * 1000))
    return spread(found)


def spread(found: list[float]) -> Found:
    """In milliseconds."""
    ordered = sorted(found)
    return {
        name: round(ordered[int(share * (len(ordered) - 1))], 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }


@contextmanager
def _grows(server: Server, run: str) -> Iterator[None]:
    """One point a second for each of its metrics."""
    over = threading.Event()
    size = len(frames.encode(NAMES, range(10), [0.0] * 10, [[0.0] * len(NAMES)] * 10))

    def grow() -> None:
        offset, step = size, 10
        while not over.wait(1.0):
            piece = frames.encode(NAMES, [step], [time.time()], [[1 / step] * len(NAMES)])
            server.ask("PUT", f"/api/runs/{run}/files/metrics/a1-r0.frames?offset={offset}", piece)
            offset, step = offset + len(piece), step + 1

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def watched(server: Server, seconds: float, readers: int = 20) -> Found:
    """The server's CPU with and without readers, as a share of a core."""
    run = push(server, 0)
    process = psutil.Process(server.process.pid)

    def used() -> float:
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        return (sum(process.cpu_times()[:2]) - before) / seconds

    with _grows(server, run):
        alone = used()
        names = "&".join(f"name={name}" for name in NAMES)
        streams = [
            threading.Thread(target=_read, args=(server, path), daemon=True)
            for _ in range(readers)
            for path in (f"/api/live?run={run}&{names}", "/api/live?table=1")
        ]
        streams += [threading.Thread(target=_repeat, args=(server, run), daemon=True) for _ in range(readers)]
        for one in streams:
            one.start()
        time.sleep(2)
        together = used()
    return {
        "dashboards": readers,
        "cpu_alone": alone,
        "cpu_watched": together,
    }


def _read(server: Server, path: str) -> None:
    connection = server.connect()
    with contextlib.suppress(OSError, http.client.HTTPException):  # the server ends before its readers
        connection.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
        answer = connection.getresponse()
        while answer.read1(65536):
            pass


def _repeat(server: Server, run: str) -> None:
    """What a page of a run asks for again while the run changes."""
    connection = server.connect()
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            time.sleep(AGAIN_S)
            connection.request("GET", f"/api/runs/{run}", headers={"Authorization": f"Bearer {server.token}"})
            connection.getresponse().read()


if __name__ == "__main__":
    main()

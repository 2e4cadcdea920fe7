"""Takes docs/pictures/dashboard-*.png from real runs of the digits example: python docs/pictures/dashboard.py

It starts a server of its own in a temporary home, with four GPUs that are none, so that a queue forms. Needs the
`dev` extra and Chromium (apt-get install chromium); four minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples/digits"
LEYDEN = str(Path(sys.executable).parent / "leyden")
RATES, WIDTHS = ("0.0003", "0.0006", "0.001", "0.003", "0.01"), ("4", "32")
SHOTS = {
    "runs": ("/runs", 1280, "light"),
    "run": ("/runs/{trial}?smooth=0.6", 1280, "light"),
    "run-dark": ("/runs/{live}", 1600, "dark"),
    "logs": ("/runs/{trial}?tab=logs&find=val", 1280, "light"),
    "compare": ("/compare?q=name%3Dsweep&smooth=0.5", 1280, "light"),
    "parameters": ("/compare?q=name%3Dsweep&view=parameters", 1280, "light"),
    "sweeps": ("/sweeps", 1280, "light"),
    "sweep": ("/sweeps/{sweep}", 1280, "light"),
    "trials": ("/sweeps/{sweep}?tab=trials&sort=value", 1280, "dark"),
    "cluster": ("/cluster", 1280, "light"),
    "queue": ("/queue", 1280, "light"),
    "runs-narrow": ("/runs", 400, "light"),
}


def main() -> None:
    """Run what is to be seen, then look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SHOTS, help="take this one alone")
    parser.add_argument("--to", type=Path, default=HERE, help="folder for the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as environ:
        ids = _runs(environ)
        found = json.loads((Path(folder) / "server.json").read_text())
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{found['url']}/login#token={found['token']}")
            page.wait_for_url("**/runs")
            for name, (path, width, scheme) in SHOTS.items():
                if options.only in (None, name):
                    page.set_viewport_size({"width": width, "height": 760 if width < 500 else 800})
                    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                    page.goto(found["url"] + path.format(**ids))
                    _settle(page)
                    _save(page.screenshot(), options.to / f"dashboard-{name}.png")
            browser.close()


def _settle(page: Page) -> None:
    """Until all that is asked for is there, and drawn."""
    page.wait_for_selector("main > *")
    page.wait_for_load_state("load")
    page.wait_for_function(
        "() => !document.querySelector('.pending') && !/^…$/.test(document.querySelector('main').innerText)"
    )
    page.wait_for_timeout(1500)


def _save(png: bytes, file: Path) -> None:
    """With 256 colours, rare ones too: a third of the bytes, and nobody sees it."""
    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    drawn.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)


@contextmanager
def _server(home: Path) -> Iterator[dict[str, str]]:
    environ = {**os.environ, "LEYDEN_HOME": str(home), "OMP_NUM_THREADS": "1", "USER": "ada"}
    prices = ("--price-gpu-hour", "2.5")
    subprocess.run([LEYDEN, "server", "start", "--fake-gpus", "4", *prices], env=environ, check=True)
    try:
        yield environ
    finally:
        left = [job["id"] for job in _jobs(environ) if job["ended_at"] is None]
        for command in ("cancel", "wait"):
            subprocess.run([LEYDEN, command, *left], env=environ, check=False, capture_output=True)
        subprocess.run([LEYDEN, "server", "stop"], env=environ, check=False)


def _runs(environ: dict[str, str]) -> dict[str, str]:
    """Ten runs and a sweep that ended, a run that failed, two that go on, three that wait. Ids of some."""
    sweep = [
        _submit(environ, "sweep", ("--gpus", "1"), "--lr", lr, "--width", width, "--max-epochs", "12")
        for lr in RATES
        for width in WIDTHS
    ]
    _submit(environ, "mistyped", ("--gpus", "1"), "--learning-rate", "0.1")
    _wait(environ, sweep)
    asha = _sweep(environ)
    live = _submit(environ, "digits-long", ("--gpus", "1", "--time", "1h"), "--max-epochs", "400", "--width", "32")
    _submit(environ, "digits-wide", ("--gpus", "1", "--time", "2h"), "--max-epochs", "400", "--width", "48")
    for name, gpus in (("needs-four", "4"), ("needs-three", "3"), ("after-those", "4")):
        _submit(environ, name, ("--gpus", gpus, "--time", "30m"), "--max-epochs", "12")
    _until(lambda: sum(job["state"] == "running" for job in _jobs(environ)) == 2)
    time.sleep(20)  # so that there is something to see of what they use
    return {"trial": sweep[4], "live": live, "sweep": asha}


def _submit(environ: dict[str, str], name: str, flags: tuple[str, ...], *arguments: str) -> str:
    command = [LEYDEN, "submit", "--name", name, *flags, "train.py", *arguments]
    return subprocess.run(command, cwd=EXAMPLE, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def _sweep(environ: dict[str, str]) -> str:
    """The id of one that has ended, by ASHA."""
    space = ["--lr", "loguniform(1e-4,1e-1)", "--width", "[2,4,8,16]", "--max-epochs", "9"]
    job = {"script": "train.py", "name": "digits-asha", "gpus": 1, "args": space}
    rungs = {"strategy": "asha", "metric": "val_loss:min", "max_resource": 9, "trials": 27}
    body = {"job": job, "sweep": rungs, "cwd": str(EXAMPLE), "environ": environ, "user": "ada", "key": "dashboard"}
    sweep = str(_ask(environ, "/api/sweeps", body)["id"])
    _until(lambda: _ask(environ, f"/api/sweeps/{sweep}")["sweep"]["state"] != "running", deadline_s=600.0)
    return sweep


def _ask(environ: dict[str, str], path: str, body: object = None) -> Any:
    """The server's answer; with a body to a POST."""
    server = json.loads((Path(environ["LEYDEN_HOME"]) / "server.json").read_text())
    headers = {"Authorization": f"Bearer {server['token']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(server["url"] + path, data, headers)) as answer:
        return json.load(answer)


def _jobs(environ: dict[str, str]) -> list[dict[str, Any]]:
    said = subprocess.run(
        [LEYDEN, "ps", "--all", "-o", "json"], env=environ, check=True, capture_output=True, text=True
    )
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def _wait(environ: dict[str, str], ids: list[str]) -> None:
    subprocess.run([LEYDEN, "wait", *ids], env=environ, check=True)


def _until(holds: Any, *, deadline_s: float = 120.0) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("the jobs did not start, or end, in time")
        time.sleep(0.5)


if __name__ == "__main__":
    main()

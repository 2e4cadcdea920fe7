"""Does `leyden sync` bring runs to the server, again only what is new, and does `leyden export` take them out?"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from leyden.server.tracking.sealing import seal
from leyden.track import media, run
from tests.conformance.until import until
from tests.server.running import Running

LEYDEN = str(Path(sys.executable).parent / "leyden")
Leyden = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    one = Running(tmp_path_factory.mktemp("sync") / "server")
    one.start()
    yield one
    one.end()


@pytest.fixture
def leyden(server: Running) -> Leyden:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "LEYDEN_HOME": str(server.home)}
        return subprocess.run([LEYDEN, *arguments], env=environ, capture_output=True, text=True, check=False)

    return command


def a_run(root: Path, points: int = 10) -> run.Run:
    one = run.start(root)
    one.config["lr"] = 0.5
    for step in range(points):
        one.log({"loss": 1 / (step + 1)}, step=step)
    run_api_text(one)
    assert one.flush()
    return one


def run_api_text(one: run.Run) -> None:
    about = media.Medium(kind="text", name="a b/ü", step=1, at=1.0, file="")
    one.media.write(about, ".txt", lambda: b"hello")


def row(server: Running, run_id: str, state: str) -> Any:
    def found() -> Any:
        rows = server.get("/api/runs?columns=loss,config.lr")["rows"]
        return next((one for one in rows if (one["id"], one["state"]) == (run_id, state)), None)

    return until(found)


def test_a_run_and_what_is_new_of_it(server: Running, leyden: Leyden, tmp_path: Path) -> None:
    one = a_run(tmp_path / "leyden_runs")
    assert leyden("sync", "leyden_runs").returncode == 0
    assert row(server, one.path.name, "running")["values"] == {"loss": 0.1, "config.lr": 0.5}
    one.log({"loss": 9.0}, step=10)
    one.finish()
    done = json.loads(leyden("sync", str(one.path), "-o", "json").stdout)
    assert [(found["id"], found["size_bytes"] < 1000) for found in done] == [(one.path.name, True)]
    assert row(server, one.path.name, "finished")["values"]["loss"] == 9.0
    [text] = server.get(f"/api/runs/{one.path.name}/media")
    with server.open("GET", f"/api/runs/{one.path.name}/files/{quote(text['file'])}") as said:
        assert said.read() == b"hello"
    again = leyden("sync", "leyden_runs")
    assert again.returncode == 0, again.stderr


def test_a_run_that_was_sealed(server: Running, leyden: Leyden, tmp_path: Path) -> None:
    one = a_run(tmp_path / "leyden_runs", points=20_000)
    one.finish()
    assert seal(one.path, least_bytes=0) is not None
    assert not list((one.path / "metrics").glob("*.frames"))
    for _ in range(2):
        done = leyden("sync", "leyden_runs")
        assert done.returncode == 0, done.stderr
        assert row(server, one.path.name, "finished")["values"] == {"loss": 1 / 20_000, "config.lr": 0.5}
    [found] = server.get(f"/api/runs/{one.path.name}")["metrics"]
    assert (found["count"], found["least"], found["greatest"]) == (20_000, 1 / 20_000, 1.0)


def test_another_run_of_that_id_is_noticed(leyden: Leyden, tmp_path: Path) -> None:
    one = a_run(tmp_path / "leyden_runs")
    assert leyden("sync", str(one.path)).returncode == 0
    [file] = (one.path / "metrics").iterdir()
    data = bytearray(file.read_bytes())
    data[-1] ^= 255
    file.write_bytes(data)
    done = leyden("sync", str(one.path))
    assert (done.returncode, "others stand there already" in done.stderr) == (1, True)


def test_tensorboards_folder(server: Running, leyden: Leyden, tmp_path: Path) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "logs" / "one")) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.flush()
        [first] = json.loads(leyden("sync", "logs", "-o", "json").stdout)
        assert row(server, first["id"], "finished")["values"]["loss"] == 0.5
        writer.add_scalar("loss", 0.25, 2)
        gif = io.BytesIO()
        Image.new("L", (4, 4)).save(gif, "gif", save_all=True, append_images=[Image.new("L", (4, 4), 200)])
        video = Summary.Image(encoded_image_string=gif.getvalue())  # as add_video does
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag="video", image=video)]), 2)
    [second] = json.loads(leyden("sync", "logs", "-o", "json").stdout)
    assert (second["id"], second["name"]) == (first["id"], "one")
    until(lambda: row(server, first["id"], "finished")["values"].get("loss") == 0.25)
    [one] = until(lambda: server.get(f"/api/runs/{first['id']}/media"))
    with server.open("GET", f"/api/runs/{first['id']}/files/{one['file']}") as answer:
        assert (answer.headers["Content-Type"], answer.read()) == ("image/gif", gif.getvalue())
    done = leyden("export", first["id"], "--tensorboard", "out")
    assert (done.returncode, "2 points and 1 pictures, texts" in done.stdout) == (0, True), done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path / "out" / first["id"]))
    read.Reload()
    assert [(one.step, one.value) for one in read.Scalars("loss")] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["sync", "missing"], "there is none"),
        (["sync", "empty"], "neither records of Leyden's nor event files"),
        (["sync", "empty/named"], "its name is no id"),
        (["export", "last"], "Add --tensorboard DIR"),
    ],
)
def test_what_cannot_be_done(leyden: Leyden, tmp_path: Path, line: list[str], words: str) -> None:
    (tmp_path / "empty").mkdir()
    if line[-1] == "empty/named":
        shutil.copytree(a_run(tmp_path / "leyden_runs").path, tmp_path / "empty" / "named")
    done = leyden(*line)
    assert done.returncode in (2, 3)
    assert words in done.stderr

"""Do the routes about runs tell what jobs and bare programs logged?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from leyden.core.ids import new_id
from leyden.track import frames
from tests.conformance.until import until
from tests.server.running import Running

PROGRAM = """
import json, os, pathlib, leyden
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
(run / "config.json").write_text(json.dumps({"lr": LR, "model": {"width": 64, "kind": "resnet"}, "layers": [1, 2]}))
(run / "tags.json").write_text(json.dumps({"tags": ["baseline"], "note": "first try", "project": "digits"}))
(run / "summary.json").write_text(json.dumps({"best": 0.9}))
for step in range(100):
    leyden.log({"loss": LOSS + 1 / (1 + step), "val/acc": float("nan") if step == 50 else step / 100}, step=step)
"""


def runs(server: Running, **query: object) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/api/runs?{urlencode(query)}")
    return found


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, list[str]]]:
    """A server with three jobs that have logged something and ended."""
    server = Running(tmp_path_factory.mktemp("three") / "home")
    server.start()
    ids = []
    for number, (lr, loss) in enumerate([(0.1, 1.0), (0.01, 0.5), (0.001, 2.0)]):
        program = PROGRAM.replace("LR", repr(lr), 1).replace("LOSS", repr(loss))
        ids.append(server.submit(program, name=f"digits-{number}"))
    for job_id in ids:
        assert server.wait(job_id)["state"] == "succeeded", server.log(job_id)
    until(lambda: sum("loss" in row["values"] for row in runs(server, columns="loss")["rows"]) == 3)
    yield server, ids
    server.end()


def test_the_table_filters_sorts_and_groups(three: tuple[Running, list[str]]) -> None:
    server, ids = three
    found = runs(server, sort="-loss", columns="loss,config.lr,model.width,user,nothing")
    assert [row["id"] for row in found["rows"]] == [ids[2], ids[0], ids[1]]
    first = found["rows"][0]
    assert first["values"] == {"loss": 2.01, "config.lr": 0.001, "model.width": 64, "user": "ada"}
    assert (first["state"], first["tags"], first["note"], first["project"]) == (
        "succeeded",
        ["baseline"],
        "first try",
        "digits",
    )
    assert (first["job_id"], first["name"], found["total"]) == (ids[2], "digits-2", 3)
    some = runs(server, filter="loss<1.5 lr>=0.01 model.kind=resnet tag=baseline status=succeeded best>0.8")
    assert {row["id"] for row in some["rows"]} == {ids[0], ids[1]}
    assert [row["id"] for row in runs(server, sort="config.lr", offset=1, limit=1)["rows"]] == [ids[1]]
    assert runs(server, filter="loss>100") == {"total": 0, "version": found["version"], "rows": [], "groups": []}
    (group,) = runs(server, group="user", columns="loss")["groups"]
    assert (group["key"], group["count"]) == ({"user": "ada"}, 3)
    assert group["values"]["loss"] == {"count": 3, "min": 0.51, "mean": pytest.approx(3.53 / 3), "max": 2.01}
    status, error = server.ask("GET", f"/api/runs?filter={quote('loss<')}")
    assert status == 400
    assert "^" in error["found"]


def test_names_are_counted(three: tuple[Running, list[str]]) -> None:
    server, _ = three
    found = server.get("/api/runs/names")
    assert {"name": "loss", "runs": 3} in found["metrics"]
    assert {"name": "model.width", "runs": 3} in found["config"]
    assert "duration_s" in found["attributes"]
    assert [one["name"] for one in server.get("/api/runs/names?prefix=val/")["metrics"]] == ["val/acc"]


def test_all_about_one_run(three: tuple[Running, list[str]]) -> None:
    server, ids = three
    found = server.get(f"/api/runs/{ids[0]}")
    assert found["config"]["model"] == {"width": 64, "kind": "resnet"}
    assert (found["summary"], found["run"]["id"], found["dropped_names"]) == ({"best": 0.9}, ids[0], 0)
    by_name = {one["name"]: one for one in found["metrics"]}
    acc = by_name["val/acc"]
    assert (acc["count"], acc["last_step"], acc["least"], acc["greatest"], acc["ranks"]) == (100, 99, 0.0, 0.99, [0])
    assert server.get("/api/runs/digits-1")["run"]["id"] == ids[1]
    assert server.get("/api/runs/last")["run"]["id"] == ids[2]
    assert server.ask("GET", "/api/runs/nothing")[0] == 404


def test_series_are_drawn(three: tuple[Running, list[str]]) -> None:
    server, ids = three
    (whole,) = server.get(f"/api/runs/{ids[0]}/series?name=val/acc")
    assert (whole["count"], whole["level"], whole["per"], whole["nan"], whole["rank"]) == (100, 0, 1, 1, 0)
    assert whole["values"][49:52] == [0.49, "nan", 0.51]
    assert whole["steps"] == list(range(100))
    one, other = server.get(f"/api/runs/{ids[0]}/series?name=loss&name=val/acc&points=10&low=20&high=59")
    assert (one["name"], one["count"], one["values"], len(one["min"]) <= 10) == ("loss", 40, [], True)
    assert (other["nan"], other["max"][-1]) == (1, 0.59)
    many = server.get(f"/api/series?run={ids[0]}&run={ids[1]}&name=loss&points=5")
    assert [one["run"] for one in many] == ids[:2]
    status, error = server.ask("GET", f"/api/runs/{ids[0]}/series?name=los")
    assert (status, "did you mean 'loss'?" in error["do"]) == (404, True)
    assert server.ask("GET", f"/api/runs/{ids[0]}/series?name=loss&points=1000000000")[0] == 400


def test_a_run_is_renamed_tagged_put_away_and_taken_back(three: tuple[Running, list[str]]) -> None:
    server, ids = three
    change = {"name": "best of all", "tags": ["a", "b", "a"], "note": "<script>", "archived": True}
    status, row = server.ask("PATCH", f"/api/runs/{ids[1]}", change)
    assert (status, row["name"], row["tags"], row["archived"]) == (200, "best of all", ["a", "b"], True)
    assert runs(server)["total"] == 2
    assert runs(server, archived=1, filter='name="best of all" tag=b loss<1')["total"] == 1
    server.stop()
    server.start()
    assert runs(server)["total"] == 2
    assert server.get(f"/api/runs/{ids[1]}")["run"]["note"] == "<script>"
    assert server.ask("DELETE", f"/api/runs/{ids[1]}")[0] == 204  # a job's: only put away
    back = {"archived": False, "name": "digits-1", "note": "first try", "tags": ["baseline"]}
    assert server.ask("PATCH", f"/api/runs/{ids[1]}", back)[0] == 200
    assert runs(server, columns="loss", sort="loss")["rows"][0]["values"] == {"loss": 0.51}
    for wrong in ({"name": ""}, {"nothing": 1}, {"tags": "a"}, {"name": "a\0b"}):
        assert server.ask("PATCH", f"/api/runs/{ids[1]}", wrong)[0] == 400


BARE = """
import sys, leyden
leyden.log({"loss": 0.25}, step=3)
leyden.track.run.current().writer.flush()
print(leyden.run_dir(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("state", ["finished", "killed"])
def test_a_bare_program_is_seen_while_it_runs_and_when_it_has_ended(
    server: Running, tmp_path: Path, state: str
) -> None:
    environ = {**os.environ, "LEYDEN_HOME": str(server.home)}
    command = [sys.executable, "-c", BARE, "--lr", "0.5"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, stdin=-1, stdout=-1) as program:
        assert program.stdout
        folder = Path(program.stdout.readline().strip())

        def row() -> dict[str, Any] | None:
            found = runs(server, columns="loss,lr", filter=f"id={folder.name}")["rows"]
            return found[0] if found else None

        running = until(row)
        assert (running["state"], running["job_id"], running["values"]) == ("running", None, {"loss": 0.25, "lr": 0.5})
        assert server.ask("DELETE", f"/api/runs/{folder.name}")[0] == 409
        program.communicate("\n") if state == "finished" else program.kill()
    ended = until(lambda: (one := row()) and one["state"] == state and one)
    assert ended["ended_at"]
    assert server.get(f"/api/runs/{folder.name}")["path"] == str(folder)
    assert server.get(f"/api/runs/{folder.name}/series?name=loss")[0]["steps"] == [3]
    until(lambda: not (server.home / "bare" / folder.name).exists())
    assert server.ask("DELETE", f"/api/runs/{folder.name}")[0] == 204
    assert server.ask("GET", f"/api/runs/{folder.name}")[0] == 404
    assert folder.is_dir()  # it lies in its user's own tree


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_restarted_server_goes_on_where_the_one_before_was_killed(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    server = Running(tmp_path / "home")
    options = () if database == "sqlite" else ("--database", request.getfixturevalue("postgres").database())
    server.start(*options)
    try:
        check_restart(server)
    finally:
        server.end()


def check_restart(server: Running) -> None:
    run_id = new_id()
    piece = frames.encode(
        ("loss",), list(range(10)), [float(one) for one in range(10)], [[float(one)] for one in range(10)]
    )
    assert server.ask("PUT", f"/api/runs/{run_id}/files/metrics/a1-r0.frames?offset=0", piece)[0] == 200
    quiet = new_id()  # and will never say that it has ended
    assert server.ask("PUT", f"/api/runs/{quiet}/files/metrics/a1-r0.frames?offset=0", piece)[0] == 200
    until(lambda: all(server.ask("GET", f"/api/runs/{one}")[0] == 200 for one in (run_id, quiet)))
    server.kill()
    server.start()
    assert server.ask("DELETE", f"/api/runs/{quiet}")[0] == 204
    more = frames.encode(("loss",), [10], [10.0], [[-1.0]])
    path = f"/api/runs/{run_id}/files/metrics/a1-r0.frames?offset={len(piece)}"
    assert server.ask("PUT", path, more)[1] == {"size_bytes": len(piece) + len(more)}
    until(lambda: runs(server, columns="loss")["rows"][0]["values"] == {"loss": -1.0})
    about = {"state": "finished", "at": 1_800_000_000.0}
    assert server.ask("PUT", f"/api/runs/{run_id}/files/finished.json", json.dumps(about).encode())[0] == 200
    until(lambda: runs(server, filter="state=finished ended_at=*")["total"] == 1)
    (metric,) = server.get(f"/api/runs/{run_id}")["metrics"]
    assert (metric["count"], metric["least"], metric["greatest"]) == (11, -1.0, 9.0)
    assert server.ask("DELETE", f"/api/runs/{run_id}")[0] == 204
    assert not (server.home / "runs" / run_id).exists()


def test_what_is_wrong_with_one_run_keeps_no_other_from_being_seen(shared: Running, tmp_path: Path) -> None:
    names = ("garbage", "nowhere", "odd", "elsewhere", "broken", "good")
    ids = {name: new_id() for name in names}
    (shared.home / "bare").mkdir(exist_ok=True)
    for name in names:
        folder = tmp_path / name
        if name not in ("garbage", "nowhere"):
            (folder / "metrics").mkdir(parents=True)
            about: dict[str, Any] = {"name": name, "user": "eve", "created_at": 1.0, "pid": os.getpid(), "birth": ""}
            if name == "odd":
                about |= {"name": "a\0b", "user": [1], "created_at": float("nan")}
                (folder / "finished.json").write_text('{"state": 3, "at": Infinity}')
                (folder / "media").mkdir()
                line = '{"kind": "text", "name": "t", "step": 1, "at": NaN, "file": "media/t"}'
                (folder / "media/a1-r0.jsonl").write_text(f"{line}\n{line.replace('NaN', '1e3')}\n")
            if name == "broken":
                (folder / "metrics/a1-r1.frames").mkdir()
            if name == "elsewhere":
                about |= {"node": "another-host", "pid": 1 << 22}
            (folder / "run.json").write_text(json.dumps(about))
            data = frames.encode(("eve/loss",), [0], [1.0], [[1.0]])
            (folder / "metrics/a1-r0.frames").write_bytes(data)
        word = b"\xff\0" if name == "garbage" else str(folder).encode()
        (shared.home / "bare" / ids[name]).write_bytes(word)

    def states() -> dict[str, str]:
        return {row["id"]: row["state"] for row in runs(shared, filter="eve/loss=1")["rows"]}

    expected = {ids["odd"]: "3", ids["elsewhere"]: "running", ids["broken"]: "killed", ids["good"]: "killed"}
    until(lambda: states() == expected)
    until(lambda: not (shared.home / "bare" / ids["nowhere"]).exists())
    with shared.open("GET", f"/api/runs?filter={quote('eve/loss=1')}&columns=created_at,ended_at") as response:
        rows = json.loads(response.read(), parse_constant=pytest.fail)["rows"]  # as a browser reads it
    assert min(row["created_at"] for row in rows if row["id"] == ids["odd"]) > 1e9
    with shared.open("GET", f"/api/runs/{ids['odd']}/media") as response:
        assert len(json.loads(response.read(), parse_constant=pytest.fail)) == 1
    (shared.home / "bare" / ids["garbage"]).unlink()
    (tmp_path / "elsewhere/finished.json").write_text('{"state": "finished", "at": 2}')
    until(lambda: states() == expected | {ids["elsewhere"]: "finished"})


AGAIN = """
import os, sys, leyden
first = os.environ["LEYDEN_ATTEMPT"] == "1"
for step in range(10) if first else range(5, 8):
    leyden.log({"loss": float(step if first else -step)}, step=step)
sys.exit(75 if first else 0)
"""


def test_a_job_that_is_tried_again_shows_what_counts(shared: Running) -> None:
    job_id = shared.submit(AGAIN)
    assert shared.wait(job_id)["state"] == "succeeded", shared.log(job_id)
    (curve,) = shared.get(f"/api/runs/{job_id}/series?name=loss")
    assert curve["steps"] == list(range(8))
    assert curve["values"] == [0.0, 1.0, 2.0, 3.0, 4.0, -5.0, -6.0, -7.0]
    loss = next(one for one in shared.get(f"/api/runs/{job_id}")["metrics"] if one["name"] == "loss")
    assert (loss["count"], loss["least"], loss["greatest"], loss["last_step"]) == (8, -7.0, 4.0, 7)
    assert loss == {**shared.get(f"/api/jobs/{job_id}/metrics")[0], "ranks": [0]}
    until(lambda: runs(shared, filter=f"id={job_id}", columns="loss")["rows"][0]["values"] == {"loss": -7.0})


def test_what_a_job_was_given_is_its_config_where_it_logs_none(shared: Running, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys, leyden\nleyden.log({'a': 1})\nif 'log' in sys.argv: leyden.config['lr'] = 0.25")
    arguments = ["--lr", "0.5", "--batch-size=8", "--amp"]
    for extra, config in (
        ((), {"lr": 0.5, "batch_size": 8, "amp": True}),
        (("log",), {"lr": 0.25, "args": {"batch_size": 8, "amp": True, "arguments": "log"}}),
    ):
        job_id = shared.submit("", command=[sys.executable, str(script), *extra, *arguments])
        assert shared.wait(job_id)["state"] == "succeeded", shared.log(job_id)
        until(lambda: shared.get(f"/api/runs/{job_id}")["config"] == config)  # noqa: B023
        asked = f"id={job_id} lr={config['lr']}"
        (row,) = runs(shared, filter=asked, columns="config.amp,config.args.amp")["rows"]
        assert list(row["values"].values()) == [True]


def test_a_note_given_while_a_run_goes_on_stays(shared: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = (
        f"import leyden, time, pathlib\nleyden.log({{'a': 1.0}}, step=0)\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\nleyden.log({{'a': 2.0}}, step=1)"
    )
    job_id = shared.submit(program)
    until(lambda: runs(shared, filter=f"id={job_id}", columns="a")["rows"][0]["values"])
    assert shared.ask("PATCH", f"/api/runs/{job_id}", {"note": "look", "tags": ["x"]})[0] == 200
    gate.touch()
    shared.wait(job_id)
    row = until(
        lambda: (one := runs(shared, filter=f"id={job_id}", columns="a")["rows"][0])["values"] == {"a": 2.0} and one
    )
    assert (row["note"], row["tags"]) == ("look", ["x"])


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs?sort=-",
        "/api/runs?filter=%00",
        '/api/runs?columns="a',
        '/api/runs?columns="a"b',
        "/api/runs?limit=0",
        "/api/runs?filter=" + "(" * 3000,
        "/api/runs/a%00b",
        "/api/runs/last/series",
        "/api/runs/last/series?name=loss&low=nan",
        "/api/runs/last/series?name=loss&x=epoch",
        "/api/runs/last/series?" + "&".join(["name=a"] * 300),
        "/api/series?name=a",
        "/api/runs/last/files/..%2f..%2fsecret.key",
    ],
)
def test_what_makes_no_sense_is_refused_in_words(three: tuple[Running, list[str]], path: str) -> None:
    status, error = three[0].ask("GET", path.replace('"', "%22"))
    assert 400 <= status < 500
    assert error["do"]

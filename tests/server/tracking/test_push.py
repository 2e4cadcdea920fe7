"""Are bytes that come from elsewhere kept as they were sent, once, and refused where they cannot be right?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leyden.core.ids import new_id
from leyden.track import frames
from tests.conformance.until import until
from tests.server.running import Running

FILE = "metrics/a1-r0.frames"


def piece(first: int, count: int = 10, names: tuple[str, ...] = ("loss",)) -> bytes:
    steps = list(range(first, first + count))
    return frames.encode(names, steps, [float(one) for one in steps], [[float(one)] * len(names) for one in steps])


def put(server: Running, run: str, data: bytes, offset: int = 0, name: str = FILE) -> tuple[int, dict[str, object]]:
    return server.ask("PUT", f"/api/runs/{run}/files/{name}?offset={offset}", data)


def test_pieces_may_be_repeated_and_overlap_but_leave_no_gap(shared: Running) -> None:
    run, one, two = new_id(), piece(0), piece(10)
    assert put(shared, run, one) == (200, {"size_bytes": len(one)})
    assert put(shared, run, one) == (200, {"size_bytes": len(one)})
    with shared.open("PUT", f"/api/runs/{run}/files/{FILE}?offset=5000", two) as response:
        assert (response.status, response.headers["X-Leyden-Size"]) == (409, str(len(one)))
        assert json.loads(response.read())["do"] == f"Send it from byte {len(one)} on."
    assert put(shared, run, one[-7:] + two[:9], len(one) - 7) == (200, {"size_bytes": len(one) + 9})
    assert put(shared, run, two, len(one)) == (200, {"size_bytes": len(one) + len(two)})
    status, error = put(shared, run, b"other bytes", 3)
    assert (status, error["found"]) == (409, "others stand there already")
    assert (shared.home / "runs" / run / FILE).read_bytes() == one + two
    until(lambda: shared.ask("GET", f"/api/runs/{run}/series?name=loss")[0] == 200)
    (curve,) = shared.get(f"/api/runs/{run}/series?name=loss")
    assert curve["steps"] == list(range(20))


def test_other_files_of_a_run(shared: Running) -> None:
    run = new_id()
    png = b"\x89PNG" + os.urandom(2000)
    line = {
        "kind": "image",
        "name": "val/pred",
        "step": 3,
        "at": 12.5,
        "file": "media/val/pred/3-0.png",
        "caption": "<b>",
    }
    about = {"id": run, "name": "from afar", "user": "bob", "created_at": 1_790_000_000.0}
    for name, data in (
        ("run.json", json.dumps(about).encode()),
        ("config.json", b'{"lr": 0.1}'),
        ("config.json", b'{"lr": 0.25, "x": NaN}'),
        ("summary.json", b"{}"),
        ("tags.json", b'{"tags": ["far"]}'),
        ("media/val/pred/3-0.png", png),
        ("media/a1-r0.jsonl", json.dumps(line).encode() + b"\n" + b"torn"),
        ("logs/a1-r0.log", b"hello\n"),
    ):
        assert put(shared, run, data, name=name)[0] == 200, name
    found = until(lambda: (one := shared.get("/api/runs?filter=user=bob&columns=lr,x"))["rows"] and one)["rows"][0]
    assert (found["name"], found["tags"], found["values"]) == ("from afar", ["far"], {"lr": 0.25, "x": "nan"})
    assert shared.get(f"/api/runs/{run}/media?name=val/pred") == [line]
    assert shared.get(f"/api/runs/{run}")["media"] == [{"kind": "image", "name": "val/pred", "steps": [3]}]
    with shared.open("GET", f"/api/runs/{run}/files/media/val/pred/3-0.png") as response:
        assert response.read() == png
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Content-Security-Policy"] == "sandbox"
    for secret in ("run.json", "../../secret.key", "media/../../../secret.key", "attempts/a1/attempt.json"):
        assert shared.ask("GET", f"/api/runs/{run}/files/{secret.replace('/', '%2F')}")[0] == 404


@pytest.mark.parametrize(
    "name",
    ["x", "metrics/x.frames", "metrics/a1-r0.frames.x", "../x.json", "media/../run.json", "media/../../../x.png",
     "checkpoints/a", "attempts/a1/attempt.json", "metrics/a1-r0.frames/x", "media/a.html", "run.json/x"],
)  # fmt: skip
def test_other_names_are_refused(shared: Running, name: str) -> None:
    assert put(shared, "0000000abc", b"x", name=name.replace("/", "%2F"))[0] == 400


def test_ids_that_are_none_and_links_out_are_refused(shared: Running, tmp_path: Path) -> None:
    for wrong in ("zzz", "last", "..%2F..%2Fx", "0000000ilou"):
        assert put(shared, wrong, b"x")[0] in (400, 404)
    run = new_id()
    folder = shared.home / "runs" / run
    folder.mkdir(parents=True)
    (folder / "media").symlink_to(tmp_path)
    assert put(shared, run, b"x", name="media/a.png")[0] == 400
    assert not (tmp_path / "a.png").exists()


def test_a_long_name_and_a_million_names_cost_only_themselves(shared: Running) -> None:
    run = new_id()
    put(shared, run, piece(0, 1, ("x" * 10_000, "good")))
    size = (shared.home / "runs" / run / FILE).stat().st_size
    for start in range(0, 120_000, 60_000):
        data = piece(1, 1, tuple(f"m{number}" for number in range(start, start + 60_000)))
        assert put(shared, run, data, size)[0] == 200
        size += len(data)
    query = f"/api/runs?filter=id={run}&columns=m99998,m99999"  # the last one that has room, and the next
    until(lambda: (rows := shared.get(query)["rows"]) and rows[0]["values"] == {"m99998": 1.0})
    found = shared.get(f"/api/runs/{run}")
    assert len(found["metrics"]) == 100_000
    assert found["dropped_names"] == 20_001
    assert len(shared.get("/api/runs/names?prefix=m")["metrics"]) == 10_000
    assert shared.ask("GET", "/api/health")[0] == 200


def test_damage_in_what_is_sent_costs_only_its_points(shared: Running) -> None:
    run, good = new_id(), piece(0)
    bad = bytearray(piece(10))
    bad[len(bad) // 2] ^= 255
    put(shared, run, good + bytes(bad) + b"LYM1 no frame" + piece(20) + piece(30)[:50])
    until(lambda: shared.ask("GET", f"/api/runs/{run}/series?name=loss")[0] == 200)
    (curve,) = shared.get(f"/api/runs/{run}/series?name=loss")
    assert curve["steps"] == [*range(10), *range(20, 30)]
    size = (shared.home / "runs" / run / FILE).stat().st_size
    put(shared, run, piece(30)[50:], size)
    assert shared.get(f"/api/runs/{run}/series?name=loss")[0]["steps"][-1] == 39


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mount is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


TRAINS = """
import sys, leyden
step = 0
for _ in sys.stdin:
    for step in range(step, step + 500):
        leyden.log({"a": float(step)}, step=step)
    step += 1
    print(step, flush=True)
"""


def test_a_full_disk_stops_no_training_and_loses_no_point(small_disk: Path, tmp_path: Path) -> None:
    """The server's home, its database and the record of a program are on it."""
    server = Running(small_disk / "home")
    server.start()
    told = tmp_path / "told"
    with told.open("w") as errors:
        program = subprocess.Popen(
            [sys.executable, "-c", TRAINS], cwd=small_disk, env={**os.environ, "LEYDEN_HOME": str(server.home)},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert program.stdin
    assert program.stdout

    def train() -> int:
        assert program.stdin
        assert program.stdout
        program.stdin.write("\n")
        program.stdin.flush()
        return int(program.stdout.readline())

    def last() -> float | None:
        rows = server.get("/api/runs?columns=a")["rows"]
        return rows[0]["values"].get("a") if rows else None

    try:
        assert train() == 500
        until(lambda: last() == 499)
        filler, room = small_disk / "filler", os.statvfs(small_disk)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
        until(lambda: train() and "metrics cannot be written" in told.read_text())
        assert server.ask("GET", "/api/health")[0] == 200
        assert server.ask("PUT", f"/api/runs/{new_id()}/files/{FILE}?offset=0", piece(0))[0] == 507
        assert train() < 200_000
        filler.unlink()
        steps = train()
        program.communicate(timeout=30)
        assert program.returncode == 0, told.read_text()
        until(lambda: last() == steps - 1)
        [file] = small_disk.glob("leyden_runs/*/metrics/*.frames")
        run = file.parents[1].name
        (curve,) = server.get(f"/api/runs/{run}/series?name=a&points=100000")
        assert (curve["count"], curve["nan"], curve["ordered"]) == (steps, 0, True)
        until(lambda: server.get(f"/api/runs/{run}")["run"]["state"] == "finished")
    finally:
        program.kill()
        server.end()


def test_a_full_disk_refuses_a_piece_whole_and_takes_it_when_there_is_room(small_disk: Path) -> None:
    server = Running(small_disk / "home")
    server.start()
    try:
        run, one = new_id(), piece(0)
        assert put(server, run, one)[0] == 200
        filler = small_disk / "filler"
        room = os.statvfs(small_disk)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
        two = piece(10, 20_000)
        status, error = put(server, run, two, len(one))
        assert (status, error["error"]) == (507, "FullError")
        assert (small_disk / "home/runs" / run / FILE).stat().st_size == len(one)
        filler.unlink()
        assert put(server, run, two, len(one))[0] == 200
        until(lambda: known(server, run))
        assert server.get(f"/api/runs/{run}/series?name=loss")[0]["count"] == 20_010
    finally:
        server.end()


def known(server: Running, run: str) -> bool:
    return bool(server.ask("GET", f"/api/runs/{run}")[0] == 200)


def test_a_million_points_a_second_are_taken_in(shared: Running) -> None:
    """Ten metrics, a hundred rows a frame, as one training process writes them."""
    names = tuple(f"metric/{number}" for number in range(10))
    made, size = [], 0
    for start in range(0, 100_000, 10_000):
        made.append(b"".join(piece(first, 100, names) for first in range(start, start + 10_000, 100)))
    run = new_id()
    assert shared.process
    server = psutil.Process(shared.process.pid)
    before, begun = sum(server.cpu_times()[:2]), time.perf_counter()
    for data in made:
        assert put(shared, run, data, size)[0] == 200
        size += len(data)
    until(lambda: known(shared, run))
    until(
        lambda: shared.get(f"/api/runs?filter=id={run}&columns=metric/9")["rows"][0]["values"] == {"metric/9": 99_999.0}
    )
    took, used = time.perf_counter() - begun, sum(server.cpu_times()[:2]) - before
    print(f"1M points: {took:.2f} s, {used:.2f} s of CPU")
    assert used < 2.0

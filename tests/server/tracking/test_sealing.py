"""Does a run that has ended become one file that says the same, and go on when it is tried again?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from leyden.core.errors import RecordError
from leyden.core.ids import new_id
from leyden.server.tracking import sealing
from leyden.server.tracking.sealing import seal
from leyden.track import frames
from leyden.track.read import read_metrics, read_run
from leyden.track.sealed import SEALED, Kept, write_sealed
from tests.conformance.until import until
from tests.server.running import Running


def piece(steps: range, offset: float = 0.0) -> bytes:
    rows = [[offset + step, -float(step)] for step in steps]
    return frames.encode(("loss", "acc"), list(steps), [offset + step for step in steps], rows)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "metrics" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
    return path


def test_what_is_sealed_reads_as_before_and_goes_on(tmp_path: Path) -> None:
    first = write(tmp_path, "a1-r0.frames", piece(range(1000)))
    other = write(tmp_path, "a1-r1.frames", piece(range(300), 7.0) + piece(range(300, 400))[:-5])  # a torn end
    before, lines = read_run(tmp_path), read_metrics(tmp_path)
    found = seal(tmp_path, least_bytes=0)
    assert found is not None
    assert not first.exists()
    assert not other.exists()
    assert (read_run(tmp_path), read_metrics(tmp_path)) == (before, lines)
    assert found.index.files == {"a1-r0.frames": len(piece(range(1000))), "a1-r1.frames": len(piece(range(300), 7.0))}
    table = pq.read_table(tmp_path / SEALED, filters=[("metric", "=", "loss"), ("level", "=", 0), ("rank", "=", 1)])
    assert table.column("value").to_pylist() == [7.0 + step for step in range(300)]

    write(tmp_path, "a2-r0.frames", piece(range(900, 1200), 5000.0))
    again = read_run(tmp_path)
    assert list(again["loss"].steps) == list(range(1200))
    assert again["loss"].values[900] == 5900.0
    assert seal(tmp_path, least_bytes=0) is not None
    assert read_run(tmp_path) == again
    assert [one.name for one in (tmp_path / "metrics").iterdir()] == []


@pytest.mark.parametrize("damage", ["cut", "points", "groups", "end", "empty"])
def test_a_damaged_file_is_named_and_nothing_wrong_is_shown(tmp_path: Path, damage: str) -> None:
    write(tmp_path, "a1-r0.frames", piece(range(20_000)))
    assert seal(tmp_path) is not None
    path = tmp_path / SEALED
    data = bytearray(path.read_bytes())
    if damage in {"cut", "empty"}:
        data = data[: len(data) // 2 if damage == "cut" else 0]
    else:
        place = {"points": len(data) // 2, "groups": 2000, "end": len(data) - 50}[damage]
        data[place : place + 20] = bytes(one ^ 255 for one in data[place : place + 20])
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"metrics\.parquet; the file is damaged"):
        look_at_all(tmp_path)


def look_at_all(folder: Path) -> None:
    read_run(folder)
    read_metrics(folder)


def test_a_server_killed_before_the_frames_went_is_made_up_for(tmp_path: Path) -> None:
    files = [write(tmp_path, f"a1-r{rank}.frames", piece(range(20_000), rank)) for rank in (0, 1)]
    copies = [shutil.copy2(one, tmp_path / one.name) for one in files]
    before, first = read_run(tmp_path), seal(tmp_path)
    assert first is not None
    for one, copy in zip(files, copies, strict=True):
        shutil.copy2(copy, one)
    again = seal(tmp_path)
    assert again is not None
    assert again.index == first.index
    assert not any(one.exists() for one in files)
    write(tmp_path, "a1-r0.frames", piece(range(20_000, 40_000)))
    write(tmp_path, "a1-r1.frames", piece(range(20_000, 40_000)))  # as long as before, and new
    assert seal(tmp_path) is not None
    assert len(read_run(tmp_path)["loss"].steps) == 2 * len(before["loss"].steps)


def test_small_runs_and_runs_without_points_keep_their_frames(tmp_path: Path) -> None:
    assert seal(tmp_path) is None
    small = write(tmp_path, "a1-r0.frames", piece(range(10)))
    assert seal(tmp_path) is None
    assert small.exists()
    torn = write(tmp_path / "other", "a1-r0.frames", b"x" * 1000)
    assert seal(tmp_path / "other", least_bytes=0) is None
    assert torn.exists()


def test_a_file_that_does_not_say_the_same_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames_file = write(tmp_path, "a1-r0.frames", piece(range(1000)))

    def broken(path: Path, curves: list[Kept], files: dict[str, int], dropped: int) -> None:
        write_sealed(path, curves[:1], files, dropped)

    monkeypatch.setattr(sealing, "write_sealed", broken)
    assert seal(tmp_path, least_bytes=0) is None
    assert frames_file.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics"]


def test_the_server_seals_what_has_ended_and_late_pieces_follow(server: Running) -> None:
    run, data = new_id(), b"".join(piece(range(first, first + 1000)) for first in range(0, 20_000, 1000))
    path = f"/api/runs/{run}/files/metrics/a1-r0.frames?offset="
    assert server.ask("PUT", f"{path}0", data)[0] == 200
    finished = json.dumps({"state": "finished", "at": 1_800_000_000.0}).encode()
    assert server.ask("PUT", f"/api/runs/{run}/files/finished.json", finished)[0] == 200
    folder = server.home / "runs" / run
    until(lambda: (folder / SEALED).exists() and not list(folder.glob("metrics/*.frames")))
    (curve,) = server.get(f"/api/runs/{run}/series?name=loss&points=50")
    assert (curve["count"], curve["max"][-1]) == (20_000, 19_999.0)
    lines = {one["name"]: one for one in server.get(f"/api/runs/{run}")["metrics"]}
    assert (lines["acc"]["count"], lines["acc"]["least"]) == (20_000, -19_999.0)
    assert server.ask("PUT", f"{path}0", data) == (200, {"size_bytes": len(data)})  # sent again: it is known
    late = piece(range(20_000, 20_010))
    assert server.ask("PUT", f"{path}{len(data)}", late)[1] == {"size_bytes": len(data) + len(late)}
    until(lambda: server.get(f"/api/runs/{run}/series?name=loss&points=50")[0]["count"] == 20_010)
    server.stop()
    server.start()
    found = server.get("/api/runs?columns=loss&filter=state=finished")["rows"][0]
    assert found["values"]["loss"] in (19_999.0, 20_009.0)
    assert server.get(f"/api/runs/{run}/series?name=loss&points=50")[0]["count"] == 20_010

"""Does logging reach the disk, cheaply, whatever ends the process?"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import NotFoundError, RecordError
from leyden.track import run
from leyden.track.read import read_metrics, read_run, read_series
from leyden.track.run import Run
from leyden.track.writer import MetricWriter, Row, encode_rows


def python(code: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_without_a_trainer(tmp_path: Path) -> None:
    code = "import leyden\nfor i in range(100): leyden.log({'loss': 1 / (i + 1), 'i': i})"
    assert python(code, tmp_path, LEYDEN_USER="ada").returncode == 0
    [folder] = (tmp_path / "leyden_runs").glob("*/")
    series = read_run(folder)
    assert list(series["loss"].steps) == list(range(100))
    assert series["loss"].values[9] == 0.1
    about = json.loads((folder / "run.json").read_text())
    assert (about["name"], about["user"]) == ("-c", "ada")
    assert (tmp_path / "leyden_runs" / ".gitignore").read_text() == "*\n"


def test_the_workers_word_is_taken(tmp_path: Path) -> None:
    code = "import leyden; leyden.log({'x': 1}, step=5); print(leyden.run_dir())"
    done = python(code, tmp_path, LEYDEN_RUN_DIR=str(tmp_path / "r"), LEYDEN_ATTEMPT="3", RANK="2")
    assert done.stdout.strip() == str(tmp_path / "r")
    assert [path.name for path in (tmp_path / "r").rglob("*") if path.is_file()] == ["a3-r2.frames"]


def test_steps_count_up_and_may_be_given(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    record.log({"a": 1})
    record.log({"a": 2}, step=10)
    record.log({"a": 3})
    record.log({"a": 4}, step=2)
    record.writer.close()
    assert list(read_run(tmp_path)["a"].steps) == [0, 10, 11, 2]


def test_values_are_kept_as_they_are(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    values: dict[str, Any] = {
        "nan": math.nan,
        "inf": -math.inf,
        "tensor": torch.tensor([0.5]),
        "true": True,
        "größe/x y": 3,
    }
    record.log(values)
    values["nan"] = 0.0
    record.writer.close()
    read = {name: series.values[0] for name, series in read_run(tmp_path).items()}
    assert math.isnan(read.pop("nan"))
    assert read == {"inf": -math.inf, "tensor": 0.5, "true": 1.0, "größe/x y": 3.0}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"a": "high"}, "its value is 'high'"),
        ({"a": None}, "its value is None"),
        ({"a": torch.zeros(2, 2)}, r"Tensor of shape \(2, 2\)"),
        ({"": 1.0}, "names are text"),
        ({"": 1j}, "1j"),
    ],
)
def test_mistakes(tmp_path: Path, metrics: dict[str, float], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        Run(tmp_path, attempt=1, rank=0).log(metrics)


def test_sigkill_loses_at_most_half_a_second(tmp_path: Path) -> None:
    code = """
import time, leyden
i = 0
while True:
    leyden.log({"t": time.time()}, step=i); i += 1
    time.sleep(0.002)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob("leyden_runs/*/metrics/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(1.0)  # it is this second's points that are counted
    finally:
        process.send_signal(signal.SIGKILL)
        killed = time.time()
        process.wait()
    [folder] = tmp_path.glob("leyden_runs/*/")
    series = read_run(folder)["t"]
    assert list(series.steps) == list(range(len(series.steps)))
    assert killed - series.values[-1] < 0.5


def test_a_forked_child_writes_nothing_twice(tmp_path: Path) -> None:
    code = """
import os, leyden
leyden.log({"a": 1}, step=0)
if os.fork() == 0:
    leyden.log({"a": 2}, step=1)
    raise SystemExit
os.wait()
leyden.log({"a": 3}, step=2)
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = tmp_path.glob("leyden_runs/*/")
    assert sorted(read_run(folder)["a"].values) == [1, 2, 3]


MANY = """
import threading, time
from pathlib import Path
from leyden.track.writer import MetricWriter

def threads():
    return sum(one.name == "leyden-metrics" for one in threading.enumerate())

def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

files = [Path(f"{number}/metrics/a1-r0.frames") for number in range(20)]
for _ in range(2):
    writers = [MetricWriter(file) for file in files]
    before = sum(file.stat().st_size for file in files if file.exists())
    for number, writer in enumerate(writers):
        writer.add(0, {"a": float(number)})
    assert threads() == 1
    until(lambda: sum(file.stat().st_size for file in files) >= before + 20 * 20)  # without a flush or a close
    for writer in writers:
        writer.close()
    until(lambda: threads() == 0)
"""


def test_many_runs_of_a_process_share_one_thread_which_ends_with_them(tmp_path: Path) -> None:
    """Each Trainer that fits has a run of its own, and there may be hundreds in a notebook."""
    done = python(MANY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [read_run(tmp_path / str(number))["a"].values[-1] for number in range(20)] == list(range(20))


def test_a_full_disk_keeps_points_until_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        writer = MetricWriter(disk / "metrics" / "a1-r0.frames", drain_s=60)
        writer.add(0, {"a": 0.0})
        writer.flush()
        room = os.statvfs(disk)
        filler = disk / "filler"
        filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize))
        for step in range(1, 2000):
            writer.add(step, {"a": float(step)})
        with pytest.warns(UserWarning, match="kept in memory and tried again"):
            writer.flush()
        assert list(read_run(disk)["a"].steps) == [0]
        filler.unlink()
        writer.close()
        assert list(read_run(disk)["a"].steps) == list(range(2000))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_times_follow_the_worlds_clock_forward_and_never_run_back(tmp_path: Path) -> None:
    """`time.monotonic` stands still while a laptop sleeps; clocks are set back."""
    writer = MetricWriter(tmp_path / "metrics" / "a1-r0.frames", drain_s=60)
    for step, asleep_s in enumerate((0, 7200, -3600)):
        writer._epoch -= asleep_s
        writer.add(step, {"a": 1.0})
        writer.flush()
    writer.close()
    first, awake, set_back = (one - time.time() for one in read_run(tmp_path)["a"].times)
    assert (round(first, -1), round(awake, -1), round(set_back, -1)) == (0, 0, 3600)


def test_a_disk_full_for_long_costs_the_oldest_points_and_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leyden.track.writer.MAX_WAITING_ROWS", 40_000)
    writer = MetricWriter(tmp_path / "metrics" / "a1-r0.frames", drain_s=60)
    writer.add(0, {"a": 0.0})
    writer.flush()
    kept = writer._fd
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    for step in range(1, 50_000):
        writer.add(step, {"a": 1.0})
    encoded: list[int] = []

    def counted(rows: Sequence[Row], epoch: float) -> Iterator[bytes]:
        encoded.append(len(rows))
        return encode_rows(rows, epoch)

    monkeypatch.setattr("leyden.track.writer.encode_rows", counted)
    with warnings.catch_warnings(record=True, action="always") as told:
        writer.flush()
    assert sum(encoded) <= 10_000  # it did not try all that waits
    disk, lost = (str(one.message) for one in told)
    assert ("No space left" in disk, "those before them are lost" in lost) == (True, True)
    os.close(writer._fd)
    writer._fd = kept
    writer.close()
    assert list(read_run(tmp_path)["a"].steps) == [0, *range(10_000, 50_000)]


def test_a_later_attempt_replaces_what_was_thrown_away(tmp_path: Path) -> None:
    first = Run(tmp_path, attempt=1, rank=0)
    for step in range(10):
        first.log({"loss": 1.0, "val": 1.0} if step % 5 == 0 else {"loss": 1.0}, step=step)
    first.writer.close()
    second = Run(tmp_path, attempt=2, rank=0)
    for step in range(6, 12):
        second.log({"loss": 2.0}, step=step)
    second.writer.close()
    series = read_run(tmp_path)
    assert list(series["loss"].steps) == list(range(12))
    assert list(series["loss"].values) == [1.0] * 6 + [2.0] * 6
    assert list(series["val"].steps) == [0, 5]


def test_ranks(tmp_path: Path) -> None:
    for rank in (0, 1):
        record = Run(tmp_path, attempt=1, rank=rank)
        record.log({"both": float(rank), f"only{rank}": 1.0})
        record.writer.close()
    assert {one.name: one.last for one in read_metrics(tmp_path)} == {"both": 0.0, "only0": 1.0, "only1": 1.0}


def test_summaries_and_thinning_keep_the_extremes(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    for step in range(10_000):
        record.log({"a": math.nan if step == 5 else -99.0 if step == 777 else 99.0 if step == 8_888 else 0.0})
    record.writer.close()
    [summary] = read_metrics(tmp_path)
    assert (summary.count, summary.least, summary.greatest, summary.last_step) == (10_000, -99, 99, 9_999)
    drawn = read_series(tmp_path, "a", max_points=100)
    assert len(drawn.steps) <= 100
    assert {0, 777, 8_888, 9_999} <= set(drawn.steps)
    assert drawn.steps == sorted(drawn.steps)
    assert len(read_series(tmp_path, "a", max_points=20_000).steps) == 10_000


def test_unknown_metric_is_named(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    record.log({"val_loss": 1.0})
    record.writer.close()
    with pytest.raises(NotFoundError, match="did you mean 'val_loss'"):
        read_series(tmp_path, "val_los")


def test_damage_is_told_and_the_rest_read(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    for step in range(3):
        record.log({"a": 1.0}, step=step)
        record.writer.flush()
    record.writer.close()
    [file] = tmp_path.glob("metrics/*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.warns(UserWarning, match="are damaged; their points are left out"):
        assert list(read_run(tmp_path)["a"].steps) == [0, 2]


def test_logging_after_the_end_is_refused(tmp_path: Path) -> None:
    record = Run(tmp_path, attempt=1, rank=0)
    record.log({"a": 1.0})
    record.finish()
    record.finish()
    with pytest.raises(RecordError, match="the run is finished"):
        record.log({"a": 2.0})
    assert run.last_attempt(tmp_path) == 1


def test_log_costs_the_training_thread_little(tmp_path: Path) -> None:
    """Ten metrics: a few microseconds of this thread's CPU time (least of several rounds)."""
    record = run.open_run(tmp_path, attempt=1, rank=0)
    metrics = {f"m{i}": float(i) for i in range(10)}
    best = math.inf
    for _ in range(10):
        start = time.thread_time()
        for step in range(1000):
            leyden.log(metrics, step)
        best = min(best, (time.thread_time() - start) / 1000)
    record.finish()
    assert best < 4e-6
    assert len(read_run(tmp_path)["m9"].steps) == 10_000

"""Do pictures, tables, histograms and texts arrive as they were, without the training thread waiting?"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import leyden
from leyden.core.errors import RecordError
from leyden.track import media, pictures, run
from leyden.track.clerk import Clerk
from leyden.track.media import Medium, folder_of


@pytest.fixture
def record(tmp_path: Path) -> run.Run:
    return run.start(tmp_path / "leyden_runs")


def the_media(record: run.Run) -> list[Medium]:
    assert record.flush()
    return list(media.read(record.path))


def opened(record: run.Run) -> list[Any]:
    return [np.asarray(Image.open(record.path / one.file)) for one in the_media(record)]


def content(record: run.Run) -> dict[str, Any]:
    [one] = the_media(record)
    found: dict[str, Any] = json.loads((record.path / one.file).read_text())
    return found


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (GREY, [GREY]),
        (GREY[:, :, None], [GREY]),
        (GREY.T, [GREY.T]),
        (GREY.astype(np.int64), [GREY]),
        (GREY > 5, [(GREY > 5) * 255]),
        (GREY / 255, [GREY]),
        (RGB, [RGB]),
        ((RGB / 255).astype(np.float16), [RGB]),
        (np.concatenate([RGB, RGB[:, :, :1]], -1), [np.concatenate([RGB, RGB[:, :, :1]], -1)]),
        (np.stack([RGB, RGB // 2]), [RGB, RGB // 2]),
        ([GREY, RGB], [GREY, RGB]),
        (torch.from_numpy(RGB).permute(2, 0, 1), [RGB]),
        (torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255, [RGB]),
        (torch.from_numpy(GREY), [GREY]),
        (torch.ones(1, 2, 2, dtype=torch.bfloat16, requires_grad=True), [np.full((2, 2), 255)]),
        (Image.fromarray(RGB), [RGB]),
        (Image.fromarray(GREY), [GREY]),
    ],
)
def test_pictures(record: run.Run, given: Any, shown: list[Any]) -> None:
    leyden.log_image("val/pred", given, step=3, caption="cat")
    found = opened(record)
    assert len(found) == len(shown)
    for one, expected in zip(found, shown, strict=True):
        np.testing.assert_allclose(one, expected, atol=1)
    first = the_media(record)[0]
    assert (first.kind, first.name, first.step, first.caption) == ("image", "val/pred", 3, "cat")
    assert first.file == "media/val/pred/3-0.png"


def test_figures_of_matplotlib(record: run.Run) -> None:
    plain = Figure(figsize=(2, 1), dpi=50, facecolor="red")  # has no canvas to be drawn on
    axes = plain.add_subplot()
    axes.plot([0, 1], [1, 0])
    canvas = plain.canvas
    leyden.log_image("fig", [plain, axes])
    assert plain.canvas is canvas
    drawn = Figure(figsize=(2, 1), dpi=50, facecolor="red")
    FigureCanvasAgg(drawn)
    drawn.add_subplot().plot([0, 1], [1, 0])
    leyden.log_image("fig", drawn)
    first, second, third = opened(record)
    assert first.shape == (50, 100, 4)
    assert first[0, 0].tolist() == [255, 0, 0, 255]
    assert (first == second).all()
    assert (first == third).all()
    assert len(np.unique(first.reshape(-1, 4), axis=0)) > 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((3, 8, 8)), r"transpose\(1, 2, 0\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.full((2, 2), 300), "from 300 to 300"),
        (np.zeros((2, 2), complex), "complex"),
        ("cat.png", "it is a str"),
        ([], "0 pictures"),
        (torch.zeros(8, 8, 3), "channels × height × width"),
    ],
)
def test_what_is_no_picture(record: run.Run, given: Any, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        leyden.log_image("a", given)
    assert not (record.path / "media").exists()


def test_floats_far_outside_are_cut_and_told() -> None:
    with pytest.warns(UserWarning, match="reach from -2 to 2"):
        data = pictures.png(np.array([[[-2.0], [math.nan], [0.5], [2.0]]]), "x")
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == [[0, 0, 128, 255]]


def test_the_picture_is_that_of_the_moment(record: run.Run) -> None:
    for pixels in (GREY.copy(), torch.from_numpy(GREY.copy())):
        gate = threading.Event()
        record.clerk.give(lambda gate=gate: gate.wait() and None)  # type: ignore[misc]
        leyden.log_image("a", pixels)
        pixels[:] = 99
        gate.set()
    first, second = opened(record)
    assert (first == GREY).all()
    assert (second == GREY).all()


def test_the_training_thread_only_copies(record: run.Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    start = time.thread_time()
    for step in range(20):
        leyden.log_image("a", pixels, step)
    spent = (time.thread_time() - start) / 20
    start = time.thread_time()
    pictures.png(pixels)
    assert spent < (time.thread_time() - start) / 4
    assert len(the_media(record)) == 20


def test_tables(record: run.Run) -> None:
    leyden.log_table("t", [[1, math.nan, {"a": math.inf}], [np.float32(2.5), "<b>", None]], columns=["x", "y", "z"])
    assert content(record) == {"columns": ["x", "y", "z"], "rows": [[1, "nan", {"a": "inf"}], [2.5, "<b>", None]]}


class Frame:
    """What is used of a pandas or Polars frame."""

    columns = ("a", "b")

    def to_dict(self) -> None: ...

    def __getitem__(self, name: str) -> Frame:
        return self

    def to_list(self) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1, 2], "b": (1, 2)},
        [{"a": 1, "b": 1}, {"b": 2, "a": 2}],
        {"a": np.array([1, 2]), "b": range(1, 3)},
        Frame(),
    ],
)
def test_tables_of_columns(record: run.Run, data: Any) -> None:
    leyden.log_table("t", data, columns=["b", "a"])
    assert content(record) == {"columns": ["b", "a"], "rows": [[1, 1], [2, 2]]}


@pytest.mark.parametrize(
    ("data", "columns", "words"),
    [
        ([[1, 2]], None, "without columns"),
        ([[1, 2], [1]], ["a", "b"], "row 1 has 1 cells"),
        ({"a": [1], "b": []}, None, "differ in length"),
        ({"a": [1]}, ["b"], "no column 'b'"),
        ("text", None, "it is 'text'"),
        (np.zeros((2_000_001, 1)), ["a"], "2,000,001 rows"),
    ],
)
def test_what_is_no_table(record: run.Run, data: Any, columns: list[str] | None, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        leyden.log_table("t", data, columns=columns)


def test_histograms(record: run.Run) -> None:
    leyden.log_histogram("h", torch.tensor([[0.0, 1.0], [math.nan, math.inf]]), bins=2)
    assert content(record) == {"counts": [1, 1], "edges": [0.0, 0.5, 1.0], "nan": 1, "low": 0, "high": 1}


def test_histograms_that_were_counted(record: run.Run) -> None:
    leyden.log_histogram("h", counts=[3, 4], edges=[0, 1, 4])
    assert content(record) == {"counts": [3, 4], "edges": [0.0, 1.0, 4.0], "nan": 0, "low": 0, "high": 0}


@pytest.mark.parametrize("values", [[], [math.nan], [7], [True, False], [2**70]])
def test_odd_histograms(record: run.Run, values: Any) -> None:
    leyden.log_histogram("h", values, bins=1)
    assert sum(content(record)["counts"]) == sum(math.isfinite(value) for value in values)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "either values, or counts and edges"),
        ({"values": ["a"]}, "no numbers"),
        ({"values": [1j]}, "no numbers"),
        ({"values": [1], "bins": 0}, "bins=0"),
        ({"counts": [1, 2], "edges": [0, 1]}, "2 counts came with 2 edges"),
        ({"counts": [1], "edges": [1, 0]}, "do not grow"),
    ],
)
def test_what_is_no_histogram(record: run.Run, how: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        leyden.log_histogram("h", **how)


def test_texts_and_steps(record: run.Run) -> None:
    leyden.log({"loss": 1.0}, step=41)
    leyden.log_text("sample", "größe \ud800")
    leyden.log_text("sample", "again")
    leyden.log_text("sample", "back", step=2)
    found = the_media(record)
    assert [(one.step, one.file) for one in found] == [
        (41, "media/sample/41-0.txt"),
        (41, "media/sample/41-1.txt"),
        (2, "media/sample/2-0.txt"),
    ]
    assert (record.path / found[0].file).read_text() == "größe ?"
    with pytest.raises(RecordError, match="has 20,000,000 bytes"):
        leyden.log_text("long", "x" * 20_000_000)


def test_two_ranks_and_attempts_never_share_a_file(tmp_path: Path) -> None:
    for attempt, rank in ((1, 0), (1, 1), (2, 0)):
        one = run.open_run(tmp_path, attempt=attempt, rank=rank)
        leyden.log_text("t", f"{attempt} {rank}", step=0)
        assert one.flush()
    found = list(media.read(tmp_path))
    assert sorted((tmp_path / one.file).read_text() for one in found) == ["1 0", "1 1", "2 0"]


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a//b", ".", "a\0b", "x" * 999, "a1-r0.jsonl", "<script>"])
def test_no_name_leads_out_of_the_folder(record: run.Run, name: str) -> None:
    leyden.log_text(name, "hello", step=1)
    [one] = the_media(record)
    path = (record.path / one.file).resolve()
    assert (one.name, path.read_text()) == (name, "hello")
    assert path.is_relative_to(record.path / "media")
    assert folder_of("a//b") != folder_of("a/b")


def test_a_name_of_ten_kilobytes_is_an_error(record: run.Run) -> None:
    for log in (leyden.log_text, leyden.log_image, leyden.log_table, leyden.log_histogram):
        with pytest.raises(RecordError, match="has 10,000 bytes"):
            log("x" * 10_000, GREY)  # type: ignore[arg-type]


def test_a_full_disk_keeps_pictures_until_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        one = run.open_run(disk, attempt=1, rank=0)
        leyden.log_text("t", "before")
        assert one.flush()
        room = os.statvfs(disk)
        filler = disk / "filler"
        filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            leyden.log_text("t", "after" * 1000)
            leyden.config["lr"] = 0.5
            assert not one.flush(timeout_s=0.2)
        assert "tried again. Make room" in str(said[0].message)
        filler.unlink()
        one.finish()
        assert [(disk / found.file).read_text()[:6] for found in media.read(disk)] == ["before", "aftera"]
        assert json.loads((disk / "config.json").read_text()) == {"lr": 0.5}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_pictures_that_come_too_fast_are_left_out_and_told() -> None:
    gate, done = threading.Event(), []
    clerk = Clerk("x", most_bytes=100)
    clerk.give(lambda: gate.wait() and None)  # type: ignore[arg-type]
    clerk.give(lambda: done.append(0), 60)
    with pytest.warns(UserWarning, match="some are left out"):
        clerk.give(lambda: done.append(1), 60)
    clerk.give(lambda: done.append(2), 60)
    gate.set()
    clerk.close()
    assert done == [0]
    clerk.give(lambda: done.append(9))
    clerk.close()
    assert done == [0, 9]


def test_torn_lines_of_the_index_are_passed_over(record: run.Run) -> None:
    leyden.log_text("t", "one")
    assert record.flush()
    index = record.path / "media" / "a1-r0.jsonl"
    index.write_bytes(b'{"kind": "ima\n[]\n\xff\n{"step": 1e999}\n' + index.read_bytes() + b'{"kind"')
    assert [one.name for one in media.read(record.path)] == ["t"]

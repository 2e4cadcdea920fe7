"""Is what a script says of its run kept: nested names, config, summary, tags, files; and what is wrong refused?"""

from __future__ import annotations

import enum
import json
import math
import os
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import leyden
from leyden.core.errors import RecordError
from leyden.track import names, run
from leyden.track.read import read_run
from leyden.track.writer import MetricWriter


@pytest.fixture
def record(tmp_path: Path) -> run.Run:
    return run.start(tmp_path / "leyden_runs")


def written(record: run.Run, name: str) -> Any:
    assert record.flush()
    return json.loads((record.path / name).read_text())


def points(record: run.Run) -> dict[str, list[float]]:
    record.writer.flush()
    return {name: list(series.values) for name, series in read_run(record.path).items()}


def test_nested_names(record: run.Run) -> None:
    leyden.log({"loss": 1, "val": {"loss": 2.0, "acc": {"top1": np.float32(0.5), "top5": torch.tensor([0.75])}}})
    assert points(record) == {"loss": [1], "val/loss": [2], "val/acc/top1": [0.5], "val/acc/top5": [0.75]}


def test_values_are_those_of_the_moment(record: run.Run) -> None:
    total, row = torch.tensor(1.0, requires_grad=True), {"a": 1.0}
    leyden.log({"total": total})
    leyden.log(row)
    with torch.no_grad():
        total += 5
    row["a"] = 7.0
    assert points(record) == {"total": [1], "a": [1]}


def test_a_name_that_came_as_a_number_may_come_as_a_tensor_or_a_mistake(record: run.Run) -> None:
    """`log` knows by then that its values were plain, and must look all the same."""
    total = torch.tensor(2.0)
    for value in (1.0, total, {"x": 3.0}, np.float64(4), True, 5, np.array([6.0])):
        leyden.log({"a": value, "b": 0})
        total += 10
    for wrong in ("high", None, [1.0], 1j, torch.zeros(2)):
        with pytest.raises(RecordError, match="metric 'a' was logged"):
            leyden.log({"b": 0, "a": wrong})
    for step in (1 << 63, -(1 << 64), 0.5):
        with pytest.raises(RecordError, match="64 bits"):
            leyden.log({"b": 0}, step=step)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="1,001 bytes"):
        leyden.log({"b": 0, "x" * 1001: 0})
    leyden.log({"b": 9})
    assert points(record) == {"a": [1, 12, 4, 1, 5, 6], "a/x": [3], "b": [0] * 7 + [9]}
    assert list(read_run(record.path)["b"].steps) == list(range(8))


def test_numbers_of_all_kinds(record: run.Run) -> None:
    leyden.log(
        {"huge": 10**400, "least": -(10**400), "one": np.array([[3]]), "bf16": torch.tensor(2, dtype=torch.bfloat16)}
    )
    assert points(record) == {"huge": [math.inf], "least": [-math.inf], "one": [3], "bf16": [2]}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"x" * 1001: 1.0}, "has 1,001 bytes"),
        ({"val": {"é" * 500: 1.0}}, "has 1,004 bytes"),
        ({"\ud800": 1.0}, "no text"),
        ({1: 1.0}, "no text"),
        ({"a": {"b": "high"}}, "metric 'a/b' was logged; its value is 'high'"),
        ({"a": np.zeros(3)}, "log_histogram, log_image"),
        ({"a": torch.tensor(1j)}, "its value is"),
        ([1.0], "not a dict"),
        (0.5, "not a dict"),
    ],
)
def test_mistakes(record: run.Run, metrics: Any, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        leyden.log(metrics)
    assert points(record) == {}


def test_a_dict_within_itself(record: run.Run) -> None:
    knot: dict[str, Any] = {}
    knot["a"] = knot
    with pytest.raises(RecordError, match="32 deep"):
        leyden.log(knot)


@pytest.mark.parametrize("step", [0.5, "3", 1 << 64, -(1 << 64)])
def test_what_is_no_step(record: run.Run, step: Any) -> None:
    with pytest.raises(RecordError, match="whole number of 64 bits"):
        leyden.log({"a": 1.0}, step=step)


def test_steps_of_all_kinds(record: run.Run) -> None:
    for step in (np.int64(7), torch.tensor(3), True, -5, (1 << 63) - 1):
        leyden.log({"a": 1.0}, step=step)
    record.writer.flush()
    assert list(read_run(record.path)["a"].steps) == [7, 3, 1, -5, (1 << 63) - 1]


def test_too_many_names_are_left_out_and_told(record: run.Run) -> None:
    record._names = names.Names(most=3)
    leyden.log({"a": 1.0, "b": 1.0})
    with pytest.warns(UserWarning, match="3 distinct metric names, as many as are kept; further names, such as 'd'"):
        leyden.log({"c": 1.0, "d": 1.0, "a": 2.0})
    for step in range(5):
        leyden.log({f"step{step}": 1.0, "a": 3.0})
    assert points(record) == {"a": [1, 2, 3, 3, 3, 3, 3], "b": [1], "c": [1], names.DROPPED: [1, 2, 3, 3, 3, 3]}


def test_names_without_end_cost_little(record: run.Run) -> None:
    start = time.thread_time()
    with pytest.warns(UserWarning, match="99,000 distinct metric names"):
        leyden.log({f"n{number}": 0.0 for number in range(1_000_000)})
    assert time.thread_time() - start < 5
    record.writer._rows.clear()  # to read a hundred thousand names takes seconds
    assert len(record._names.known) == 99_000


def test_rows_wide_and_long_stay_readable(tmp_path: Path) -> None:
    writer = MetricWriter(tmp_path / "metrics" / "a1-r0.frames", drain_s=60)
    wide = {f"n{number}": float(number) for number in range(25_000)}
    for step in range(45):
        writer.add(step, wide)
    writer.close()
    found = read_run(tmp_path)
    assert len(found) == 25_000
    assert list(found["n24999"].values) == [24999.0] * 45
    assert list(found["n7"].steps) == list(range(45))


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Net:
    width: int = 8


def test_config(record: run.Run) -> None:
    leyden.config["lr"] = np.float64(0.1)
    leyden.log_config({"model": {"net": Net(), "act": Namespace(kind=Colour.RED)}, "sizes": (1, 2), "path": Path("a")})
    leyden.config.update(lr=0.2, dtype=torch.float32, nothing=None, inf=math.inf)
    leyden.config({"flag": True})
    expected = {
        "lr": 0.2,
        "model": {"net": {"width": 8}, "act": {"kind": "red"}},
        "sizes": [1, 2],
        "path": "a",
        "dtype": "torch.float32",
        "nothing": None,
        "inf": math.inf,
        "flag": True,
    }
    assert written(record, "config.json") == dict(leyden.config) == expected
    assert leyden.config.lr == 0.2
    assert "lr" in leyden.config
    assert repr(leyden.config).startswith("{'lr': 0.2")
    assert leyden.config.setdefault("lr", 5) == 0.2
    with pytest.raises(AttributeError, match="the run has no 'speed'"):
        _ = leyden.config.speed
    del leyden.config["flag"]
    assert "flag" not in written(record, "config.json")


def test_summary_tags_and_notes(record: run.Run) -> None:
    leyden.summary["best"] = 0.5
    leyden.summary({"val": {"acc": math.nan}})
    leyden.log_summary({"best": 0.75})
    found = written(record, "summary.json")
    assert math.isnan(found.pop("val/acc"))
    assert found == {"best": 0.75}
    leyden.init(project="digits", name="first", tags=["baseline", "a"], notes="hello", config={"lr": 1})
    leyden.tag("a", " b ")
    assert written(record, "tags.json") == {"project": "digits", "note": "hello", "tags": ["baseline", "a", "b"]}
    assert written(record, "run.json")["name"] == "first"
    assert written(record, "config.json") == {"lr": 1}
    for wrong in ("", "x" * 201, 3):
        with pytest.raises(RecordError, match="1 to 200 characters"):
            leyden.tag(wrong)  # type: ignore[arg-type]
    for call in (leyden.log_config, leyden.log_summary):
        with pytest.raises(RecordError, match="it is a list"):
            call([1])  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="log_table or log_artifact"):
        leyden.config["all"] = "x" * 20_000_000
    assert "all" not in leyden.config


def test_other_ranks_write_no_facts(tmp_path: Path) -> None:
    other = run.open_run(tmp_path, attempt=1, rank=1)
    leyden.config["lr"] = 1
    assert leyden.config["lr"] == 1
    assert other.flush()
    assert list(tmp_path.iterdir()) == []


def test_init_opens_where_it_is_told(tmp_path: Path) -> None:
    with leyden.init(dir=tmp_path / "there") as one:
        one.log({"a": 1})
    assert one.path.parent == tmp_path / "there" / "leyden_runs"
    assert json.loads((one.path / "finished.json").read_text())["state"] == "finished"


def test_artifacts(record: run.Run, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(b"one")
    assert leyden.log_artifact(model) == record.path / "artifacts" / "model.pt"
    model.write_bytes(b"two")
    assert (record.path / "artifacts" / "model.pt").read_bytes() == b"one"
    leyden.log_artifact(str(model))
    linked = leyden.log_artifact(model, "best/linked.pt", link=True)
    assert (record.path / "artifacts" / "model.pt").read_bytes() == b"two"
    assert linked.stat().st_ino == model.stat().st_ino
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("x")
    leyden.log_artifact(tmp_path / "tree", "data")
    (tmp_path / "tree" / "deep" / "file").unlink()
    (tmp_path / "tree" / "other").write_bytes(b"")
    leyden.log_artifact(tmp_path / "tree", "data")
    kept = {path.relative_to(record.path).as_posix() for path in record.path.rglob("*") if path.is_file()}
    assert kept == {"run.json", "artifacts/model.pt", "artifacts/best/linked.pt", "artifacts/data/other"}


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("missing", None, "there is no such file"),
        ("here", "../up", "leads out"),
        ("here", "/etc/passwd", "leads out"),
        ("here", "a//b", "leads out"),
        (".", None, "the run's own record lies in it"),
    ],
)
def test_what_is_no_artifact(record: run.Run, path: str, name: str | None, words: str) -> None:
    Path("here").write_text("x")
    with pytest.raises(RecordError, match=words):
        leyden.log_artifact(path, name)
    assert not (record.path / "artifacts").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is made by mounting one")
def test_an_artifact_that_has_no_room_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {disk} 2>/dev/null"):
        pytest.skip("mount is not allowed here")
    try:
        run.open_run(disk, attempt=1, rank=0)
        big = tmp_path / "big"
        big.write_bytes(b"x" * 1_000_000)
        with pytest.raises(RecordError, match="no space left"):
            leyden.log_artifact(big)
        assert [path for path in disk.rglob("*") if path.is_file()] == []
    finally:
        os.system(f"umount {disk}")


def test_all_public_names_load() -> None:
    for name in leyden.__all__:
        assert getattr(leyden, name) is not None

"""Do TensorBoard's own files become runs, whole, and does TensorBoard itself read those written from a run?"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from leyden.core.errors import RecordError
from leyden.core.ids import is_id
from leyden.track import boards, media, tfevents
from leyden.track.boards import Board
from leyden.track.read import read_run
from leyden.track.run import Run

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
NUMBERS = np.random.default_rng(0).normal(size=1000)


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    with SummaryWriter(str(root / "exp" / "one")) as writer:
        for step in range(50):
            writer.add_scalar("loss", 1 / (step + 1), step)
            writer.add_scalar("nested/acc", step, step)
        writer.add_scalar("odd", math.nan, -3)
        writer.add_scalar("wrapped", 3.5, 7, new_style=True)
        writer.add_image("pic", PIXELS, 3, dataformats="HWC")
        writer.add_text("note", "hello **größe**", 4)
        writer.add_histogram("weights", NUMBERS, 5)
    with SummaryWriter(str(root / "exp" / "two")) as writer:
        writer.add_hparams({"lr": 0.1, "opt": "adam"}, {"acc": 0.9}, run_name=".")
    return root


def the_board(logdir: Path, name: str) -> Board:
    return next(one for one in boards.find(logdir) if one.name == name)


def test_a_folder_becomes_a_run(logdir: Path, tmp_path: Path) -> None:
    assert [one.name for one in boards.find(logdir)] == ["exp/one", "exp/two"]
    run = boards.read(the_board(logdir, "exp/one"), tmp_path / "a")
    assert is_id(run.name)
    assert boards.read(the_board(logdir, "exp/one"), tmp_path / "b").name == run.name
    series = read_run(run)
    assert list(series["loss"].steps) == list(range(50))
    assert list(series["loss"].values) == pytest.approx([1 / (step + 1) for step in range(50)])
    assert (len(series["nested/acc"].steps), series["odd"].steps[0], series["wrapped"].values[0]) == (50, -3, 3.5)
    assert math.isnan(series["odd"].values[0])
    found = {one.kind: one for one in media.read(run)}
    assert (found["image"].name, found["image"].step) == ("pic", 3)
    np.testing.assert_array_equal(np.asarray(Image.open(run / found["image"].file)), PIXELS)
    assert (run / found["text"].file).read_text() == "hello **größe**"
    bars = json.loads((run / found["histogram"].file).read_text())
    assert (sum(bars["counts"]), len(bars["edges"])) == (1000, len(bars["counts"]) + 1)
    assert bars["edges"][0] == pytest.approx(NUMBERS.min())
    assert bars["edges"] == sorted(bars["edges"])
    assert json.loads((run / "finished.json").read_text())["state"] == "finished"


def test_hyperparameters(logdir: Path, tmp_path: Path) -> None:
    run = boards.read(the_board(logdir, "exp/two"), tmp_path / "a")
    assert json.loads((run / "config.json").read_text()) == {"lr": 0.1, "opt": "adam"}
    assert read_run(run)["acc"].values[0] == pytest.approx(0.9)


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    for rank in (0, 1):
        one = Run(tmp_path / "run", attempt=1, rank=rank)
        for step in range(10):
            one.log({"loss": 1 / (step + 1), "inf": math.inf, "huge": 1e300, "größe": rank}, step=step - 3)
        one.finish()
    assert boards.write(tmp_path / "run", tmp_path / "out") == 80
    for folder, rank in ((tmp_path / "out", 0), (tmp_path / "out" / "rank1", 1)):
        [file] = folder.glob("events.out.tfevents.*")
        alone = tmp_path / f"alone{rank}"
        alone.mkdir()
        file.rename(alone / file.name)
        read = EventAccumulator(str(alone))
        read.Reload()
        points = read.Scalars("loss")
        assert [one.step for one in points] == list(range(-3, 7))
        assert [one.value for one in points] == pytest.approx([1 / (step + 1) for step in range(10)])
        assert [one.value for one in read.Scalars("größe")] == [rank] * 10
        assert [read.Scalars(name)[0].value for name in ("inf", "huge")] == [math.inf, math.inf]


def test_the_checksum_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with_library = tfevents._crc32c(b"123456789")
    monkeypatch.setitem(__import__("sys").modules, "google_crc32c", None)
    assert tfevents._crc32c(b"123456789") == with_library == 0xE3069283


def test_torn_and_foreign_files(logdir: Path, tmp_path: Path) -> None:
    [file] = (logdir / "exp" / "one").glob("events*")
    data = file.read_bytes()
    generator = np.random.default_rng(1)
    for number in range(60):
        hurt = bytearray(data[: generator.integers(len(data))])
        for place in generator.integers(0, max(1, len(hurt)), 3 if number % 2 else 0):
            hurt[place : place + 1] = generator.bytes(1)
        file.write_bytes(hurt)
        assert len(list(tfevents.read(file))) <= 106
    file.write_bytes(b"")
    with pytest.raises(RecordError, match="hold nothing"):
        boards.read(the_board(logdir, "exp/one"), tmp_path / "a")
    with pytest.raises(RecordError, match="no metrics"):
        boards.write(tmp_path / "nothing", tmp_path / "out")
    assert io.BytesIO(data).read(8)

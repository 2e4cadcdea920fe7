"""Do TensorBoard's own files become runs, whole, and does TensorBoard itself read those written from a run?"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import plugin_data_pb2
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
        frames = [Image.new("L", (6, 4), shade) for shade in (0, 99, 200)]
        gif = io.BytesIO()
        frames[0].save(gif, "gif", save_all=True, append_images=frames[1:])
        picture = Summary.Image(height=4, width=6, colorspace=1, encoded_image_string=gif.getvalue())
        other = Summary.Image(encoded_image_string=b"what?")
        pictures = [Summary.Value(tag="video", image=picture), Summary.Value(tag="odd one", image=other)]
        pair = TensorProto(
            dtype=7, string_val=[b"6", b"4", gif.getvalue(), gif.getvalue()]
        )  # as TensorFlow 2 logs some
        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="images"))
        pictures.append(Summary.Value(tag="pair", tensor=pair, metadata=about))
        writer._get_file_writer().add_summary(Summary(value=pictures), 6)
        writer.add_figure("plot", Figure(figsize=(2, 1), dpi=50), 7)
        writer.add_pr_curve("pr", np.array([0, 1]), np.array([0.1, 0.9]), 1)
        writer.add_audio("tone", np.zeros((1, 10), np.float32), 1)
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
    pictures = [one for one in media.read(run) if one.kind == "image"]
    assert [(one.name, one.step) for one in pictures] == [
        ("pic", 3), ("video", 6), ("pair", 6), ("pair", 6), ("plot", 7),
    ]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(Image.open(run / pictures[0].file)), PIXELS)
    assert [Path(one.file).suffix for one in pictures] == [".png", ".gif", ".gif", ".gif", ".png"]
    with Image.open(run / pictures[1].file) as video, Image.open(run / pictures[4].file) as plot:
        assert (video.n_frames, plot.size) == (3, (100, 50))  # type: ignore[attr-defined]
    note = json.loads((run / "tags.json").read_text())["note"]
    assert note == "Left out: 1 of audio, 1 of images of another format, 1 of pr_curves"
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
    assert boards.write(tmp_path / "run", tmp_path / "out").points == 80
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


def test_media_and_config_are_written_too(logdir: Path, tmp_path: Path) -> None:
    run = boards.read(the_board(logdir, "exp/one"), tmp_path / "a")
    (run / "config.json").write_text(json.dumps({"lr": 0.1, "net": {"act": "relu", "sizes": [1, 2]}, "amp": True}))
    table = media.Medium(kind="table", name="t", step=0, at=1.0, file="")
    media.Media(run, attempt=1, rank=1).write(table, ".json", lambda: b"{}")
    written = boards.write(run, tmp_path / "out")
    assert (written.points, written.media, written.tables) == (102, 7, 1)
    read = EventAccumulator(str(tmp_path / "out"))
    read.Reload()
    [shown] = read.Images("pic")
    assert (shown.step, shown.width, shown.height) == (3, 7, 5)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.encoded_image_string))), PIXELS)
    assert (read.Images("video")[0].width, read.Images("video")[0].height) == (6, 4)
    [bars] = read.Histograms("weights")
    assert bars.histogram_value.num == 1000
    assert bars.histogram_value.sum == pytest.approx(NUMBERS.sum(), abs=20)
    assert read.Tensors("note")[0].tensor_proto.string_val == ["hello **größe**".encode()]
    content = read.summary_metadata[tfevents.SESSION].plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert (given["lr"].number_value, given["net.act"].string_value, given["amp"].bool_value) == (0.1, "relu", True)
    again = boards.read(boards.find(tmp_path / "out")[0], tmp_path / "b")
    names = sorted((one.kind, one.name, one.step) for one in media.read(run) if one.kind != "table")
    assert sorted((one.kind, one.name, one.step) for one in media.read(again)) == names
    assert json.loads((again / "config.json").read_text())["net.sizes"] == "[1, 2]"


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
        assert len(list(tfevents.read(file))) <= 112
    file.write_bytes(b"")
    with pytest.raises(RecordError, match="hold nothing"):
        boards.read(the_board(logdir, "exp/one"), tmp_path / "a")
    with pytest.raises(RecordError, match="no metrics"):
        boards.write(tmp_path / "nothing", tmp_path / "out")
    assert io.BytesIO(data).read(8)

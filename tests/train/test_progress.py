"""Is what a person sees of training right, on a terminal and in a log?"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset, IterableDataset

import leyden
from leyden.track.read import read_run
from leyden.train import progress
from leyden.train.logs import share
from tests.train.models import Line, loader, regression

SCRIPT = """
import leyden
from tests.train.models import Line, loader
trainer = leyden.Trainer(max_epochs=2, accelerator="cpu")
trainer.fit(Line(), loader(), loader(8))
trainer.test(Line(), loader(16))
"""


def test_plain_lines_say_epoch_batches_and_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    plain = progress.Plain(every_s=0)
    plain.begin("epoch 1/3", 40)
    plain.update(10, {"loss": 0.25})
    plain.end(40, {"loss": 0.125})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 1/3  10/40 +[\d.e+]+ it/s  loss 0.25", first)
    assert re.fullmatch(r"epoch 1/3  40/40 +[\d.e+]+ it/s  loss 0.125 +in [\d.]+s", second)


class Slowly(Line):
    """As if a second went by with every batch of validation."""

    now = 0.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        Slowly.now += 1
        super().validation_step(batch, batch_idx)


def test_a_long_validation_does_not_move_the_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: Slowly.now)
    monkeypatch.setattr(progress.Plain, "every_s", 0)
    run = leyden.Trainer(max_epochs=1, accelerator="cpu", val_check_interval=0.5, num_sanity_val_steps=0)
    run.fit(Slowly(), loader(), loader(64))
    lines = [" ".join(line.split()[:4]) for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert lines == [*(f"epoch 1/1 validation {done}/8" for done in (5, 2, 7)), "epoch 1/1 8/8 0.5"]


def test_a_log_gets_plain_lines(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Line: 49 parameters, on cpu, 32-true; record in")
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1/2", "epoch 2/2", "test"]
    assert "\x1b" not in done.stdout


def test_a_terminal_gets_a_bar_and_is_left_clean(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "120"}
    master, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environ, stdout=terminal)
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(master, 65536):
            output += chunk
    except OSError:  # the other end is closed: how Linux says end of file on a terminal
        pass
    os.close(master)
    assert process.wait(60) == 0
    text = output.decode()
    assert "━" in text
    assert re.search(r"epoch 2/2  8 batches  [\d.e+]+ it/s  train_loss [\d.]+", text)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0  # the cursor hidden as often as shown again


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Slow(Dataset[Any]):
    """Takes 4 ms for a sample, as decoding a picture may."""

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> Any:
        spin(0.004)
        return regression(8)[index % 8]


class Busy(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        spin(0.004)
        return super().training_step(batch, batch_idx)


class Shown(leyden.Callback):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        assert trainer._fit is not None
        self.values = trainer._fit.shown()


@pytest.mark.parametrize(("kind", "data", "waits"), [(Line, Slow(), True), (Busy, regression(200), False)])
def test_the_wait_for_data_is_shown_where_it_counts(kind: type[Line], data: Any, waits: bool) -> None:
    shown = Shown()
    run = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[shown])
    run.fit(kind(), DataLoader(data, batch_size=1))
    assert ("data wait %" in shown.values) is waits
    assert 50 < shown.values.get("data wait %", 80) <= 100
    assert "data wait % 80 " in progress.words({"data wait %": 80.0})


class Endless(IterableDataset[Any]):
    """Eight batches of one, of which nobody knows how many they are."""

    def __iter__(self) -> Iterator[Any]:
        return iter(regression(8))


class Stops(leyden.Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.global_step >= 5


def shares(root: Path, data: Any, *callbacks: leyden.Callback, ckpt_path: str | None = None, **bounds: Any) -> Any:
    """What the record of a training was told of how much is done, and its checkpoint."""
    run = leyden.Trainer(
        accelerator="cpu", enable_progress_bar=False, log_every_n_steps=1, callbacks=list(callbacks),
        default_root_dir=root, **bounds,
    )  # fmt: skip
    run.fit(Line(), data, ckpt_path=ckpt_path)
    assert run.run is not None
    assert run.checkpoint_callback is not None
    found = read_run(run.run.path).get("system/progress")
    run.run.finish()
    return list(found.values) if found else None, run.checkpoint_callback.last_model_path


def test_the_record_is_told_how_much_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight, endless = DataLoader(regression(8)), DataLoader(Endless())
    assert shares(tmp_path, eight, max_epochs=2)[0] == [0, 1]  # within a second
    monkeypatch.setattr(share, "EVERY_S", 0)
    assert shares(tmp_path, eight, max_epochs=2)[0] == [step / 16 for step in range(17)]
    assert shares(tmp_path, eight, max_epochs=2, max_steps=4)[0] == [0, 0.25, 0.5, 0.75, 1]
    assert shares(tmp_path, endless, max_epochs=2)[0] == [0, 0.5, 1]
    assert shares(tmp_path, eight, Stops(), max_epochs=-1)[0] is None
    timed, _ = shares(tmp_path, eight, Stops(), max_time={"hours": 1})
    assert 0 < timed[-1] < 0.1
    part, checkpoint = shares(tmp_path, eight, Stops(), max_epochs=2)
    assert part == [step / 16 for step in range(6)]
    assert shares(tmp_path, eight, ckpt_path=checkpoint, max_epochs=2)[0] == [step / 16 for step in range(5, 17)]


def test_a_prediction_tells_how_much_is_done_and_a_test_after_training_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "EVERY_S", 0)
    monkeypatch.setattr(progress.Silent, "every_s", 0)
    run = leyden.Trainer(accelerator="cpu", max_epochs=1, enable_progress_bar=False, default_root_dir=tmp_path)
    data = DataLoader(regression(4))
    run.predict(Line(), data)
    assert run.run is not None
    assert list(read_run(run.run.path)["system/progress"].values) == [0.25, 0.5, 0.75, 1]
    run.fit(Line(), data)
    run.test(Line(), data)
    assert list(read_run(run.run.path)["system/progress"].values)[4:] == [0, 0.25, 0.5, 0.75, 1]

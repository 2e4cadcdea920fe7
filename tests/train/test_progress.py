"""Is what a person sees of training right, on a terminal and in a log?"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.train import progress

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

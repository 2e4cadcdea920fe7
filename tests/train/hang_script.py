"""What test_watchdog.py runs as `python hang_script.py MODE`: one rank stops doing its part at step 5."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import leyden
from tests.train.models import Line, loader


class Turn(leyden.Callback):
    """Something happens at step 5 on the rank that WHO names; before that all ranks are busy for BUSY_S seconds."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2 and "BUSY_S" in os.environ:
            time.sleep(float(os.environ["BUSY_S"]))
        if trainer.global_step == 5 and os.environ["RANK"] == os.environ["WHO"]:
            if sys.argv[1] == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if sys.argv[1] == "endless":
                turn_in_circles()


class Slow(Line):
    """Takes its time over what others wait for without a time-out."""

    def prepare_data(self) -> None:
        time.sleep(float(os.environ.get("BUSY_S", "0")))


def turn_in_circles() -> None:
    while True:
        pass


if __name__ == "__main__":
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": os.environ["DEVICES"], "max_epochs": 1}
    leyden.Trainer(callbacks=[Turn()], enable_progress_bar=False, **settings).fit(Slow(), loader(64, 2))

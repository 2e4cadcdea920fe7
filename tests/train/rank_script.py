"""What the tests of several ranks run as `python rank_script.py MODE … [then MODE …]`, by one launch.

Each rank writes what it found as JSON, by mode and its arguments.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import leyden
from leyden.train.checkpoints import checkpoint
from tests.train.models import Line, loader, regression, seeded


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def digest(module: nn.Module) -> list[list[float]]:
    return [value.double().flatten().tolist() for value in module.state_dict().values()]


class Seen(Line):
    """Remembers which samples it was given; their first feature names them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.tested: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += batch[0][:, 0].tolist()
        return super().training_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.tested += batch[0][:, 0].tolist()
        super().test_step(batch, batch_idx)


class ByHand(Line):
    """Optimizes in training_step, each step over two losses."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(0.5 * loss)
        self.manual_backward(0.5 * (self.net(batch[0]) - batch[1]).square().mean())
        self.optimizers().step()
        self.optimizers().zero_grad()


class Deep(Line):
    """A module with blocks, and parameters of its own beside them."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(dropout)) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(1))
        self.net = nn.Sequential(nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", (self(batch[0]) - batch[1]).square().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", (self(batch[0]) - batch[1]).square().mean())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x) * self.scale
        return self.net(x)  # type: ignore[no-any-return]


class Turn(leyden.Callback):
    """Something happens on one rank at step 5, or 9."""

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step != (9 if self.what == "time" else 5):
            return
        if self.what == "raise" and rank() == 1:
            raise ValueError("rank 1 gives up")
        if self.what == "die" and rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "signal" and rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.what == "time" and rank() == 1:
            os.kill(os.getpid(), signal.SIGUSR2)
        if self.what == "wait" and rank() == 0:
            Path(os.environ["RESULTS"], "reached").write_text(str(os.getpid()))
            time.sleep(60)  # until the test kills this process


def main() -> None:
    told: dict[str, Any] = {}
    for part in " ".join(sys.argv[1:]).split(" then "):
        print(f"now {part}", flush=True)
        told[part] = find(*part.split())
    Path(os.environ["RESULTS"], f"rank{rank()}.json").write_text(json.dumps(told))


def find(mode: str, *rest: str) -> dict[str, Any]:
    """What this rank found in one mode."""
    devices: Any = os.environ.get("DEVICES", "2")
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": devices, "enable_progress_bar": False}
    if mode == "samples":
        model = Seen()
        trainer = leyden.Trainer(max_epochs=2, **settings)
        trainer.fit(model, loader(21, 4, shuffle=True))
        [scores] = trainer.test(model, loader(21, 4))
        return {"seen": model.seen, "tested": model.tested, "scores": scores, "digest": digest(model)}
    if mode == "equal":  # two ranks with batches of 4 against one rank with batches of 8
        line = seeded()
        size = 8 // int(devices)
        leyden.Trainer(max_epochs=3, **settings).fit(line, loader(64, size))
        return {"digest": digest(line), "threads": torch.get_num_threads()}
    if mode == "hand":  # the same by hand: gradients are exchanged in manual_backward
        leyden.seed_everything(7 + rank())  # the ranks start differently and are brought together
        size = 8 // int(devices)
        by_hand = ByHand()
        if int(devices) == 1 or rank() == 0:
            leyden.seed_everything(7)
            by_hand = ByHand()
        leyden.Trainer(max_epochs=3, **settings).fit(by_hand, loader(64, size))
        return {"digest": digest(by_hand)}
    if mode == "resume":
        leyden.seed_everything(3)
        line = Line(dropout=0.3)
        saves = leyden.ModelCheckpoint(every_n_train_steps=2)
        trainer = leyden.Trainer(max_epochs=3, callbacks=[Turn(rest[0]), saves], log_every_n_steps=2, **settings)
        trainer.fit(line, loader(32, 4, shuffle=True), ckpt_path=rest[1] if len(rest) > 1 else None)
        return {"digest": digest(line), "step": trainer.global_step}
    if mode == "fsdp":
        return sharded(rest[0], settings, Turn(rest[1]), rest[2] if len(rest) > 2 else None)
    assert mode == "logs"
    return logs_of_ranks(settings)


def sharded(strategy: str, settings: dict[str, Any], turn: Turn, ckpt: str | None) -> dict[str, Any]:
    leyden.seed_everything(3 + rank())
    model = Deep(dropout=0.2)
    if rank() == 0 or strategy == "ddp":
        leyden.seed_everything(3)
        model = Deep(dropout=0.2)
    saves = leyden.ModelCheckpoint(every_n_train_steps=2)
    trainer = leyden.Trainer(
        max_epochs=3, strategy=strategy, gradient_clip_val=1.0, callbacks=[turn, saves], **settings
    )
    trainer.fit(model, loader(64, 4), loader(21, 4), ckpt_path=ckpt)
    whole = Deep()
    last = Path(saves.last_model_path)
    checkpoint.load_weights(whole, checkpoint.read(last), last)
    return {"digest": digest(whole)}


def logs_of_ranks(settings: dict[str, Any]) -> dict[str, Any]:
    class Logs(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            value: Tensor = batch[0][:, 0]
            self.log("mean", value.mean())
            self.log("sum", value.sum(), reduce_fx="sum")
            self.log("max", value.max(), reduce_fx="max")
            if rank() == 1:
                self.log("only_on_rank_1", 3.0)

    [scores] = leyden.Trainer(**settings).validate(Logs(), loader(21, 4))
    first = regression(21).tensors[0][:, 0]
    return {"scores": scores, "mean": first.mean().item(), "sum": first.sum().item(), "max": first.max().item()}


if __name__ == "__main__":
    main()

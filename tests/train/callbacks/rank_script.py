"""What test_ranks.py runs on two ranks; each writes what it ended with as JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import (
    BackboneFinetuning,
    DeviceStatsMonitor,
    EMAWeightAveraging,
    LearningRateMonitor,
    LossGuard,
    ModelSummary,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
)
from leyden.train.strategies import FSDP
from tests.train.callbacks.runs import Normed
from tests.train.models import Line, loader


class OneBadBatch(Normed):
    """On rank 1 alone, one batch of the second epoch gives NaN."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * math.nan if self.trainer.plan.world.rank == 1 and self.global_step == 6 else loss


class Bad(OneBadBatch):
    """Without batch normalization, which FSDP does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


class Tuned(Line):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.net = nn.Sequential(self.backbone, nn.Linear(8, 1))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam([one for one in self.parameters() if one.requires_grad], lr=0.02)


def main() -> None:
    guard = LossGuard(action="rollback", snapshot_every_n_steps=1)
    averaging: list[leyden.Callback] = [
        EMAWeightAveraging(decay=0.5),
        StochasticWeightAveraging(0.01, swa_epoch_start=1),
    ]
    others = [LearningRateMonitor(), ThroughputMonitor(), DeviceStatsMonitor(), ModelSummary()]
    found = []
    for one in averaging:
        leyden.seed_everything(7)
        model = OneBadBatch()
        trainer = leyden.Trainer(
            max_epochs=3,
            accelerator="cpu",
            devices=2,
            enable_progress_bar=False,
            log_every_n_steps=2,
            callbacks=[one, guard, Timer("00:01:00:00"), *others],
        )
        trainer.fit(model, loader(64, 8, shuffle=True), loader(16))
        # Statistics of batch normalization are each rank's own while training, averaged or not; SWA's are shared.
        ema = isinstance(one, EMAWeightAveraging)
        values = list(model.parameters()) if ema else list(model.state_dict().values())
        found.append([value.double().flatten().tolist() for value in values])
    told = {"weights": found, "rollbacks": guard.rollbacks, "sharded": [sharded(name) for name in ("ddp", "fsdp")]}
    try:
        fit(FSDP(state_dict="sharded"), EMAWeightAveraging())
    except ConfigurationError as error:
        told["refused"] = str(error)
    told["tuned"] = tuned()
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps(told))


def fit(strategy: Any, *callbacks: leyden.Callback, **settings: Any) -> Bad:
    leyden.seed_everything(7)
    model = Bad()
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = leyden.Trainer(
        accelerator="cpu", devices=2, strategy=strategy, enable_progress_bar=False, callbacks=callbacks, **settings
    )
    trainer.fit(model, loader(64, 8, shuffle=True), loader(16), ckpt_path=ckpt_path)
    return model


def sharded(strategy: str) -> list[list[float]]:
    """Averages and a rollback; and once more, through a checkpoint in the midst of it."""
    digests = []
    for name, middle in (("whole", None), ("broken", 9)):
        saves = leyden.ModelCheckpoint(f"{strategy}-{name}", every_n_train_steps=3, save_top_k=-1)
        make = [EMAWeightAveraging(decay=0.5), LossGuard(action="rollback", snapshot_every_n_steps=1), saves]
        model = fit(strategy, *make, max_epochs=3, max_steps=middle or -1)
        if middle:
            make = [EMAWeightAveraging(decay=0.5), LossGuard(action="rollback", snapshot_every_n_steps=1), saves]
            model = fit(strategy, *make, max_epochs=3, ckpt_path=saves.last_model_path)
        digests.append(digest(model))
        assert make[1].rollbacks == 1  # type: ignore[attr-defined]
    return digests


def tuned() -> list[list[float]]:
    """A backbone thawed after an epoch: the same on all ranks, which is to say that its gradients are exchanged."""
    leyden.seed_everything(7)
    model = Tuned()
    trainer = leyden.Trainer(
        accelerator="cpu", devices=2, enable_progress_bar=False, max_epochs=3, callbacks=[BackboneFinetuning(1)]
    )
    before = digest(model.backbone)
    trainer.fit(model, loader(64, 8, shuffle=True))
    return [digest(model), before, digest(model.backbone)]


def digest(module: nn.Module) -> list[float]:
    values = (one.full_tensor() if hasattr(one, "full_tensor") else one for one in module.parameters())
    return [number for one in values for number in one.detach().double().flatten().tolist()]


if __name__ == "__main__":
    main()

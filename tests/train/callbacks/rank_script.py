"""What test_ranks.py runs on two ranks; each writes what it ended with as JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import (
    DeviceStatsMonitor,
    EMAWeightAveraging,
    LearningRateMonitor,
    LossGuard,
    ModelSummary,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
)
from tests.train.callbacks.runs import Normed
from tests.train.models import loader


class OneBadBatch(Normed):
    """On rank 1 alone, one batch of the second epoch gives NaN."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * math.nan if self.trainer.plan.world.rank == 1 and self.global_step == 6 else loss


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
    refused = []
    for one in (averaging[0], guard):
        trainer = leyden.Trainer(accelerator="cpu", devices=2, strategy="fsdp", max_epochs=1, callbacks=one)
        try:
            trainer.fit(Normed(), loader())
        except ConfigurationError as error:
            refused.append(str(error))
    told = {"weights": found, "rollbacks": guard.rollbacks, "refused": refused}
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()

"""Has the loss jumped? Lightning's detection; `leyden.train.callbacks.LossGuard` goes back to better weights too."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden import train

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer


class TrainingSpikeException(RuntimeError):  # noqa: N818  Lightning's name
    """The loss of a batch jumped."""

    def __init__(self, batch_idx: int) -> None:
        super().__init__(f"the loss jumped in batch {batch_idx}")
        self.batch_idx = batch_idx


class SpikeDetection(train.Callback):
    """Raise TrainingSpikeException when a loss is farther from the mean of the last `window` than `atol` and `rtol`.

    It is a jump towards worse (`mode`), by more than `atol` and more than `rtol` times the mean, or no finite number.
    The batch's number is added to `exclude_batches_path` (JSON) before. Each batch waits for its loss.
    """

    def __init__(
        self,
        mode: str = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | Path | None = None,
        finite_only: bool = True,
    ) -> None:
        self.mode, self.warmup, self.atol, self.rtol, self.finite_only = mode, warmup, atol, rtol, finite_only
        self.exclude_batches_path = Path(exclude_batches_path or "skip_batches.json")
        self.last_val: float = 0.0
        self.bad_batches: list[int] = []
        self._losses: deque[float] = deque(maxlen=window)

    @torch.no_grad()
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is None:
            return
        value = float(loss)
        if trainer.plan.world.any(len(self._losses) >= self.warmup and self._is_spike(value)):
            self.bad_batches.append(batch_idx)
            if trainer.is_global_zero:
                self.exclude_batches_path.parent.mkdir(parents=True, exist_ok=True)
                self.exclude_batches_path.write_text(json.dumps(self.bad_batches))
            raise TrainingSpikeException(batch_idx)
        self._losses.append(value)
        self.last_val = value

    def _is_spike(self, value: float) -> bool:
        if not math.isfinite(value):
            return self.finite_only
        mean = sum(self._losses) / len(self._losses)
        worse = value - mean if self.mode == "min" else mean - value
        bounds = [one for one in (self.atol, None if self.rtol is None else self.rtol * abs(mean)) if one is not None]
        return bool(bounds) and worse > max(bounds)

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self._losses), "bad_batches": self.bad_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses.extend(state_dict["losses"])
        self.bad_batches = list(state_dict["bad_batches"])

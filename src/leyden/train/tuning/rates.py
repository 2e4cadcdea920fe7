"""Which learning rates does a module bear? A range test: the rate grows from step to step, and the loss is watched."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.callbacks.base import Callback
from leyden.train.tuning.trial import holders, need_automatic, train_briefly, untouched

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer

_NAMES = ("lr", "learning_rate")
_MODES = ("exponential", "linear")
_SMOOTHING = 0.98


@dataclass(frozen=True, kw_only=True)
class LRSweep:
    """What a range test saw: `results["lr"]` and, for each, the smoothed `results["loss"]`.

    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; losses are averaged with
    weights 0.98ⁿ, corrected for their start.
    """

    mode: str
    results: dict[str, list[float]] = field(default_factory=lambda: {"lr": [], "loss": []})

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss falls fastest, along the sweep's own axis (the logarithm where it is exponential).

        Looked for where it falls for the last time from the median of the losses before its minimum to the minimum:
        steeper slopes at smaller rates are noise of the first batches. The first and last so many steps are left out.
        None where the loss does not fall.
        """
        best = self._steepest(skip_begin, skip_end)
        return None if best is None else self.results["lr"][best]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """A matplotlib figure of the loss over the rate, the suggestion marked if wanted."""
        if importlib.util.find_spec("matplotlib") is None:
            raise ConfigurationError(
                asked="a plot of the learning-rate sweep",
                found="matplotlib is not installed",
                do="Install it with: pip install matplotlib",
            )
        plt = importlib.import_module("matplotlib.pyplot")

        rates, losses = self.results["lr"], self.results["loss"]
        figure, ax = plt.subplots() if ax is None else (ax.figure, ax)
        ax.plot(rates, losses)
        ax.set(xlabel="learning rate", ylabel="loss", xscale="log" if self.mode == "exponential" else "linear")
        if suggest and (best := self._steepest()) is not None:
            ax.plot(rates[best], losses[best], marker="o", color="red")
        if show:
            plt.show()
        return figure

    def _steepest(self, skip_begin: int = 10, skip_end: int = 1) -> int | None:
        losses = self.results["loss"]
        seen = [n for n in range(skip_begin, len(losses) - skip_end) if math.isfinite(losses[n])]
        lowest = min(range(len(seen)), key=lambda n: losses[seen[n]], default=0)
        if lowest == 0:
            return None
        plateau = median(losses[n] for n in seen[:lowest])
        above = max(n for n in range(lowest) if losses[seen[n]] >= plateau)
        fall = seen[above : lowest + 1]
        [slopes] = torch.gradient(torch.tensor([losses[n] for n in fall], dtype=torch.float64))
        return fall[int(slopes.argmin())]


@dataclass(frozen=True, kw_only=True)
class LRSearch:
    """The settings of a range test, with Lightning's names and defaults."""

    min_lr: float = 1e-8
    max_lr: float = 1.0
    num_training: int = 100
    mode: str = "exponential"
    early_stop_threshold: float | None = 4.0
    update_attr: bool = True
    attr_name: str = ""

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ConfigurationError(asked=f"mode={self.mode!r}", found="it is unknown", do=nearest(self.mode, _MODES))
        if not 0 < self.min_lr < self.max_lr or self.num_training < 2:
            raise ConfigurationError(
                asked=f"a sweep from {self.min_lr} to {self.max_lr} in {self.num_training} steps",
                found="it is none",
                do="Give 0 < min_lr < max_lr, and 2 steps or more.",
            )

    def rates(self) -> list[float]:
        """The rate of each step.

        >>> [round(rate, 3) for rate in LRSearch(min_lr=0.001, max_lr=1.0, num_training=4).rates()]
        [0.001, 0.01, 0.1, 1.0]
        """
        shares = [step / (self.num_training - 1) for step in range(self.num_training)]
        if self.mode == "linear":
            return [self.min_lr + share * (self.max_lr - self.min_lr) for share in shares]
        return [self.min_lr * (self.max_lr / self.min_lr) ** share for share in shares]

    def run(self, trainer: Trainer, session: Session, train: Any) -> LRSweep | None:
        """Sweep, put everything back, and set the attribute if wanted. Collective. None with `fast_dev_run`."""
        if trainer.fast_dev_run:
            return None
        need_automatic(session, "a search for the learning rate")
        names = [self.attr_name] if self.attr_name else [one for one in _NAMES if holders(session, one)]
        if self.update_attr and not any(holders(session, name) for name in names):
            raise ConfigurationError(
                asked=f"the learning rate found is to be set on {type(session.module).__name__}",
                found=f"it has no attribute or hyperparameter {self.attr_name or ' or '.join(_NAMES)}",
                do='Name it with attr_name="…", or give update_attr=False.',
            )
        probe = _Probe(self)
        with untouched(session):
            train_briefly(trainer, session, train, probe, self.num_training)
        sweep, found = probe.sweep, probe.sweep.suggestion()
        if found is None:
            trainer.say(
                "no learning rate can be suggested: the loss does not fall. Give more num_training, or another max_lr"
            )
        elif self.update_attr:
            for holder in holders(session, names[0]):
                setattr(holder, names[0], found)
            trainer.say(f"learning rate {found:.3g}, found in {len(sweep.results['lr'])} steps")
        return sweep


class _Probe(Callback):
    """Sets the rate of every step, all groups in proportion to the first, and notes what the loss was with it."""

    def __init__(self, search: LRSearch) -> None:
        self.sweep = LRSweep(mode=search.mode)
        self._rates, self._threshold = search.rates(), search.early_stop_threshold
        self._ratios: list[float] = []
        self._window: list[float] = []  # losses of the micro-batches of a step
        self._mean, self._best, self._step = 0.0, math.inf, 0

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        groups = trainer.optimizers[0].param_groups
        first = float(groups[0]["lr"])
        self._ratios = [float(group["lr"]) / first if first else 1.0 for group in groups]

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> None:
        for group, ratio in zip(trainer.optimizers[0].param_groups, self._ratios, strict=True):
            group["lr"] = self._rates[trainer.global_step] * ratio

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._window.append(float(loss.detach()))
        if trainer.global_step > self._step:
            mine, self._window = fmean(self._window) if self._window else math.nan, []
            self._note(trainer, fmean(trainer.plan.world.gather(mine)))

    def _note(self, trainer: Trainer, loss: float) -> None:
        rate, self._step = self._rates[self._step], trainer.global_step
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        smooth = self._mean / (1 - _SMOOTHING**self._step)
        self.sweep.results["lr"].append(rate)
        self.sweep.results["loss"].append(smooth)
        diverged = not math.isfinite(smooth) or (
            self._threshold is not None and self._step > 1 and smooth > self._threshold * self._best
        )
        trainer.should_stop = diverged
        self._best = min(self._best, smooth)

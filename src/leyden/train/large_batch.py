"""Which learning rate suits a batch that many ranks and micro-batches make k times as large?

`scale_lr="linear"` multiplies every rate by k, "sqrt" by its root, growing from 1 to that factor over `lr_warmup`.
The factor is put on for the length of `optimizer.step` and taken off again: schedules, callbacks and checkpoints see
and keep the rates of a single batch, so whatever sets a rate comes out multiplied, nothing is multiplied twice, and a
run resumed on another number of ranks has the factor of those.

The rule supposes that each rank's batch stays as large as it was with one rank: batch normalization then sees the same
number of samples, and the loss it defines is the same (Goyal et al. 2017, section 2.3). Leave sync_batchnorm off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from leyden.core.errors import ConfigurationError
from leyden.train.spans import Span, read_span

if TYPE_CHECKING:
    from leyden.train.fitting import Fit
    from leyden.train.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How rates grow: by `rule` ("linear" or "sqrt") with the batch, step by step over `warmup`.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1 (linear scaling) and 2.2 (gradual warm-up);
    Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", section 5 (the root).
    """

    rule: str
    warmup: Span

    def factor(self, times: int, epochs: float, steps: int) -> float:
        """What to multiply rates by, with a batch `times` as large, after so many epochs (a fraction too) and steps.

        >>> scaling = Scaling(rule="linear", warmup=Span(epochs=5))
        >>> scaling.factor(8, 0.0, 0), scaling.factor(8, 2.5, 50), scaling.factor(8, 9.0, 180)
        (1.0, 4.5, 8.0)
        """
        goal = float(times) if self.rule == "linear" else math.sqrt(times)
        done, length = (steps, self.warmup.steps) if self.warmup.epochs is None else (epochs, self.warmup.epochs)
        return 1.0 + (goal - 1.0) * min(1.0, done / length) if length else goal


class LargeBatch:
    """Keeps the learning rates of one training in proportion to its batch."""

    def __init__(self, trainer: Trainer, fit: Fit, scaling: Scaling) -> None:
        self._trainer, self._fit, self._scaling = trainer, fit, scaling
        self._held: dict[Optimizer, list[float | Tensor]] = {}
        self._hooks: list[RemovableHandle] = []

    @property
    def factor(self) -> float:
        """What rates are multiplied by in the step to come."""
        fit = self._fit
        times, epochs = fit.plan.data_size * fit.micro_batches, float(self._trainer.current_epoch)
        if fit.feed.batches is not None:
            epochs += fit.batch // fit.micro_batches / math.ceil(fit.feed.batches / fit.micro_batches)
        return self._scaling.factor(times, epochs, self._trainer.global_step)

    def watch(self, optimizers: Sequence[Optimizer]) -> None:
        """Put the factor on in every step of these optimizers."""
        for one in optimizers:
            self._hooks += [one.register_step_pre_hook(self._put_on), one.register_step_post_hook(self._take_off)]

    def let_go(self) -> None:
        """Leave the optimizers as they were."""
        for hook in self._hooks:
            hook.remove()

    def _put_on(self, optimizer: Optimizer, *_: Any) -> None:
        self._take_off(optimizer)  # a step that failed has left its own
        self._held[optimizer] = [group["lr"] for group in optimizer.param_groups]
        factor = self.factor
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def _take_off(self, optimizer: Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, self._held.pop(optimizer, ()), strict=False):
            group["lr"] = rate


def scale_rates(trainer: Trainer, fit: Fit) -> LargeBatch | None:
    """What `scale_lr` asks for, at work on the optimizers of this training; None where it asks for nothing.

    Raises ConfigurationError for a warm-up that is neither epochs nor steps, or epochs of a length nobody knows.
    """
    plan = fit.plan
    if plan.scale_lr is None:
        return None
    warmup = Span(steps=plan.lr_warmup) if isinstance(plan.lr_warmup, int) else read_span(plan.lr_warmup)
    asked = f"lr_warmup={plan.lr_warmup!r}"
    if warmup.time_s is not None:
        raise ConfigurationError(asked=asked, found="it is a time", do='Give epochs or steps: "5ep", "500step", or 0.')
    if warmup.epochs and fit.feed.batches is None:
        raise ConfigurationError(
            asked=asked,
            found="the loader has no length, so nobody knows the steps of an epoch",
            do='Give steps: lr_warmup="500step".',
        )
    scaled = LargeBatch(trainer, fit, Scaling(rule=plan.scale_lr, warmup=warmup))
    scaled.watch(fit.stepper.optimization.optimizers)
    return scaled

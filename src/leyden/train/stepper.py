"""What happens between a loss and new weights? Backward, gradients to scale and bounded, the optimizer, the count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.early_stopping import read_monitor
from leyden.train.hooks import Hook
from leyden.train.module import Module, overrides
from leyden.train.optimizers import Optimization, Schedule
from leyden.train.parallel.sharding import clip_norm
from leyden.train.plan import Plan

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer


class Stepper:
    """Turns losses into steps, for automatic and manual optimization alike."""

    def __init__(
        self,
        trainer: Trainer,
        module: Module,
        plan: Plan,
        optimization: Optimization,
        hooks: Mapping[str, tuple[Hook, ...]],
    ) -> None:
        self._trainer, self._module, self._plan, self._hooks = trainer, module, plan, hooks
        self.optimization = optimization
        self.scaler = torch.amp.GradScaler(plan.device.type) if plan.precision == "16-mixed" else None
        self._own_backward = overrides(module, "backward")
        self._own_clipping = overrides(module, "configure_gradient_clipping")
        self._own_zero_grad = overrides(module, "optimizer_zero_grad")
        self._own_schedule_step = overrides(module, "lr_scheduler_step")
        # Where somebody may look at gradients they stay until the next loss is known, as in Lightning.
        looked_at = ("on_train_batch_end", "on_before_zero_grad")
        self.zeroes_late = self._own_zero_grad or any(hooks[name] for name in looked_at)
        self.needs_closure = overrides(module, "optimizer_step") or isinstance(optimization.optimizers[0], LBFGS)
        self.manual = tuple(ManualOptimizer(one, self) for one in optimization.optimizers)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add this loss's gradients to the parameters'."""
        for hook in self._hooks["on_before_backward"]:
            hook(loss)
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        if self._own_backward:
            self._module.backward(loss, *args, **kwargs)
        else:
            try:
                loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                if loss.numel() == 1 or args or kwargs:
                    raise
                raise no_loss(loss) from error
        for hook in self._hooks["on_after_backward"]:
            hook()

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """`backward`, then the mean of all ranks' gradients on every rank.

        What was exchanged before is the same on all ranks, so its mean is itself: several calls before a step add up.
        """
        self.backward(loss, *args, **kwargs)
        if self._plan.world.size > 1 and not self._plan.sharded:  # FSDP does so while backward runs
            exchange(one for one in self._module.parameters() if one.grad is not None)

    def step(self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, batch_idx: int = 0) -> None:
        """One step of one optimizer, counted."""
        if closure is not None and self.scaler is not None:
            raise ConfigurationError(
                asked=f'{type(optimizer).__name__} with precision="16-mixed"',
                found="a step that calls a closure (LBFGS, or the Module's own optimizer_step) cannot scale its losses",
                do='Use precision="bf16-mixed", or another optimizer and no optimizer_step.',
            )
        if closure is None:
            self._ready(optimizer)
        if closure is not None and overrides(self._module, "optimizer_step"):
            self._module.optimizer_step(self._trainer.current_epoch, batch_idx, optimizer, closure)
        elif self.scaler is None:
            optimizer.step(closure)
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        self._trainer.global_step += 1

    def optimize(self, batch_idx: int) -> None:
        """Automatic optimization's step: gradients are there; after it they are gone and schedules have moved."""
        optimizer = self.optimization.optimizers[0]
        self.step(optimizer)
        if not self.zeroes_late:
            optimizer.zero_grad(set_to_none=True)
        self.move("step", self._trainer.global_step)

    def step_through_closure(self, optimizer: Optimizer, evaluate: Callable[[], Any], batch_idx: int) -> Any:
        """A step for LBFGS, or for a Module's own `optimizer_step`: they call for forward and backward themselves."""
        outputs: list[Any] = []

        def closure() -> Any:
            if outputs:
                optimizer.zero_grad(set_to_none=True)
            outputs.append(evaluate())
            self._ready(optimizer)
            output = outputs[-1]
            return output.get("loss") if isinstance(output, Mapping) else output

        self.step(optimizer, closure, batch_idx)
        if not self.zeroes_late:
            optimizer.zero_grad(set_to_none=True)
        self.move("step", self._trainer.global_step)
        if not outputs:
            raise ConfigurationError(
                asked=f"{type(self._module).__name__}.optimizer_step",
                found="it did not call the closure, so nothing was computed",
                do="Pass it on: optimizer.step(closure=optimizer_closure).",
            )
        return outputs[-1]

    def zero_grad(self, batch_idx: int) -> None:
        """Forget the gradients of the step before, for those who wanted to see them until now."""
        optimizer = self.optimization.optimizers[0]
        for hook in self._hooks["on_before_zero_grad"]:
            hook(optimizer)
        if self._own_zero_grad:
            self._module.optimizer_zero_grad(self._trainer.current_epoch, batch_idx, optimizer)
        else:
            optimizer.zero_grad(set_to_none=True)

    def move(self, interval: str, count: int) -> None:
        """Move the learning-rate schedules of this interval ("step" or "epoch") that are due."""
        for schedule in self.optimization.schedules:
            if schedule.interval == interval and count % schedule.frequency == 0:
                self._move(schedule)

    def _ready(self, optimizer: Optimizer) -> None:
        """Gradients are complete: bring them to scale, let hooks look, bound them."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        for hook in self._hooks["on_before_optimizer_step"]:
            hook(optimizer)
        bound, algorithm = self._plan.gradient_clip_val, self._plan.gradient_clip_algorithm
        if self._own_clipping:
            self._module.configure_gradient_clipping(optimizer, bound, algorithm)
        elif bound is not None:
            clip(optimizer, bound, algorithm)

    def _move(self, schedule: Schedule) -> None:
        metric = None
        if isinstance(schedule.scheduler, ReduceLROnPlateau):
            metric = read_monitor(self._trainer, schedule.monitor or "", "ReduceLROnPlateau")
        if self._own_schedule_step:
            self._module.lr_scheduler_step(schedule.scheduler, metric)
        elif metric is not None:
            schedule.scheduler.step(metric)  # type: ignore[arg-type]
        else:
            schedule.scheduler.step()


def no_loss(value: Any) -> ConfigurationError:
    """The error of something that cannot be differentiated as a loss."""
    shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    return ConfigurationError(
        asked="training_step must return a loss",
        found=f"it returned {shape}",
        do='Return a scalar tensor, or {"loss": scalar, …}, or None to skip the batch.',
    )


class ManualOptimizer:
    """What `self.optimizers()` gives: an optimizer whose steps are scaled, hooked and counted as automatic ones are."""

    def __init__(self, optimizer: Optimizer, stepper: Stepper) -> None:
        self.optimizer, self._stepper = optimizer, stepper

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """One step; with a closure (LBFGS) the optimizer calls it for loss and gradients."""
        self._stepper.step(self.optimizer, closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Only this optimizer's parameters take part inside; `sync_grad` is accepted and needs no setting."""
        with only(self.optimizer, self._stepper.optimization.optimizers):
            yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


@contextmanager
def only(optimizer: Optimizer, others: Iterable[Optimizer]) -> Iterator[None]:
    """No parameter of the other optimizers requires a gradient inside; theirs come back after."""
    mine = {id(one) for one in parameters_of(optimizer)}
    foreign = {one for other in others for one in parameters_of(other) if id(one) not in mine and one.requires_grad}
    for parameter in foreign:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in foreign:
            parameter.requires_grad_(True)


def clip(optimizer: Optimizer, bound: float, algorithm: str) -> None:
    """Bound the gradients of an optimizer's parameters, by "norm" (of all together) or "value" (of each number)."""
    parameters = parameters_of(optimizer)
    if algorithm == "value":
        nn.utils.clip_grad_value_(parameters, bound)
    else:
        clip_norm(parameters, bound)


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """Every parameter the optimizer moves."""
    return [one for group in optimizer.param_groups for one in group["params"]]


def exchange(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over all ranks: one all-reduce a dtype. Collective."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in groups.values():
        flat = torch.cat([one.reshape(-1) for one in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

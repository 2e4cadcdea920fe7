"""What does training hold while it runs, and how does all of it get into a checkpoint and back?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ReduceLROnPlateau

from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train import checkpoint, rng
from leyden.train.callbacks.early_stopping import read_monitor
from leyden.train.hooks import Hook, collect
from leyden.train.loaders import TrainFeed
from leyden.train.logbook import LogBook
from leyden.train.module import Module
from leyden.train.optimizers import Optimization, Schedule
from leyden.train.session import Session, count_arguments

if TYPE_CHECKING:
    from leyden.train.evaluate import Evaluation
    from leyden.train.trainer import Trainer

_NOTHING = nullcontext()
_MOMENTS = (
    "on_fit_start",
    "on_fit_end",
    "on_train_start",
    "on_train_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_checkpoint_due",
)


class Fit:
    """Training in motion: the model on its device, its optimizer, its batches, and the place reached."""

    def __init__(
        self,
        trainer: Trainer,
        session: Session,
        *,
        feed: TrainFeed,
        optimization: Optimization,
        validation: Evaluation | None,
    ) -> None:
        plan = session.plan
        self.session, self.plan, self.module = session, plan, session.module
        self.feed, self.optimization, self.validation = feed, optimization, validation
        self.book = LogBook(training=True, sink=session.sink)
        self.module._book = self.book
        self.forward = plan.forward_context()
        self.batch = 0  # batches of this epoch that are done
        self.hooks: dict[str, tuple[Hook, ...]] = {
            name: collect(name, trainer, self.module, session.callbacks) for name in _MOMENTS
        }
        self.parameters = [one for group in optimization.optimizer.param_groups for one in group["params"]]
        self._parallel: DistributedDataParallel | None = None
        self._resume: Mapping[str, Any] | None = None
        self._waiting = 0  # micro-batches whose gradients wait for the optimizer
        self.arity = min(2, count_arguments(self.module.training_step))
        self.step: Callable[..., Any] = self.module.training_step
        if plan.world.size > 1:
            self.step = self._parallel = DistributedDataParallel(
                _TrainingStep(self.module),
                device_ids=[plan.device] if plan.device.type == "cuda" else None,
                find_unused_parameters=plan.strategy == "ddp_find_unused_parameters_true",
            )

    def describe(self) -> str:
        """One line for people: what is trained, how large it is, and on what."""
        sizes = [(one.numel(), one.requires_grad) for one in self.module.parameters()]
        count = sum(size for size, _ in sizes)
        frozen = sum(size for size, trained in sizes if not trained)
        parameters = f"{count:,} parameters" + (f", {frozen:,} of them frozen" if frozen else "")
        return f"{type(self.module).__name__}: {parameters}, on {self.plan.describe()}"

    def begin_epoch(self, epoch: int) -> Iterator[tuple[int, Any]]:
        """Batches of this epoch from the place reached."""
        resume, self._resume = self._resume, None
        return self.feed.epoch(epoch, resume, self.batch)

    def window(self, index: int) -> tuple[int, bool]:
        """(micro-batches of this batch's accumulation window, whether this is its last)."""
        size, total = self.plan.accumulate_grad_batches, self.feed.batches
        first = index - index % size
        if total is not None and index < total:
            size = min(size, total - first)
        self._waiting = (index - first + 1) % size
        return size, self._waiting == 0

    def quiet(self, boundary: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch whose gradients need not be exchanged yet."""
        return _NOTHING if boundary or self._parallel is None else self._parallel.no_sync()

    def clip(self) -> None:
        """Bound the gradients, as the plan says."""
        bound = self.plan.gradient_clip_val
        if bound is None:
            return
        if self.plan.gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.parameters, bound)
        else:
            nn.utils.clip_grad_norm_(self.parameters, bound)

    def leftover(self) -> bool:
        """Whether micro-batches wait for a step because the loader ended inside a window without having said so."""
        size, left = self.plan.accumulate_grad_batches, self._waiting
        if left == 0:
            return False
        if self._parallel is not None:
            raise ConfigurationError(
                asked=f"accumulate_grad_batches={size} over {self.plan.world.size} ranks",
                found="the loader ended unannounced inside a window, so the gradients were not exchanged",
                do="Give the data set a __len__, or set limit_train_batches to a multiple of the window.",
            )
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(size / left)  # they were divided by the whole window
        self._waiting = 0
        return True

    def move(self, schedule: Schedule, trainer: Trainer) -> None:
        """One move of a learning-rate schedule."""
        if isinstance(schedule.scheduler, ReduceLROnPlateau):
            schedule.scheduler.step(read_monitor(trainer, schedule.monitor or "", "ReduceLROnPlateau"))
        else:
            schedule.scheduler.step()

    def snapshot(self, trainer: Trainer) -> checkpoint.Snapshot | None:
        """A copy of everything on the host, on rank 0; None on the others. Collective."""
        callbacks = {one.state_key: state for one in self.session.callbacks if (state := one.state_dict())}
        ranks = self.plan.world.gather({"rng": rng.capture(), "feed": self.feed.state_dict()})
        training: dict[str, Any] = {
            "loop": {"epoch": trainer.current_epoch, "batch": self.batch, "global_step": trainer.global_step},
            "book": self.book.state_dict(),
            "evaluated": dict(trainer.eval_metrics),
            "callbacks": callbacks,
            "ranks": ranks,
        }
        if self.plan.world.rank != 0:
            return None
        training |= _to_host(self.optimization.state_dict())
        extra: dict[str, Any] = {}
        for one in self.session.callbacks:
            one.on_save_checkpoint(trainer, self.module, extra)
        self.module.on_save_checkpoint(extra)
        training["extra"] = _to_host(extra)
        weights = _to_host(self.module.state_dict())
        return checkpoint.Snapshot(
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            weights=weights,
            training=training,
            metrics={name: value for name, value in trainer.metrics.items() if not math.isnan(value)},
        )

    def restore(self, trainer: Trainer, snapshot: checkpoint.Snapshot, path: Path) -> None:
        """Go on exactly where the checkpoint stood; the weights have been loaded before."""
        training, world = snapshot.training, self.plan.world
        if len(training["ranks"]) != world.size:
            raise CheckpointError(
                asked=f"training was to go on from {path} with {world.size} ranks",
                found=f"it was written by {len(training['ranks'])}",
                do=f"Use devices={len(training['ranks'])}, or load only the weights.",
            )
        for one in self.session.callbacks:
            if one.state_key in training["callbacks"]:
                one.load_state_dict(training["callbacks"][one.state_key])
            one.on_load_checkpoint(trainer, self.module, training["extra"])
        self.module.on_load_checkpoint(training["extra"])
        self.optimization.load_state_dict(training)
        self.book.load_state_dict(training["book"])
        trainer.eval_metrics = dict(training["evaluated"])
        loop, mine = training["loop"], training["ranks"][world.rank]
        trainer.current_epoch, trainer.global_step = loop["epoch"], loop["global_step"]
        self.batch = loop["batch"]
        self._resume = mine["feed"]
        rng.restore(mine["rng"])


class _TrainingStep(nn.Module):
    """Lets DistributedDataParallel see `training_step` as a forward pass."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *batch: Any) -> Any:
        return self.module.training_step(*batch)


def loss_of(output: Any) -> Tensor | None:
    """The loss in what `training_step` returned; None skips the batch. Raises ConfigurationError for the rest."""
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if output is None:
        return None
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ConfigurationError(
            asked="training_step must return a loss",
            found=f"it returned {shape}",
            do='Return a scalar tensor, or {"loss": scalar, …}, or None to skip the batch.',
        )
    if not loss.requires_grad:
        raise ConfigurationError(
            asked="the loss is to be differentiated",
            found="it has no graph: it was detached, computed under no_grad, or depends on no parameter",
            do="Return the loss tensor itself.",
        )
    return loss


def _to_host(value: Any) -> Any:
    """A copy of nested plain data whose tensors are on the host and change no more; shared tensors stay shared."""
    copies: dict[tuple[Any, ...], Tensor] = {}

    def copy(item: Any) -> Any:
        if isinstance(item, Tensor):
            key = (item.data_ptr(), item.shape, item.stride(), item.dtype) if item.numel() else (id(item),)
            if key not in copies:
                copies[key] = torch.empty_like(item, device="cpu", requires_grad=False).copy_(item.detach())
            return copies[key]
        if isinstance(item, Mapping):
            return {key: copy(part) for key, part in item.items()}
        if isinstance(item, list | tuple):
            return type(item)(copy(part) for part in item)
        return item

    return copy(value)

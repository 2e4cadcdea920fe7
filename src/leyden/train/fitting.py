"""What does training hold while it runs?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from leyden.core.errors import ConfigurationError, TrainingError
from leyden.train.callbacks.loss_guard import LossGuard
from leyden.train.checkpoints.inherit import Given
from leyden.train.feeding.feed import TrainFeed
from leyden.train.hooks import Hook, collect
from leyden.train.large_batch import scale_rates
from leyden.train.logs.logbook import LogBook
from leyden.train.logs.reduction import Reducer
from leyden.train.logs.share import Share, share_of_fit
from leyden.train.module import Module
from leyden.train.offload import setup as offload
from leyden.train.optimizers import Optimization
from leyden.train.parallel import sharding
from leyden.train.plan import Plan
from leyden.train.session import Session, count_arguments
from leyden.train.stepper import Stepper, exchange, no_loss, parameters_of
from leyden.train.strategies import DDP
from leyden.train.ways import ByTokens, choose_way

if TYPE_CHECKING:
    from leyden.train.evaluate import Evaluation
    from leyden.train.profilers import Profiler
    from leyden.train.trainer import Trainer

NOTHING = nullcontext()
DATA_WAIT_SHOWN, DATA_WAIT_OVER_S = 10, 0.5
_MOMENTS = (
    "on_fit_start",
    "on_fit_end",
    "on_train_start",
    "on_train_end",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_checkpoint_due",
    "on_validation_model_zero_grad",
)


class Fit:
    """Training in motion: the model on its device, its optimizer, its batches, and the place reached."""

    def __init__(
        self,
        trainer: Trainer,
        session: Session,
        *,
        feed: TrainFeed,
        make_feed: Callable[[], TrainFeed],
        optimization: Optimization,
        validation: Evaluation | None,
    ) -> None:
        plan = session.plan
        self.session, self.plan, self.module = session, plan, session.module
        self.feed, self._make_feed, self.validation = feed, make_feed, validation
        self.book = LogBook(training=True, sink=session.sink)
        self.module._book = self.book
        self.reduce = Reducer(plan.world, plan.strategy.ranks_per_batch)
        self.forward = plan.forward_context()
        self.say = trainer.say
        self.batch = 0  # batches of this epoch that are done
        self.before = 0  # batches of the epochs before, where validation is counted over epochs
        self.micro_batches = plan.window  # to a step of the optimizer; a callback may change it between epochs
        self.hooks: dict[str, tuple[Hook, ...]] = {
            name: collect(name, trainer, self.module, session.callbacks) for name in _MOMENTS
        }
        end, judges = "on_train_epoch_end", [one for one in session.callbacks if one.judges]
        others = [one for one in session.callbacks if not one.judges]
        self.hooks[end] = collect(end, trainer, self.module, others)
        self.hooks["judge"] = collect(end, trainer, self.module, judges, own=False)
        self.stepper = self.module._stepper = Stepper(trainer, self.module, plan, optimization, self.hooks)
        self._parallel: DistributedDataParallel | None = None
        self.resume_feed: Mapping[str, Any] | None = None
        self._loaded_at = 0  # the epoch the loaders were made for
        self._seen = time.perf_counter(), 0.0  # when the wait for data was last looked at, and its length till then
        self._data: dict[str, float] = {}
        self._waiting = 0  # micro-batches whose gradients wait for the optimizer
        self.arity = min(3 if plan.truncated_bptt_steps else 2, count_arguments(self.module, "training_step"))
        self.step: Callable[..., Any] = self.module.training_step
        self.automatic = self.module.automatic_optimization
        self._guarded = any(isinstance(one, LossGuard) for one in session.callbacks)
        if not self.automatic:
            _check_manual(plan)
        if plan.world.size > 1 and not plan.sharded:
            self._spread(plan)
        if session.profiler is not None:
            self.profile(session.profiler)
        self.way = choose_way(self)
        self.large_batch = scale_rates(trainer, self)
        self.given = Given(optimization)
        self.share = Share(trainer, lambda: share_of_fit(trainer, self))

    def call(self, *moments: str) -> None:
        """Call the hooks of these moments; what they log counts for the epoch unless they say otherwise."""
        self.book.in_step = False
        for moment in moments:
            for hook in self.hooks[moment]:
                hook()
        self.book.in_step = True

    def shown(self) -> dict[str, float]:
        """What the progress bar shows: training's values, those of the last validation, and the wait for data.

        "data wait %" is the share of the last half second or more spent waiting for batches, where it is above 10.
        """
        (then, waited), now = self._seen, time.perf_counter()
        if now - then >= DATA_WAIT_OVER_S:
            share = 100 * (self.feed.waited_s - waited) / (now - then)
            self._data = {self.feed.name_wait(): float(round(share))} if share > DATA_WAIT_SHOWN else {}
            self._seen = now, self.feed.waited_s
        return {**self.book.shown(), **(self.validation.book.shown() if self.validation else {}), **self._data}

    def let_go(self) -> None:
        """Training is over: what only it needs is freed now, not at some time while the interpreter goes down."""
        self.step, self._parallel = self.module.training_step, None
        self.feed.close()
        offload.let_go(self.module)
        if self.large_batch is not None:
            self.large_batch.let_go()

    def describe(self) -> str:
        """One line for people: what is trained, how large it is, and on what."""
        sizes = [(one.numel(), one.requires_grad) for one in self.module.parameters()]
        count = sum(size for size, _ in sizes)
        frozen = sum(size for size, trained in sizes if not trained)
        parameters = f"{count:,} parameters" + (f", {frozen:,} of them frozen" if frozen else "")
        name = type(self.module).__name__.removeprefix("FSDP" if self.plan.sharded else "")
        return f"{name}: {parameters}, on {self.plan.describe()}"

    def profile(self, profiler: Profiler) -> None:
        """Time the actions of every step."""
        self.step = profiler.wrap("training_step", self.step)
        self.stepper.backward = profiler.wrap("backward", self.stepper.backward)  # type: ignore[method-assign]
        self.stepper.step = profiler.wrap("optimizer_step", self.stepper.step)  # type: ignore[method-assign]

    def spread_again(self) -> None:
        """After parameters were thawed: DDP exchanges gradients only of those that required them when it was made."""
        if self._parallel is not None:
            self._parallel = None  # before its successor is made, which takes its place in the backward pass
            self._spread(self.plan)
            if self.session.profiler is not None:
                self.step = self.session.profiler.wrap("training_step", self.step)

    def begin_epoch(self, epoch: int) -> Iterator[tuple[int, Any]]:
        """Batches of this epoch from the place reached."""
        resume, self.resume_feed = self.resume_feed, None
        every = self.plan.reload_dataloaders_every_n_epochs
        if every and epoch % every == 0 and epoch > self._loaded_at and resume is None:
            self.feed = self._make_feed()
            if self.validation:
                self.validation.load()
        self._loaded_at = epoch
        batches = self.feed.epoch(epoch, resume, self.batch)
        profiler = self.session.profiler
        return batches if profiler is None else profiler.iterate("train_dataloader_next", batches)

    def check(self, output: Any, step: int) -> None:
        """Raise TrainingError once weights are NaN, from which no training recovers. Ranks look each for themselves."""
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if self._guarded or not isinstance(loss, Tensor) or not bool(loss.isnan().any()):
            return
        for name, parameter in self.module.named_parameters():
            if bool(getattr(parameter, "_local_tensor", parameter).isnan().any()):
                raise TrainingError(
                    asked=f"training was to go on after step {step}",
                    found=f"the loss is NaN, and so are weights (the first: {name})",
                    do="Lower the learning rate or set gradient_clip_val=1.0; Trainer(detect_anomaly=True) "
                    "finds the operation; callbacks.LossGuard(action='rollback') goes back and skips the batch.",
                )

    def zero_grad_before_validation(self) -> None:
        """Gradients that somebody might have looked at need not lie in memory during a validation."""
        self.call("on_validation_model_zero_grad")
        if self.automatic and self.stepper.zeroes_late and not self._waiting:
            self.module.zero_grad(set_to_none=True)

    def window(self, index: int) -> tuple[int, bool]:
        """(micro-batches of this batch's accumulation window, whether this is its last)."""
        size, total = self.micro_batches, self.feed.batches
        first = index - index % size
        if total is not None and index < total:
            size = min(size, total - first)
        self._waiting = (index - first + 1) % size
        return size, self._waiting == 0

    def quiet(self, boundary: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch whose gradients need not be exchanged yet."""
        if self.plan.sharded:  # where the last batch comes unannounced, there may be no later chance
            sharding.exchange_now(self.module, boundary or self.feed.asks)
        return NOTHING if boundary or self._parallel is None else self._parallel.no_sync()

    def compute(
        self, batch: Any, index: int, share: float | Callable[[Any], Any], fresh: bool, hiddens: Any = None
    ) -> Any:
        """Forward and backward of a batch whose loss counts by `share`, or by what it makes of the output.

        `fresh`: its gradients do not add to others.
        """
        with self.forward:
            output = self.step(*(batch, index, hiddens)[: self.arity])
        loss = loss_of(output)
        if fresh and self.stepper.zeroes_late:
            self.stepper.zero_grad(index)
        if loss is not None:
            self.stepper.backward(loss * (share(output) if callable(share) else share))
        return output

    def exchange_late(self) -> None:
        """A window's last batch had no loss: exchange what its others gave, as its backward pass would have done."""
        if self._parallel is not None:
            exchange(self.trained)
        if self.plan.sharded and not self.feed.asks:
            raise ConfigurationError(
                asked=f"training_step left out the last of {self.micro_batches} batches that are accumulated",
                found="ranks that divide a module exchange the window's gradients in the backward pass of that batch",
                do="Return a loss without effect instead of None: 0.0 * loss. Or set accumulate_grad_batches=1.",
            )

    def close_window(self) -> None:
        """The step for micro-batches still waiting: the loader ended inside a window without having said so."""
        size, left = self.micro_batches, self._waiting
        if left == 0:
            return
        self._waiting = 0
        if self.plan.sharded and not self.feed.asks:
            raise ConfigurationError(
                asked=f"accumulate_grad_batches={size} over {self.plan.world.size} ranks",
                found="the loader ended unannounced inside a window, so the gradients were not exchanged",
                do="Give the data set a __len__, or set limit_train_batches to a multiple of the window.",
            )
        if self._parallel is not None:
            exchange(self.trained)
        if isinstance(self.way, ByTokens):
            self.way.finish(self.batch)
            return
        for parameter in self.trained:
            if parameter.grad is not None:
                parameter.grad.mul_(size / left)  # they were divided by the whole window
        self.stepper.optimize(self.batch)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters of the first optimizer."""
        return parameters_of(self.stepper.optimization.optimizers[0])

    def _spread(self, plan: Plan) -> None:
        """Let ranks exchange gradients: DDP does it during backward, other ways when they are ready for it."""
        if self.automatic and not plan.fits_memory:
            self.step = self._parallel = DistributedDataParallel(
                _TrainingStep(self.module),
                device_ids=[plan.device] if plan.device.type == "cuda" else None,
                **(plan.strategy.options() if isinstance(plan.strategy, DDP) else {}),
            )
            return
        for value in self.module.state_dict().values():
            torch.distributed.broadcast(value, src=0)


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
        raise no_loss(loss)
    if not loss.requires_grad:
        raise ConfigurationError(
            asked="the loss is to be differentiated",
            found="it has no graph: it was detached, computed under no_grad, or depends on no parameter",
            do="Return the loss tensor itself.",
        )
    return loss


def _check_manual(plan: Plan) -> None:
    for name, asked in (
        ("accumulate_grad_batches", plan.window > 1),
        ("gradient_clip_val", plan.gradient_clip_val is not None),
    ):
        if asked:
            raise ConfigurationError(
                asked=f"Trainer({name}={getattr(plan, name)})",
                found="this Module optimizes by hand (automatic_optimization is False)",
                do="Accumulate and clip in training_step: step less often, and call self.clip_gradients(…).",
            )

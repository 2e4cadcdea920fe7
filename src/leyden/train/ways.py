"""How else can a batch be trained on than by one forward, one backward and one step?

The plain way is written out in the loop. Each class here is one other way, chosen before the first step: a call takes
(batch, its index, micro-batches of its accumulation window, whether it is the window's last) and returns what
`training_step` returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.core.errors import ConfigurationError
from leyden.train.logs.logbook import batch_size_of
from leyden.train.memory import is_out_of_memory, release
from leyden.train.stepper import exchange

if TYPE_CHECKING:
    from leyden.train.fitting import Fit

Way = Callable[[Any, int, int, bool], Any]


def choose_way(fit: Fit) -> Way | None:
    """The way this training needs; None for the plain one. Raises ConfigurationError for two at once."""
    plan, closure = fit.plan, fit.stepper.needs_closure
    asked = {
        "truncated_bptt_steps": plan.truncated_bptt_steps > 0,
        'accumulate_grad_batches="auto"': plan.fits_memory,
        'accumulate_by="tokens"': plan.accumulate_by == "tokens",
        "an optimizer that calls a closure (LBFGS, or the Module's own optimizer_step)": closure,
    }
    wanted = [name for name, yes in asked.items() if yes]
    if wanted and not fit.automatic:
        _refuse(wanted[0], "this Module optimizes by hand (automatic_optimization is False)", "Do it in training_step.")
    if len(wanted) > 1:
        _refuse(" with ".join(wanted), "they do not go together", "Use one of them.")
    if plan.fits_memory and plan.sharded:
        _refuse(
            f'accumulate_grad_batches="auto" with strategy={plan.strategy.name!r}',
            "ranks that divide a module compute each pass together, so none can take smaller parts alone",
            "Give a number, or use strategy=FSDP(activation_checkpointing=True).",
        )
    if plan.truncated_bptt_steps:
        return TruncatedBackprop(fit)
    if plan.fits_memory:
        return FitsMemory(fit)
    if plan.accumulate_by == "tokens":
        return ByTokens(fit)
    return ByClosure(fit) if closure else None


class ByClosure:
    """For LBFGS, or a Module's own `optimizer_step`: the optimizer asks for forward and backward itself."""

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def __call__(self, batch: Any, index: int, size: int, boundary: bool) -> Any:
        fit, stepper = self._fit, self._fit.stepper
        if not boundary:
            with fit.quiet(boundary):
                return fit.compute(batch, index, 1 / size, index % fit.micro_batches == 0)
        optimizer = stepper.optimization.optimizers[0]
        fresh = index % fit.micro_batches == 0
        return stepper.step_through_closure(optimizer, lambda: fit.compute(batch, index, 1 / size, fresh), index)


class TruncatedBackprop:
    """Truncated back-propagation through time: a step for every stretch of `truncated_bptt_steps` along the time axis.

    `training_step(batch, batch_idx, hiddens)` gets what it returned as "hiddens" for the stretch before (None for the
    first), detached. `Module.tbptt_split_batch` cuts the batch. Source: Williams and Peng 1990.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        if fit.arity < 3:
            _refuse(
                f"truncated_bptt_steps={fit.plan.truncated_bptt_steps}",
                f"{type(fit.module).__name__}.training_step takes no hidden state",
                'Write training_step(self, batch, batch_idx, hiddens) and return {"loss": …, "hiddens": …}.',
            )
        if fit.plan.window > 1:
            _refuse("truncated_bptt_steps with accumulate_grad_batches", "every stretch takes a step", "Use one.")

    def __call__(self, batch: Any, index: int, size: int, boundary: bool) -> Any:
        fit, hiddens, output = self._fit, None, None
        for part in fit.module.tbptt_split_batch(batch, fit.plan.truncated_bptt_steps):
            output = fit.compute(part, index, 1.0, True, hiddens)
            fit.stepper.optimize(index)
            hiddens = _detached(output["hiddens"]) if isinstance(output, Mapping) else None
        return output


class FitsMemory:
    """`accumulate_grad_batches="auto"`: a batch that does not fit the device's memory is computed in smaller parts.

    The parts' losses count by their share of the samples, so the gradient is that of the whole batch for a loss that is
    a mean over samples (batch norm sees the parts). The number of parts is kept for later batches. Ranks exchange
    gradients once, after the last part, so that one may need more parts than another.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit, self.parts = fit, 1

    def __call__(self, batch: Any, index: int, size: int, boundary: bool) -> Any:
        fit = self._fit
        logged = fit.book.mark()
        while True:
            try:
                output = self._compute(batch, index)
                break
            except Exception as error:
                samples = batch_size_of(batch)
                if not is_out_of_memory(error) or self.parts >= samples:
                    raise
                self.parts = min(samples, self.parts * 2)
            # Outside of the handler, where the traceback no longer keeps the failed pass's activations alive.
            fit.stepper.optimization.optimizers[0].zero_grad(set_to_none=True)
            fit.book.rewind(logged)
            release()
            fit.say(f"out of memory at batch {index}: going on with {self.parts} parts a batch")
        if fit.plan.world.size > 1:
            exchange(fit.trained)
        fit.stepper.optimize(index)
        return output

    def _compute(self, batch: Any, index: int) -> Any:
        fit, samples = self._fit, batch_size_of(batch)
        if self.parts == 1:
            return fit.compute(batch, index, 1.0, True)
        outputs = []
        for number, rows in enumerate(torch.arange(samples).tensor_split(self.parts)):
            part = take_rows(batch, slice(int(rows[0]), int(rows[-1]) + 1), samples)
            fit.book.batch = part
            share = len(rows) / samples
            outputs.append((fit.compute(part, index, share, number == 0), share))
        fit.book.batch = batch
        return _mean(outputs)


class ByTokens:
    """`accumulate_by="tokens"`: every token of a window counts alike, over its micro-batches and over all ranks.

    `training_step` returns {"loss": mean over tokens, "tokens": how many}. The gradient is that of the sum over the
    window's tokens divided by their number, where averaging micro-batches would give short ones too much weight.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit, self._unit = fit, 0.0
        self._tokens = torch.zeros((), dtype=torch.float64)

    def __call__(self, batch: Any, index: int, size: int, boundary: bool) -> Any:
        fit = self._fit
        with fit.quiet(boundary):
            output = fit.compute(batch, index, self._weigh, index % fit.micro_batches == 0)
        if boundary:
            self.finish(index)
        return output

    def finish(self, index: int) -> None:
        """The window's step, its gradients divided by the number of its tokens."""
        fit, world = self._fit, self._fit.plan.world
        total = self._tokens.cpu()
        if world.size > 1:
            torch.distributed.all_reduce(total)
        if total > 0:
            scale = self._unit * world.size / float(total)  # ranks' gradients were averaged: bring back their sum
            for parameter in fit.trained:
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        self._tokens = torch.zeros_like(self._tokens)
        fit.stepper.optimize(index)

    def _weigh(self, output: Any) -> Any:
        if not isinstance(output, Mapping) or "tokens" not in output:
            _refuse(
                'accumulate_by="tokens"',
                "training_step returned no number of tokens",
                'Return {"loss": …, "tokens": n}.',
            )
        tokens = output["tokens"]
        if not self._unit:  # keeps scaled losses near their size, which 16 bits need; one number for all ranks
            self._unit = float(self._fit.plan.world.share(max(1.0, float(tokens))))
        count = tokens.detach() if isinstance(tokens, Tensor) else tokens
        self._tokens = self._tokens.to(self._fit.plan.device) + count
        return count / self._unit


def take_rows(batch: Any, rows: slice, samples: int) -> Any:
    """The rows of every tensor that has `samples` of them, in the same containers."""
    if isinstance(batch, Tensor):
        return batch[rows] if batch.ndim and batch.shape[0] == samples else batch
    if isinstance(batch, Mapping):
        return type(batch)({key: take_rows(value, rows, samples) for key, value in batch.items()})  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(take_rows(part, rows, samples) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(take_rows(part, rows, samples) for part in batch)
    return batch


def cut_time(batch: Any, length: int) -> list[Any]:
    """A batch cut along its time axis (the second one) into stretches of `length`; the last may be shorter.

    >>> [tuple(part.shape) for part in cut_time(torch.zeros(2, 5, 3), 2)]
    [(2, 2, 3), (2, 2, 3), (2, 1, 3)]
    """
    if isinstance(batch, Tensor):
        return list(torch.split(batch, length, dim=1)) if batch.ndim > 1 else [batch]
    if isinstance(batch, Mapping):
        columns = [cut_time(value, length) for value in batch.values()]
        return [type(batch)(zip(batch, row, strict=True)) for row in _rows(columns)]  # type: ignore[call-arg]
    if isinstance(batch, list | tuple):
        return [type(batch)(row) for row in _rows([cut_time(part, length) for part in batch])]
    return [batch]


def _rows(columns: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Stretches side by side; what has no time axis is given to every one."""
    count = max(len(column) for column in columns)
    return list(zip(*(column * count if len(column) == 1 else column for column in columns), strict=True))


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _detached(part) for key, part in value.items()}
    return type(value)(_detached(part) for part in value) if isinstance(value, list | tuple) else value


def _mean(outputs: list[tuple[Any, float]]) -> Any:
    """One output for all parts: the loss of the whole batch, the rest as the last part returned it."""
    losses = [(one["loss"] if isinstance(one, Mapping) else one, share) for one, share in outputs if one is not None]
    if not losses:
        return None
    loss = sum(loss.detach() * share for loss, share in losses)
    last = outputs[-1][0]
    return {**last, "loss": loss} if isinstance(last, Mapping) else loss


def _refuse(asked: str, found: str, do: str) -> None:
    raise ConfigurationError(asked=asked, found=found, do=do)

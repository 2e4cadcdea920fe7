"""How is something tried by training for a few steps, so that nothing is changed by it?"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parameter import UninitializedParameter

from leyden.core.errors import ConfigurationError
from leyden.train import rng
from leyden.train.callbacks.base import Callback
from leyden.train.optim.layerwise import parts_of
from leyden.train.progress import Silent
from leyden.train.strategies import Offload

if TYPE_CHECKING:
    from leyden.train.session import Session
    from leyden.train.stage import Stage
    from leyden.train.trainer import Trainer


def train_briefly(trainer: Trainer, session: Session, train: Any, probe: Callback, steps: int) -> None:
    """Train for so many optimizer steps with one callback and no schedule, no validation and no record.

    `module.trainer` is another Trainer meanwhile. Enclose it in `untouched`.
    """
    from leyden.train.prepare import prepare

    plan = replace(
        session.plan,
        max_steps=steps,
        max_epochs=-1,
        min_steps=0,
        min_epochs=0,
        accumulate_grad_batches=session.plan.window,  # not "auto": what does not fit is to be seen
        accumulate_by="batches",
        scale_lr=None,
        compile=False,
        val_check_interval=1.0,
        check_val_every_n_epoch=1,
    )
    twin = copy.copy(trainer)
    twin._forget()
    twin._plan, twin.callbacks, twin.progress = plan, [probe], Silent(talks=False)
    twin.limits = {**trainer.limits, "validate": 0}
    session.module._trainer = twin
    try:
        fit = prepare(
            twin, replace(session, plan=plan, callbacks=(probe,), sink=None, profiler=None), train, None, None
        )
        optimizers, place = fit.stepper.optimization.optimizers, fit.feed.state_dict()
        states = [copy.deepcopy(one.state_dict()) for one in optimizers]
        fit.stepper.optimization = replace(fit.stepper.optimization, schedules=())
        try:
            twin._train(fit, cast("Stage", _Undisturbed()))
        finally:
            fit.feed._set_generators(place["generators"])
            if "loader" in place:
                fit.feed.loader.load_state_dict(place["loader"])
            for optimizer, state in zip(optimizers, states, strict=True):
                optimizer.load_state_dict(state)  # an optimizer that the Module keeps is used again
    finally:
        if twin._fit is not None:
            twin._fit.let_go()


class _Undisturbed:
    """In the place of a Stage: a signal is heard by the call around the trial, which follows at once."""

    signal = 0

    def agree(self) -> int:
        """No signal."""
        return 0

    def asks(self, step: int) -> bool:
        """Every step: what ends a trial is known to all ranks alike."""
        return True


@contextmanager
def untouched(session: Session) -> Iterator[None]:
    """Weights, buffers, modes and random numbers are afterwards, bit for bit, what they were before.

    Copies lie in host memory meanwhile. Metric objects are reset; other attributes that a step changes stay changed.
    """
    module = session.module
    _divide_again(module)
    numbers, outer = rng.capture(), (module._trainer, module._book, module._stepper)
    modes = [(part, part.training) for part in module.modules()]
    tensors = [*module.parameters(), *module.buffers()]
    parts = parts_of([one.detach() for one in tensors if not isinstance(one, UninitializedParameter)])
    kept = [one.to("cpu", copy=True) for one in parts]
    try:
        yield
    finally:
        _divide_again(module)
        with torch.no_grad():
            for part, before in zip(parts, kept, strict=True):
                part.copy_(before)
        for parameter in module.parameters():
            parameter.grad = None
        for one, training in modes:
            one.training = training
            if all(callable(getattr(one, name, None)) for name in ("update", "compute", "reset")):
                one.reset()  # type: ignore[operator]
        module._trainer, module._book, module._stepper = outer
        rng.restore(numbers)


def _divide_again(module: nn.Module) -> None:
    """A last forward pass leaves some sharded weights gathered; what is kept and put back are the parts."""
    for one in module.modules():
        if isinstance(one, FSDPModule):
            one.reshard()


def holders(session: Session, name: str) -> list[Any]:
    """Who has the attribute `name`: Module, DataModule, and the hyperparameters of either."""
    owners = [one for one in (session.module, session.datamodule) if one is not None]
    found: list[Any] = [one for one in owners if hasattr(one, name)]
    return found + [one.hparams for one in owners if name in one.hparams]


def need_automatic(session: Session, who: str) -> None:
    """Raise ConfigurationError for a Module that takes its steps by hand, or within backward."""
    if isinstance(session.plan.strategy, Offload):
        raise ConfigurationError(
            asked=f'{who} with strategy="offload"',
            found="its optimizer holds the weights, and they could not be put back",
            do="Search with a smaller model of the same kind.",
        )
    if not session.module.automatic_optimization:
        raise ConfigurationError(
            asked=who,
            found="this Module optimizes by hand (automatic_optimization is False)",
            do="Set its learning rates and batch size yourself.",
        )

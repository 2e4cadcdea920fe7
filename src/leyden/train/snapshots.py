"""How does all that training holds get into a checkpoint, and back?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden.core.errors import CheckpointError
from leyden.train import checkpoint, rng, sharding
from leyden.train.fitting import Fit
from leyden.train.hparams import plain

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer


def capture(fit: Fit, trainer: Trainer) -> checkpoint.Snapshot | None:
    """A copy of everything on the host, on rank 0; None on the others. Collective."""
    callbacks = {one.state_key: state for one in fit.session.callbacks if (state := one.state_dict())}
    ranks = fit.plan.world.gather({"rng": rng.capture(), "feed": fit.feed.state_dict()})
    training: dict[str, Any] = {
        "loop": {"epoch": trainer.current_epoch, "batch": fit.batch, "global_step": trainer.global_step},
        "book": fit.book.state_dict(),
        "evaluated": dict(trainer.eval_metrics),
        "callbacks": callbacks,
        "hyper_parameters": {name: value for name, value in fit.module.hparams.items() if plain(value)},
        "ranks": ranks,
    }
    whole = _gather(fit) if fit.plan.sharded else None
    if fit.plan.world.rank != 0:
        return None
    training |= _to_host(fit.stepper.optimization.state_dict()) if whole is None else whole[1]
    if fit.stepper.scaler is not None:
        training["scaler"] = fit.stepper.scaler.state_dict()
    weights = _to_host(fit.module.state_dict()) if whole is None else whole[0]
    extra: dict[str, Any] = {"state_dict": weights}
    for one in fit.session.callbacks:
        one.on_save_checkpoint(trainer, fit.module, extra)
    fit.module.on_save_checkpoint(extra)
    weights = extra.pop("state_dict")
    training["extra"] = _to_host(extra)
    return checkpoint.Snapshot(
        epoch=trainer.current_epoch,
        step=trainer.global_step,
        weights=weights,
        training=training,
        metrics={name: value for name, value in trainer.metrics.items() if not math.isnan(value)},
    )


def restore(fit: Fit, trainer: Trainer, snapshot: checkpoint.Snapshot, path: Path) -> None:
    """Go on exactly where the checkpoint stood; the weights have been loaded before."""
    training, world = snapshot.training, fit.plan.world
    if "loop" not in training:
        raise CheckpointError(
            asked=f"training was to go on from {path}",
            found="it is a Lightning checkpoint, which keeps no place in the data that Leyden could go on from",
            do="Start from its weights: model = Model.load_from_checkpoint(path), then fit without ckpt_path.",
        )
    if len(training["ranks"]) != world.size:
        raise CheckpointError(
            asked=f"training was to go on from {path} with {world.size} ranks",
            found=f"it was written by {len(training['ranks'])}",
            do=f"Use devices={len(training['ranks'])}, or load only the weights.",
        )
    for one in fit.session.callbacks:
        if one.state_key in training["callbacks"]:
            one.load_state_dict(training["callbacks"][one.state_key])
        one.on_load_checkpoint(trainer, fit.module, training["extra"])
    fit.module.on_load_checkpoint(training["extra"])
    _load_optimization(fit, training, path)
    if fit.stepper.scaler is not None and "scaler" in training:
        fit.stepper.scaler.load_state_dict(training["scaler"])
    fit.book.load_state_dict(training["book"])
    trainer.eval_metrics = dict(training["evaluated"])
    loop, mine = training["loop"], training["ranks"][world.rank]
    trainer.current_epoch, trainer.global_step = loop["epoch"], loop["global_step"]
    fit.batch = loop["batch"]
    fit.resume_feed = mine["feed"]
    rng.restore(mine["rng"])


def _gather(fit: Fit) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Whole weights, and the optimization's state with whole tensors, on rank 0. Collective."""
    optimization = fit.stepper.optimization
    state = sharding.gather_optimizer(fit.module, optimization.optimizers[0])
    schedules = [one.scheduler.state_dict() for one in optimization.schedules]
    return sharding.gather_weights(fit.module), {"sharded": [state], "schedules": schedules}


def _load_optimization(fit: Fit, training: Mapping[str, Any], path: Path) -> None:
    if fit.plan.sharded != ("sharded" in training):
        raise CheckpointError(
            asked=f"training was to go on from {path} with strategy={fit.plan.strategy!r}",
            found="its optimizer's state was written " + ("with" if "sharded" in training else "without") + ' "fsdp"',
            do="Use the strategy it was written with, or load only its weights.",
        )
    optimization = fit.stepper.optimization
    if not fit.plan.sharded:
        optimization.load_state_dict(training)
        return
    sharding.load_optimizer(fit.module, optimization.optimizers[0], training["sharded"][0])
    for schedule, saved in zip(optimization.schedules, training["schedules"], strict=True):
        schedule.scheduler.load_state_dict(saved)


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

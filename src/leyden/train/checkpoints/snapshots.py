"""How does all that training holds get into a checkpoint, and back?

Whatever strategy wrote it, a checkpoint holds tensors by name, whole or in boxes, and each rank takes what it holds of
them: another strategy or number of ranks can go on from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train import rng
from leyden.train.callbacks.device_stats import DeviceStatsMonitor
from leyden.train.callbacks.early_stopping import EarlyStopping
from leyden.train.callbacks.lr_monitor import LearningRateMonitor
from leyden.train.callbacks.throughput import ThroughputMonitor
from leyden.train.callbacks.timer import Timer
from leyden.train.checkpoints import checkpoint, optimizer_state
from leyden.train.checkpoints.inherit import is_of_another_job
from leyden.train.checkpoints.staging import Staging
from leyden.train.checkpoints.tensorfile import Box, local
from leyden.train.feeding import dealing
from leyden.train.feeding.loaders import is_planned
from leyden.train.fitting import Fit
from leyden.train.hooks import Hook
from leyden.train.hparams import plain
from leyden.train.logs import metrics
from leyden.train.parallel import sharding
from leyden.train.strategies import FSDP, TensorParallel

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer

_LOOKS_ONLY = (DeviceStatsMonitor, EarlyStopping, LearningRateMonitor, ThroughputMonitor, Timer)


def capture(
    fit: Fit, trainer: Trainer, *, weights_only: bool = False, staging: Staging | None = None, alone: bool = False
) -> checkpoint.Snapshot | None:
    """Everything a checkpoint keeps, or this rank's share of it; None on a rank that has none to write. Collective.

    With `staging`, copies on the host, some of which are still to be filled (`Staging.fill`). Without, tensors are the
    live ones, to be written before training goes on. `alone`: rank 0 asks no other rank, for they may be gone.
    """
    parted = writes_parts(fit)
    weights, optimizer, rests = _gather(fit, weights_only)
    callbacks = {one.state_key: state for one in fit.session.callbacks if (state := one.state_dict())}
    training = {} if weights_only else _training(fit, trainer, alone) | {"callbacks": callbacks}
    training["hyper_parameters"] = {name: value for name, value in fit.module.hparams.items() if plain(value)}
    if (data := fit.session.datamodule) is not None:
        kept = {name: value for name, value in data.hparams.items() if plain(value)}
        training["datamodule_hyper_parameters"] = kept
    boxes: dict[str, Box] = {}
    if parted:
        boxes = {name: Box.of(value) for name, value in (*weights.items(), *optimizer.items())}
        mine = _share(fit, boxes)
        weights, optimizer = ({name: one[name] for name in one if name in mine} for one in (weights, optimizer))
    elif fit.plan.world.rank != 0:
        return None
    extra: dict[str, Any] = {"state_dict": dict(weights)}
    if not parted or fit.plan.world.rank == 0:
        for one in fit.session.callbacks:
            one.on_save_checkpoint(trainer, fit.module, extra)
        fit.module.on_save_checkpoint(extra)
    given, weights = weights, dict(extra.pop("state_dict"))
    if parted and (given.keys() != weights.keys() or any(weights[name] is not given[name] for name in given)):
        raise ConfigurationError(
            asked='on_save_checkpoint gives other weights under FSDP(state_dict="sharded")',
            found="every rank writes its own part, and the hook has those of rank 0",
            do='Use FSDP(state_dict="full").',
        )
    if staging is not None and (parted or not fit.plan.sharded):  # gathered tensors are copies already
        optimizers = fit.stepper.optimization.optimizers
        later = list(_calm(fit, optimizers))
        staging.take(weights, later)
        staging.take(optimizer, later)
        staging.watch(optimizers, fit.hooks)
    rest = {} if weights_only else {"optimizers": rests, "extra": extra}
    return checkpoint.Snapshot(
        epoch=trainer.current_epoch,
        step=trainer.global_step,
        weights={name: local(value.detach()) for name, value in weights.items()},
        optimizer={name: local(value.detach()) for name, value in optimizer.items()},
        boxes=boxes,
        training=_to_host(training | rest),
        metrics={name: value for name, value in trainer.metrics.items() if not math.isnan(value)},
    )


def writes_parts(fit: Fit) -> bool:
    """Whether every rank writes its own part of a checkpoint."""
    strategy = fit.plan.strategy
    if isinstance(strategy, TensorParallel):
        strategy = strategy.fsdp
    return fit.plan.sharded and isinstance(strategy, FSDP) and strategy.state_dict == "sharded"


def _gather(fit: Fit, weights_only: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, Any]]]:
    """(weights, the optimizers' tensors, the rest of their states): live ones, or gathered where they must be whole."""
    optimizers = () if weights_only else fit.stepper.optimization.optimizers
    if fit.plan.sharded and not writes_parts(fit):
        weights = sharding.gather_weights(fit.module)
        states = [sharding.gather_optimizer(one) for one in optimizers]
    else:
        weights = dict(fit.module.state_dict())
        states = [one.state_dict() for one in optimizers]
    return weights, *optimizer_state.take_apart(fit.module, optimizers, states)


def _training(fit: Fit, trainer: Trainer, alone: bool) -> dict[str, Any]:
    """The plain part: where loop, schedules, callbacks, data and random numbers stand. Collective, unless `alone`."""
    mine = {
        "rng": rng.capture(),
        "feed": fit.feed.state_dict(),
        "book": fit.book.state_dict(),
        "metrics": metrics.states(fit.module),
    }
    training: dict[str, Any] = {
        "loop": {
            "epoch": trainer.current_epoch,
            "batch": fit.batch - fit.batch % fit.micro_batches if alone else fit.batch,  # its window begins again
            "before": fit.before,
            "global_step": trainer.global_step,
        },
        "datamodule": fit.session.datamodule.state_dict() if fit.session.datamodule else {},
        "evaluated": dict(trainer.eval_metrics),
        "ranks": [mine] if alone else fit.plan.world.gather(mine),
        "shares": fit.plan.data_size,
        "schedules": [one.scheduler.state_dict() for one in fit.stepper.optimization.schedules],
        "given": fit.given.plain(),
    }
    if fit.stepper.scaler is not None:
        training["scaler"] = fit.stepper.scaler.state_dict()
    return training


def _share(fit: Fit, boxes: Mapping[str, Box]) -> set[str]:
    """Names of the tensors this rank writes: each box once, by the rank with the least to write. Collective."""
    everyone = fit.plan.world.gather([(box.offsets, box.sizes, box.count) for box in boxes.values()])
    load, mine = [0] * len(everyone), set()
    for name, *held in zip(boxes, *everyone, strict=True):
        holders: dict[Any, list[int]] = {}
        for rank, (offsets, sizes, count) in enumerate(held):
            if count or math.prod(boxes[name].shape) == 0:
                holders.setdefault((offsets, sizes), []).append(rank)
        for (_, sizes), ranks in holders.items():
            writer = min(ranks, key=load.__getitem__)
            load[writer] += math.prod(sizes)
            if writer == fit.plan.world.rank:
                mine.add(name)
    return mine


def _calm(fit: Fit, optimizers: Iterable[Optimizer]) -> Iterable[Tensor]:
    """What nobody changes before the next step of an optimizer: its parameters and its state.

    Nothing is, where code that might comes in between without `Staging` knowing: a module that optimizes by hand, the
    offloading optimizer (it steps inside of backward), and hooks of users before and between batches.
    """
    between = ["on_train_batch_start"] + ["on_train_batch_end"] * (fit.micro_batches > 1)
    strange = any(_owner(hook) not in _LOOKS_ONLY for moment in between for hook in fit.hooks[moment])
    if strange or not fit.automatic or fit.plan.strategy.name == "offload":
        return
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
        for state in optimizer.state.values():
            yield from (one for one in state.values() if isinstance(one, Tensor))


def _owner(hook: Hook) -> type:
    return type(getattr(getattr(hook, "func", hook), "__self__", None))


def restore(fit: Fit, trainer: Trainer, snapshot: checkpoint.Snapshot, path: Path) -> None:
    """Go on exactly where the checkpoint stood; the weights have been loaded before."""
    training = snapshot.training
    if "loop" not in training:
        raise CheckpointError(
            asked=f"training was to go on from {path}",
            found="it keeps no place to go on from: it was saved with weights_only, or by Lightning",
            do="Start from its weights: model = Model.load_from_checkpoint(path), then fit without ckpt_path.",
        )
    for one in fit.session.callbacks:
        if one.state_key in training["callbacks"]:
            one.load_state_dict(training["callbacks"][one.state_key])
        one.on_load_checkpoint(trainer, fit.module, training["extra"])
    optimization = fit.stepper.optimization
    optimizer_state.put_together(fit.module, optimization.optimizers, snapshot.optimizer, training["optimizers"])
    optimization.load_schedules(training["schedules"])
    if is_of_another_job(path) and (changes := fit.given.keep(training.get("given"))):
        trainer.say(f"with settings of its own: {', '.join(changes)}")
    if fit.stepper.scaler is not None and "scaler" in training:
        fit.stepper.scaler.load_state_dict(training["scaler"])
    if fit.session.datamodule and training.get("datamodule"):
        fit.session.datamodule.load_state_dict(training["datamodule"])
    trainer.eval_metrics = dict(training["evaluated"])
    trainer.current_epoch, trainer.global_step = training["loop"]["epoch"], training["loop"]["global_step"]
    fit.before = training["loop"]["before"]
    _restore_place(fit, training, path)


def _restore_place(fit: Fit, training: Mapping[str, Any], path: Path) -> None:
    """Where this rank stands in the epoch, and its random numbers.

    Ranks that were not there when the checkpoint was written branch off from rank 0's random numbers. What the epoch's
    means had gathered on ranks that are gone is kept by one that is there; metric objects of theirs are lost.
    """
    world, ranks, batch = fit.plan.world, training["ranks"], training["loop"]["batch"]
    for one in ranks[world.rank :: world.size]:
        fit.book.load_state_dict(one["book"])
    if world.rank < len(ranks):
        mine = ranks[world.rank]
        metrics.load_states(fit.module, mine["metrics"])
        rng.restore(mine["rng"])
    else:
        rng.branch(ranks[0]["rng"], world.rank)
    if training["shares"] == fit.plan.data_size and world.size == len(ranks):
        fit.batch, fit.resume_feed = batch, ranks[world.rank]["feed"]
    elif batch:
        feed = ranks[0]["feed"]
        if "loader" in feed and is_planned(fit.feed.loader):  # the place is that of all ranks together
            whole = batch * training["shares"] // fit.plan.data_size
            fit.batch = whole // fit.micro_batches * fit.micro_batches
            fit.resume_feed = {"loader": feed["loader"]}
            return
        dealing.check(fit.feed.loader, feed, path, training["shares"], fit.plan.data_size)
        deal = dealing.deal_again(feed, batch, training["shares"])
        whole = deal.taken // (fit.plan.data_size * dealing.unit(fit.feed.loader))
        fit.batch = whole // fit.micro_batches * fit.micro_batches  # accumulation begins with a window of its own
        fit.resume_feed = {"deal": {**vars(deal), "at": fit.batch}} | {
            key: feed[key] for key in ("seed",) if key in feed
        }


def _to_host(item: Any) -> Any:
    """A copy of nested plain data whose tensors are on the host and change no more."""
    if isinstance(item, Tensor):
        return item.detach().to("cpu", copy=True)
    if isinstance(item, Mapping):
        return {key: _to_host(part) for key, part in item.items()}
    if isinstance(item, list | tuple):
        return type(item)(_to_host(part) for part in item)
    return item

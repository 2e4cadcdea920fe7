"""How is everything brought together before the first step? Loaders of this rank, optimizers, a checkpoint if any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden.train import checkpoint, rng, sharding, snapshots
from leyden.train.evaluate import Evaluation
from leyden.train.fitting import Fit
from leyden.train.loaders import TrainFeed, as_list, mover, shard, unshuffled
from leyden.train.module import overrides
from leyden.train.optimizers import configure
from leyden.train.session import Session

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer


def prepare(trainer: Trainer, session: Session, train: Any, val: Any, path: Path | None) -> Fit:
    """Training ready to go, from the start or from the checkpoint at `path`."""
    plan, module = session.plan, session.module
    snapshot = checkpoint.read(path) if path else None
    if snapshot and path:
        checkpoint.load_weights(module, snapshot, path)
    loader = session.loader(train, "train_dataloader")
    val = _validation_loaders(session, val)
    if plan.overfit_batches:
        loader, val = unshuffled(loader), val and [unshuffled(loader)]
    if plan.sharded:
        sharding.shard_module(module, plan)
    seed = plan.world.share(torch.initial_seed() % 2**62)
    loader = shard(loader, rank=plan.world.rank, size=plan.world.size, training=True, seed=seed)
    feed = TrainFeed(loader, limit=plan.overfit_batches or trainer.limits["train"], move=mover(plan.device, plan.dtype))
    trainer.estimated_stepping_batches = plan.count_steps(feed.batches)
    validation = None
    if val and trainer.limits["validate"] != 0:
        limit = plan.overfit_batches or trainer.limits["validate"]
        validation = Evaluation(trainer, session, "validate", val, limit)
    fit = Fit(trainer, session, feed=feed, optimization=configure(module), validation=validation)
    trainer.say(f"{fit.describe()}; record in {trainer.run.path if trainer.run else None}")
    if snapshot and path:
        snapshots.restore(fit, trainer, snapshot, path)
        trainer.say(f"going on from {path} (epoch {trainer.current_epoch}, step {trainer.global_step})")
    elif validation and plan.num_sanity_val_steps:
        _check_sanity(trainer, validation, plan.num_sanity_val_steps)
    return fit


def _validation_loaders(session: Session, given: Any) -> Sequence[Any]:
    if not overrides(session.module, "validation_step"):
        return []
    return as_list(session.loader(given, "val_dataloader", needed=False))


def _check_sanity(trainer: Trainer, validation: Evaluation, batches: int) -> None:
    """A few validation batches before training, so that a mistake there shows at once; changes no random number."""
    trainer.sanity_checking = True
    state = rng.capture()
    validation.run(most=None if batches == -1 else batches, silent=True)
    rng.restore(state)
    validation.forget()
    trainer.sanity_checking = False

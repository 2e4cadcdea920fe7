"""How is everything brought together before the first step? Loaders of this rank, optimizers, a checkpoint if any."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leyden.train import rng
from leyden.train.callbacks.accumulation import count_steps
from leyden.train.callbacks.finders import search
from leyden.train.checkpoints import checkpoint, snapshots
from leyden.train.compiling import compile_parts
from leyden.train.evaluate import Evaluation
from leyden.train.feeding.feed import TrainFeed
from leyden.train.feeding.loaders import as_list, is_planned, shard, unshuffled
from leyden.train.feeding.transfer import mover_for
from leyden.train.fitting import Fit
from leyden.train.module import overrides
from leyden.train.offload.setup import check_loss, take_over
from leyden.train.optimizers import configure
from leyden.train.parallel import sharding
from leyden.train.session import Session
from leyden.train.strategies import Offload

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer


def prepare(trainer: Trainer, session: Session, train: Any, val: Any, path: Path | None) -> Fit:
    """Training ready to go, from the start or from the checkpoint at `path`."""
    plan, module = session.plan, session.module
    snapshot = checkpoint.read(path, plan.world) if path else None
    if snapshot and path:
        checkpoint.load_weights(module, snapshot, path)
    search(trainer, session, train, snapshot.training.get("callbacks", {}) if snapshot else None)
    if plan.compile:
        compile_parts(module, plan.compile)
    make_feed = partial(_train_feed, trainer, session, train, plan.world.share(torch.initial_seed() % 2**62))
    feed = make_feed()
    trainer.estimated_stepping_batches = count_steps(session, feed.batches)
    optimization = configure(module)
    if plan.sharded:
        sharding.attach(module, optimization.optimizers)
    if isinstance(plan.strategy, Offload):
        optimization = take_over(module, optimization, plan)
    fit = trainer._fit = Fit(
        trainer,
        session,
        feed=feed,
        make_feed=make_feed,
        optimization=optimization,
        validation=_validation(trainer, session, val, feed.loader),
    )
    if isinstance(plan.strategy, Offload) and plan.strategy.check_loss:
        fit.hooks["on_before_backward"] = (*fit.hooks["on_before_backward"], check_loss)
    trainer.say(f"{fit.describe()}; record in {trainer.run.path if trainer.run else None}")
    if snapshot and path:
        snapshots.restore(fit, trainer, snapshot, path)
        trainer.say(f"going on from {path} (epoch {trainer.current_epoch}, step {trainer.global_step})")
    elif plan.data_rank:
        rng.branch(rng.capture(), plan.data_rank)  # ranks drop out, augment and act each in its own way
    fit.call("on_fit_start")
    if fit.validation and plan.num_sanity_val_steps and not snapshot:
        _check_sanity(trainer, session, fit.validation, plan.num_sanity_val_steps)
    return fit


def _train_feed(trainer: Trainer, session: Session, given: Any, seed: int) -> TrainFeed:
    plan = session.plan
    loader = session.loader(given, "train_dataloader")
    if plan.overfit_batches:
        loader = unshuffled(loader)
    size = plan.data_size if plan.use_distributed_sampler else 1
    loader = shard(loader, rank=plan.data_rank, size=size, training=True, seed=seed)
    if is_planned(loader):
        loader.place(plan.device)  # batches come there before a step asks for them
    limit = plan.overfit_batches or trainer.limits["train"]
    return TrainFeed(loader, limit=limit, move=mover_for(session), world=plan.world, same=bool(plan.overfit_batches))


def _validation(trainer: Trainer, session: Session, given: Any, train_loader: Any) -> Evaluation | None:
    plan, module = session.plan, session.module
    if not overrides(module, "validation_step") or trainer.limits["validate"] == 0:
        return None

    def load() -> list[Any]:
        found = as_list(session.loader(given, "val_dataloader", needed=False))
        return [train_loader] if found and plan.overfit_batches else found

    limit = plan.overfit_batches or trainer.limits["validate"]
    found = Evaluation(trainer, session, "validate", load, limit)
    return found if found.loaders else None


def _check_sanity(trainer: Trainer, session: Session, validation: Evaluation, batches: int) -> None:
    """A few validation batches before training, so that a mistake there shows at once; changes no random number."""
    trainer.sanity_checking = True
    state = rng.capture()
    for callback in session.callbacks:
        callback.on_sanity_check_start(trainer, session.module)
    validation.run(most=None if batches == -1 else batches, silent=True)
    for callback in session.callbacks:
        callback.on_sanity_check_end(trainer, session.module)
    rng.restore(state)
    validation.forget()
    trainer.sanity_checking = False

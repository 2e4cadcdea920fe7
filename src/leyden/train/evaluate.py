"""How are validation, test and prediction run? Every sample once, means exact over all ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from leyden.core.errors import ConfigurationError
from leyden.train.feeding.loaders import Limit, count_batches, is_planned, shard
from leyden.train.feeding.transfer import mover_for
from leyden.train.hooks import collect
from leyden.train.logs.logbook import LogBook
from leyden.train.logs.reduction import Reducer
from leyden.train.logs.share import Share
from leyden.train.parallel.sharding import is_sharded, reshard
from leyden.train.session import count_arguments

if TYPE_CHECKING:
    from leyden.train.progress import Progress
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer

# stage -> (the words in hooks, the prefix of limit_*_batches)
_MOMENTS = ("model_eval", "model_train", "start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
_WORDS = {"validate": ("validation", "val"), "test": ("test", "test"), "predict": ("predict", "predict")}


class Evaluation:
    """One way of evaluating a module on given loaders; built once, run any number of times."""

    def __init__(
        self, trainer: Trainer, session: Session, stage: str, make_loaders: Callable[[], Sequence[Any]], limit: Limit
    ) -> None:
        self._trainer, self._session, self._stage = trainer, session, stage
        self._word, self._short = _WORDS[stage]
        self._make_loaders, self._limit = make_loaders, limit
        module = session.module
        self._reduce = Reducer(session.plan.world, session.plan.strategy.ranks_per_batch)
        self.load()
        self._step = getattr(module, f"{self._word}_step")
        if session.profiler is not None:
            self._step = session.profiler.wrap(f"{self._word}_step", self._step)
        self._arity = count_arguments(module, f"{self._word}_step")
        self._hooks = {
            moment: collect(f"on_{self._word}_{moment}", trainer, module, session.callbacks) for moment in _MOMENTS
        }
        self.book = LogBook(training=False, sink=session.sink)
        self.done = 0  # batches of the last run
        self._in_step = is_sharded(module)  # then every forward pass is collective
        alone = trainer.stage == stage and trainer._fit is None  # training has told of its own work
        self._share = Share(trainer, lambda: self.done / self.batches if self.batches else None) if alone else None

    def load(self) -> None:
        """Make the loaders, and split them over ranks."""
        given, plan = self._make_loaders(), self._session.plan
        size = plan.data_size if plan.use_distributed_sampler else 1
        self.loaders = [shard(one, rank=plan.data_rank, size=size, training=False, seed=0) for one in given]
        for loader in filter(is_planned, self.loaders):
            loader.place(plan.device)
        self.totals = [count_batches(loader, self._limit, self._short) for loader in self.loaders]
        if any(total == 0 for total in self.totals) and plan.data_size == 1 and self._limit != 0:
            raise ConfigurationError(
                asked=f"{self._stage} on {len(given)} loaders",
                found=f"loader {self.totals.index(0)} has no batch",
                do=f"Check the data set's length, drop_last, and limit_{self._short}_batches.",
            )

    @property
    def batches(self) -> int | None:
        """Batches of all loaders together; None if nobody knows."""
        known = [total for total in self.totals if total is not None]
        return sum(known) if len(known) == len(self.totals) else None

    def results(self) -> list[dict[str, float]]:
        """The metrics of each loader; those logged outside of batches belong to all."""
        latest = self.book.latest()
        ends = [f"/dataloader_idx_{index}" for index in range(len(self.loaders))]
        return [
            {name: value for name, value in latest.items() if name.endswith(own) or not name.endswith(tuple(ends))}
            for own in ends
        ]

    def forget(self) -> None:
        """As if nothing had been evaluated."""
        self.book = LogBook(training=False, sink=self._session.sink)

    def run(self, *, most: int | None = None, silent: bool = False, keep: bool = False) -> list[list[Any]]:
        """Evaluate once; returns what the steps returned, loader by loader, where it is to be kept."""
        module, outer = self._session.module, self._session.module._book
        outputs: list[list[Any]] = []
        # FSDP gathers weights into buffers that training writes to again, which inference tensors forbid.
        inference = self._session.plan.inference_mode and not self._in_step
        still = torch.inference_mode() if inference else torch.no_grad()
        with _evaluating(module), still:
            module._book = self.book
            try:
                self.done = 0
                self._call("model_eval")
                self._call("start")
                self._call("epoch_start")
                for index, loader in enumerate(self.loaders):
                    self.book.loader_suffix = f"/dataloader_idx_{index}" if len(self.loaders) > 1 else ""
                    total = self.totals[index]
                    total = most if total is None else total if most is None else min(total, most)
                    outputs.append(self._run_loader(index, loader, total, silent, keep))
                self.book.loader_suffix = ""
                self._call("epoch_end")
                self._finish(silent)
                self._call("end")
            finally:
                module._book = outer
                if self._in_step:
                    reshard(module)
        self._call("model_train")
        return outputs

    def _run_loader(self, loader_idx: int, loader: Any, total: int | None, silent: bool, keep: bool) -> list[Any]:
        book, move = self.book, mover_for(self._session, loader_idx)
        starts, ends, kept = self._hooks["batch_start"], self._hooks["batch_end"], []
        if self._session.plan.overfit_batches and is_planned(loader):
            loader.set_epoch(0)  # those that training takes, too
        forward, progress = self._session.plan.forward_context(), self._trainer.progress
        due, iterator = time.perf_counter() + progress.every_s, iter(loader)
        if self._session.profiler is not None:
            iterator = self._session.profiler.iterate(f"{self._stage}_dataloader_next", iterator)
        before, last = self.done, None
        for index in range(total) if total is not None else iter(int, 1):
            try:
                batch = next(iterator)
            except StopIteration:
                break
            batch = batch if move is None else move(batch)
            book.step, book.batch = index, batch
            for hook in starts:
                hook(batch, index, loader_idx)
            with forward:
                output = self._step(*(batch, index, loader_idx)[: self._arity])
            for hook in ends:
                hook(output, batch, index, loader_idx)
            self.done += 1
            if keep:
                kept.append(output)
            last = batch
            if time.perf_counter() >= due or index % 256 == 255:
                book.flush()
                due = time.perf_counter() + progress.every_s
                if not silent:
                    self._tell(progress)
                if self._share is not None:
                    self._share.tell()
        if self._in_step:
            self._keep_step(last, self.done - before, loader_idx)
        return kept

    def _tell(self, progress: Progress) -> None:
        if self._trainer.stage == self._stage:
            progress.update(self.done, {})
        else:  # in the middle of an epoch, whose batches the bar counts
            progress.aside(f"{self._word} {self.done}{'' if self.batches is None else f'/{self.batches}'}")

    def _keep_step(self, batch: Any, done: int, loader_idx: int) -> None:
        """Run the last batch again, unrecorded, while other ranks still have batches: they wait for our parts."""
        module, world = self._session.module, self._session.plan.world
        if min(counts := world.gather(done)) == 0:
            raise ConfigurationError(
                asked=f"{self._stage} of a sharded module over {world.size} ranks",
                found="a rank has no batch, so it cannot take part in the others' forward passes",
                do="Use a smaller batch_size, so that every rank has at least one.",
            )
        book, module._book = module._book, LogBook(training=False, sink=None)
        for index in range(done, max(counts)):
            self._step(*(batch, index, loader_idx)[: self._arity])
        module._book = book

    def _finish(self, silent: bool) -> None:
        trainer = self._trainer
        sink, book = self.book.sink, self.book
        if silent:
            book.sink = None
        book.end_epoch(trainer.global_step, self._reduce, {"epoch": float(trainer.current_epoch)})
        book.sink = sink
        if not trainer.sanity_checking:
            trainer.eval_metrics |= book.latest()

    def _call(self, moment: str) -> None:
        for hook in self._hooks[moment]:
            hook()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own mode after."""
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training

"""How is a Module trained? The loop, in one file: from `Trainer.fit` to the user's `training_step` are two frames.

`fit` settles every choice (devices, ranks, precision, hooks) before the first step; `_train` is straight-line code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import Tensor

from leyden.core.errors import CheckpointError
from leyden.train.callbacks.arrange import arrange
from leyden.train.callbacks.base import Callback
from leyden.train.checkpoints import checkpoint
from leyden.train.evaluate import Evaluation
from leyden.train.feeding.loaders import Limit, as_list
from leyden.train.fitting import NOTHING, Fit, loss_of
from leyden.train.loggers.base import Logger
from leyden.train.logs import metrics
from leyden.train.module import DataModule, Module
from leyden.train.plan import Choices, Plan
from leyden.train.prepare import prepare
from leyden.train.profilers import Profiler, choose
from leyden.train.spans import bounds
from leyden.train.stage import Stage
from leyden.train.state import TrainerState
from leyden.train.strategies import Strategy


class Trainer(TrainerState):
    """Runs a Module: devices, ranks, precision, logging and checkpoints. Arguments have Lightning's names and meaning.

    `devices=N` on a CPU starts N ranks. `strategy` is a word ("ddp", "fsdp", "offload") or an object with options
    (`leyden.train.strategies`). `max_epochs=-1` or `max_steps=-1` mean no such bound; `max_time` is a length like "3h",
    "10ep" or "5000step"; without any, 1000 epochs. `accumulate_grad_batches="auto"` computes a batch that does not fit
    the memory in parts, `accumulate_by="tokens"` weighs micro-batches by their tokens, `truncated_bptt_steps` cuts
    sequences (`leyden.train.ways`). `scale_lr` multiplies learning rates by the number of batches to a step ("linear"),
    or its root ("sqrt"), reached within `lr_warmup`. `compile` takes whole networks (True) or repeated "blocks".
    Every value logged is kept; `log_every_n_steps` says how often values cross from the device to the host. Leyden's
    own record is always written; `logger` takes others beside it (`leyden.train.loggers`).
    Every argument: docs/reference/trainer.md. Raises ConfigurationError for what cannot work.
    """

    def __init__(
        self,
        *,
        accelerator: str = "auto",
        devices: int | str | list[int] = "auto",
        num_nodes: int = 1,
        strategy: str | Strategy = "auto",
        precision: str = "32-true",
        max_epochs: int | None = None,
        min_epochs: int = 0,
        max_steps: int = -1,
        min_steps: int = 0,
        max_time: str | timedelta | Mapping[str, float] | None = None,
        limit_train_batches: Limit = None,
        limit_val_batches: Limit = None,
        limit_test_batches: Limit = None,
        limit_predict_batches: Limit = None,
        overfit_batches: int | float = 0,
        fast_dev_run: bool | int = False,
        accumulate_grad_batches: int | str = 1,
        accumulate_by: str = "batches",
        truncated_bptt_steps: int = 0,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str = "norm",
        scale_lr: str | None = None,
        lr_warmup: str | int = "5ep",
        val_check_interval: int | float = 1.0,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int = 2,
        reload_dataloaders_every_n_epochs: int = 0,
        use_distributed_sampler: bool = True,
        log_every_n_steps: int = 50,
        compile: bool | str = False,  # noqa: A002  torch's own word
        deterministic: bool | str = False,
        benchmark: bool | None = None,
        detect_anomaly: bool = False,
        inference_mode: bool = True,
        sync_batchnorm: bool = False,
        callbacks: Sequence[Callback] | Callback | None = None,
        logger: Logger | Sequence[Logger] | None = None,
        profiler: Profiler | str | None = None,
        enable_checkpointing: bool = True,
        enable_progress_bar: bool = True,
        enable_model_summary: bool = False,
        default_root_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        if fast_dev_run:
            quick = int(fast_dev_run)
            limit_train_batches = limit_val_batches = limit_test_batches = limit_predict_batches = quick
            max_epochs, max_steps, enable_checkpointing, num_sanity_val_steps = 1, -1, False, 0
        self.limits = {
            "train": limit_train_batches,
            "validate": limit_val_batches,
            "test": limit_test_batches,
            "predict": limit_predict_batches,
        }
        max_epochs, max_steps, time_s = bounds(max_epochs, max_steps, max_time)
        self.choices = Choices.of(locals())
        self.loggers = [logger] if isinstance(logger, Logger) else list(logger or ())
        self.profiler = choose(profiler)
        self.callbacks = arrange(
            callbacks, time_s, saving=enable_checkpointing, summary=enable_model_summary, pausing=not fast_dev_run
        )
        self.accelerator, self.devices, self.num_nodes = accelerator, devices, num_nodes
        self.fast_dev_run = bool(fast_dev_run)
        self.enable_progress_bar = enable_progress_bar
        self.default_root_dir = Path(default_root_dir or ".").absolute()

    def fit(
        self,
        model: Module,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: DataModule | None = None,
        ckpt_path: str | Path | None = None,
    ) -> None:
        """Train the module.

        `ckpt_path` goes on from a checkpoint, exactly where it stood: "last" (the newest of this run, else of the
        newest run of this script, into whose record training goes on), "best", or a path.
        Raises ConfigurationError for what cannot work and CheckpointError for a checkpoint that is not whole.
        """
        if isinstance(train_dataloaders, DataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        with Stage(self, "fit", model, datamodule, ckpt_path) as stage:
            self._forget()
            try:
                fit = prepare(self, stage.session, train_dataloaders, val_dataloaders, stage.checkpoint)
                self._train(fit, stage)
            finally:
                if self._fit is not None:
                    self._fit.let_go()
            stage.end_if_signalled()

    def _train(self, fit: Fit, stage: Stage) -> None:  # noqa: PLR0912  straight-line on purpose: this is the loop
        book, hooks, plan, forward = fit.book, fit.hooks, fit.plan, fit.forward
        starts, ends, checkpoint_due = (
            hooks[f"on_{it}"] for it in ("train_batch_start", "train_batch_end", "checkpoint_due")
        )
        backward, optimize, way, late = fit.stepper.backward, fit.stepper.optimize, fit.way, fit.stepper.zeroes_late
        flush_every, clock = plan.log_every_n_steps, time.perf_counter
        automatic, takes_index = fit.automatic, fit.arity > 1
        output, period = None, plan.validation_period(fit.feed.batches)
        fit.call("on_train_start")
        while self._goes_on(plan, stage):
            due, step = self._begin_epoch(fit), fit.step  # parameters thawed meanwhile are spread anew
            size, boundary, accumulates = 1, True, fit.micro_batches > 1
            for index, batch in fit.begin_epoch(self.current_epoch):
                book.step, book.batch, book.index = self.global_step, batch, index
                if starts and any([hook(batch, index) == -1 for hook in starts]):  # noqa: C419  all are to be called
                    break
                if accumulates:
                    size, boundary = fit.window(index)
                if not automatic:
                    with forward:
                        output = step(batch, index) if takes_index else step(batch)
                elif way is not None:
                    output = way(batch, index, size, boundary)
                else:
                    with fit.quiet(boundary) if accumulates else NOTHING:
                        with forward:
                            output = step(batch, index) if takes_index else step(batch)
                        loss = output if isinstance(output, Tensor) and output.requires_grad else loss_of(output)
                        if late and (size == 1 or index % fit.micro_batches == 0):
                            fit.stepper.zero_grad(index)
                        if loss is not None:
                            backward(loss if size == 1 else loss / size)
                        elif boundary and size > 1:
                            fit.exchange_late()
                    if boundary:
                        optimize(index)
                fit.batch = index + 1
                for hook in ends:
                    hook(output, batch, index)
                if clock() >= due or fit.batch % flush_every == 0:
                    due = self._tick(fit, output)
                if period and (fit.before + fit.batch) % period == 0 and fit.batch != fit.feed.batches:
                    self._validate(fit)
                if boundary:
                    for hook in checkpoint_due:
                        hook(False)
                    if self._breaks_off(plan, stage):
                        break
            if fit.batch == fit.feed.batches or not self._breaks_off(plan, stage):
                self._end_epoch(fit, output)
            elif not stage.signal:
                self._end_part(fit)
        self._finish(fit)

    def validate(
        self,
        model: Module,
        dataloaders: Any = None,
        datamodule: DataModule | None = None,
        ckpt_path: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Run `validation_step` over every sample once; returns the metrics logged, a dict for each loader."""
        return self._evaluate("validate", "val_dataloader", model, dataloaders, datamodule, ckpt_path)[0]

    def test(
        self,
        model: Module,
        dataloaders: Any = None,
        datamodule: DataModule | None = None,
        ckpt_path: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Run `test_step` over every sample once; returns the metrics logged, a dict for each loader.

        `ckpt_path`: "best" or "last" of the fit before, a path, or None for the weights as they are.
        """
        return self._evaluate("test", "test_dataloader", model, dataloaders, datamodule, ckpt_path)[0]

    def predict(
        self,
        model: Module,
        dataloaders: Any = None,
        datamodule: DataModule | None = None,
        ckpt_path: str | Path | None = None,
        return_predictions: bool = True,
    ) -> list[Any]:
        """What `predict_step` returns for each batch (of this rank), or a list of such lists for several loaders.

        Without `return_predictions` nothing is kept, for a callback that writes them (`BasePredictionWriter`).
        """
        kept = self._evaluate(
            "predict", "predict_dataloader", model, dataloaders, datamodule, ckpt_path, keep=return_predictions
        )
        outputs = kept[1]
        return outputs[0] if len(outputs) == 1 else outputs

    def save_checkpoint(
        self,
        filepath: str | Path,
        weights_only: bool = False,
        *,
        on_done: Callable[[CheckpointError | None], None] | None = None,
    ) -> None:
        """Write everything training needs to go on, or the weights and hyperparameters; collective over ranks.

        Without `on_done` it returns when the checkpoint is whole, or raises CheckpointError. With it, writing goes on
        in the background and `on_done` is called on this thread, later, with the error or None.
        """
        if self._fit is None:
            raise CheckpointError(asked="save_checkpoint", found="nothing has been trained", do="Call it during fit.")
        self._saver.save(self._fit, self, Path(filepath), weights_only=weights_only, on_done=on_done)

    # Parts of the loop, in the order they come ----------------------------------------------------------------------

    def _forget(self) -> None:
        self._fit = None
        self.current_epoch = self.global_step = 0
        self.should_stop = self.validated = False
        self.eval_metrics = {}

    def _goes_on(self, plan: Plan, stage: Stage) -> bool:
        if stage.agree() or plan.max_epochs == self.current_epoch or self._has_stopped(plan):
            return False
        return plan.max_steps == -1 or self.global_step < plan.max_steps

    def _breaks_off(self, plan: Plan, stage: Stage) -> bool:
        """After a step: was it the last, or did a callback or a signal (to any rank) say so?"""
        if self.global_step == plan.max_steps:
            stage.agree()
            return True
        if plan.world.size > 1 and not stage.asks(self.global_step):
            return False  # ranks ask each other only now and then, and must break off together
        return bool(stage.signal) or (self.should_stop and self._has_stopped(plan))

    def _has_stopped(self, plan: Plan) -> bool:
        """Whether a callback's wish to stop counts already."""
        enough = self.current_epoch >= plan.min_epochs and self.global_step >= plan.min_steps
        return self.should_stop and enough

    def _begin_epoch(self, fit: Fit) -> float:
        fit.module.train()
        most = fit.plan.max_epochs
        number = f"{self.current_epoch + 1:>{len(str(most))}}/{most}" if most > 0 else str(self.current_epoch + 1)
        self.progress.begin(f"epoch {number}", fit.feed.batches, fit.batch)
        fit.share.tell()
        fit.call("on_train_epoch_start")
        return time.perf_counter() + self.progress.every_s

    def _tick(self, fit: Fit, output: Any) -> float:
        """Now and then: values to the host, the bar moved, a finished checkpoint noted."""
        fit.check(output, self.global_step)
        fit.book.flush()
        self.progress.update(fit.batch, fit.shown())
        fit.share.tell()
        self._saver.poll()
        return time.perf_counter() + self.progress.every_s

    def _end_epoch(self, fit: Fit, output: Any) -> None:
        fit.check(output, self.global_step)
        extra = {"epoch": float(self.current_epoch)}
        fit.book.step = self.global_step
        fit.close_window()
        fit.book.end_epoch(self.global_step, fit.reduce, extra)
        done = fit.before + fit.batch
        if done % (fit.plan.validation_period(fit.feed.batches) or done or 1) == 0:
            self._validate(fit)
        if fit.hooks["on_train_epoch_end"]:
            fit.call("on_train_epoch_end")
            fit.book.end_epoch(self.global_step, fit.reduce, extra)
        fit.call("judge")
        shares, hint = fit.feed.report()
        if shares and fit.session.sink is not None:
            fit.session.sink(self.global_step, shares)
        self.progress.end(fit.batch, fit.shown())
        if hint:
            self.say(hint)
        self.current_epoch += 1
        if fit.plan.check_val_every_n_epoch is None:
            fit.before = done
        fit.batch = 0
        if fit.automatic:
            fit.stepper.move("epoch", self.current_epoch)
        for hook in fit.hooks["on_checkpoint_due"]:
            hook(True)

    def _end_part(self, fit: Fit) -> None:
        """Training ends inside an epoch: what it has gathered is told, and kept for one that goes on from here."""
        gathered, measured = fit.book.state_dict(), metrics.states(fit.module)
        fit.book.step = self.global_step
        for moment in ("on_train_epoch_end", "judge"):
            fit.book.end_epoch(self.global_step, fit.reduce, {"epoch": float(self.current_epoch)})
            fit.call(moment)
        self.progress.end(fit.batch, fit.shown())
        fit.book.go_on(gathered)
        metrics.load_states(fit.module, measured)

    def _validate(self, fit: Fit) -> None:
        if fit.validation and (self.current_epoch + 1) % (fit.plan.check_val_every_n_epoch or 1) == 0:
            self._saver.settle()
            fit.zero_grad_before_validation()
            fit.validation.run()
            self.validated = True

    def _finish(self, fit: Fit) -> None:
        fit.book.flush()
        fit.share.tell(at_once=True)
        fit.call("on_train_end", "on_fit_end")
        self._saver.close()

    def _evaluate(
        self,
        stage: str,
        method: str,
        model: Module,
        loaders: Any,
        datamodule: DataModule | None,
        ckpt_path: Any,
        *,
        keep: bool = False,
    ) -> tuple[list[dict[str, float]], list[Any]]:
        if isinstance(loaders, DataModule):
            loaders, datamodule = None, loaders
        with Stage(self, stage, model, datamodule, ckpt_path) as running:
            session = running.session
            if running.checkpoint is not None:
                snapshot = checkpoint.read(running.checkpoint)
                checkpoint.load_weights(session.module, snapshot, running.checkpoint)
            evaluation = self._evaluation = Evaluation(
                self, session, stage, lambda: as_list(session.loader(loaders, method)), self.limits[stage]
            )
            self.progress.begin(stage, evaluation.batches)
            outputs = evaluation.run(keep=keep)
            self.progress.end(evaluation.done, evaluation.book.shown())
            return evaluation.results(), outputs

"""What surrounds fit, validate, test and predict? Ranks meet, the record opens, data and module are set up, signals
become flags; and at the end, however it comes, everything is put back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import torch

from leyden import track
from leyden.core.states import EXIT_PAUSE
from leyden.track.life import KILLED
from leyden.track.run import RUNS_FOLDER, Run
from leyden.train import progress
from leyden.train.callbacks.arrange import bring_along
from leyden.train.checkpoints.resume import find_checkpoint, run_to_continue
from leyden.train.float8 import use_float8
from leyden.train.loggers.base import FanOut, fan_out, rejoin
from leyden.train.logs.logbook import Sink
from leyden.train.module import overrides
from leyden.train.parallel import sharding
from leyden.train.plan import Plan, adopt_world, choose_device, count_devices
from leyden.train.profilers import memory_snapshot
from leyden.train.ranks import signals, watchdog
from leyden.train.ranks.launch import end_call, follow_parent, start_local
from leyden.train.ranks.world import World, await_all, join
from leyden.train.session import Session, check_module

_ASK_EVERY_S = 2.0  # slow steps: a signal is heeded within seconds, whatever log_every_n_steps says

if TYPE_CHECKING:
    from leyden.train.module import DataModule, Module
    from leyden.train.trainer import Trainer


class Stage:
    """A context around one call of the Trainer. `signal`: one of signals.py came during fit; EXIT_PAUSE: a rung."""

    def __init__(
        self,
        trainer: Trainer,
        name: str,
        module: Module,
        datamodule: DataModule | None,
        ckpt_path: str | Path | None,
    ) -> None:
        check_module(module, datamodule)
        self._trainer, self._name = trainer, name
        self._module, self._datamodule, self._asked = module, datamodule, ckpt_path
        self.signal = 0
        self._heard = False  # a signal came to this rank; `signal` is also set where it came to another
        self._agreed, self._ask_at = (-1, time.monotonic()), 0  # (step, when) ranks agreed last, and when next
        self._undo = contextlib.ExitStack()
        self._others: FanOut | None = None
        self.checkpoint: Path | None = None
        self.session: Session

    def __enter__(self) -> Stage:
        try:
            return self._enter()
        except BaseException as error:
            other = watchdog.explain(error)
            end_call(other or error)
            if other is not None:
                raise other from error
            raise

    def _enter(self) -> Stage:
        trainer, module, datamodule = self._trainer, self._module, self._datamodule
        self.checkpoint = find_checkpoint(trainer, self._asked, fitting=self._name == "fit")
        trainer.callbacks = bring_along(trainer.callbacks, module)
        plan, run = self._meet()
        trainer._plan, trainer.run, trainer._stage = plan, run, self
        trainer.progress = progress.choose(enabled=trainer.enable_progress_bar, first=plan.world.rank == 0)
        module._trainer = trainer
        trainer.stage, trainer.datamodule, trainer.model = self._name, datamodule, module
        self.session = Session(
            module=module,
            datamodule=datamodule,
            callbacks=tuple(trainer.callbacks),
            plan=plan,
            profiler=trainer.profiler,
            sink=self._sink(run) if plan.world.rank == 0 else None,
        )
        if trainer.profiler is not None:
            trainer.profiler.setup(self._name, plan.world.rank, run.path)
        self._undo.enter_context(memory_snapshot(run.path, plan.world.rank))
        self._set_torch(plan)
        if self._name == "fit":
            self._catch_signals()
        self._note_settings(run)
        try:
            self._set_up(plan.world)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        if str(self._asked) in ("auto", "last") and self.checkpoint is None and not trainer.fast_dev_run:
            trainer.say("no checkpoint has been saved yet: starting anew")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        trainer, module, datamodule = self._trainer, self._module, self._datamodule
        other = None if self.signal else watchdog.explain(error)  # first of all: others wait for this rank
        self._undo.__exit__(kind, error, trace)
        trainer.progress.close()
        trainer.sanity_checking, trainer.stage, trainer._stage = False, None, None
        if error is not None:
            if trainer._fit is not None:
                with contextlib.suppress(Exception):  # what led there is the last that one wants to lose
                    trainer._fit.book.flush()
            for callback in trainer.callbacks:
                callback.on_exception(trainer, module, error)
            if datamodule is not None:
                datamodule.on_exception(error)
            with contextlib.suppress(Exception):  # the first error is the one to show
                trainer.wait_for_checkpoints()
        watchdog.follow(None)
        if datamodule is not None:
            datamodule.teardown(self._name)
        for callback in trainer.callbacks:
            callback.teardown(trainer, module, self._name)
        module.teardown(self._name)
        if trainer.profiler is not None:
            trainer.profiler.teardown(self._name)
            trainer.profiler.describe()
        if self._others is not None:
            self._others.finalize("failed" if error and self.signal != EXIT_PAUSE else "success")
        module._book = module._stepper = None
        if trainer.run is not None:
            trainer.run.writer.flush()
        end_call(other or error)
        if other is not None:
            raise other from error

    def agree(self) -> int:
        """The signal that has come to any rank, 0 if none; `should_stop` on one rank counts for all. Collective."""
        plan, trainer = self.session.plan, self._trainer
        if plan.world.size > 1:
            step, now = trainer.global_step, time.monotonic()
            pace_s = (now - self._agreed[1]) / max(1, step - self._agreed[0])
            everyone = plan.world.gather((self.signal, trainer.should_stop, pace_s))
            self.signal = max(number for number, _, _ in everyone)
            trainer.should_stop = any(stop for _, stop, _ in everyone)
            often = int(_ASK_EVERY_S / max(1e-6, *(pace for _, _, pace in everyone)))
            self._heard = False  # a signal came to this rank; `signal` is also set where it came to another
            self._agreed, self._ask_at = (step, now), step + min(max(1, often), plan.log_every_n_steps)
        return self.signal

    def asks(self, step: int) -> bool:
        """Whether ranks agree after this step, as they do every two seconds or `log_every_n_steps`; then they have."""
        if self._ask_at <= step != self._agreed[0]:
            self.agree()
        return step == self._agreed[0]

    def leave(self, *, pausing: bool) -> None:
        """Training is to end at once, as after a signal where it pauses; every rank says so at the same moment."""
        self._ask_at = 0
        if pausing:
            self.signal = EXIT_PAUSE

    def end_if_signalled(self) -> None:
        """Everything is saved: leave with the exit code that says why (signals.py). Collective."""
        if self.agree() == EXIT_PAUSE:
            raise SystemExit(EXIT_PAUSE)
        if self.signal:
            name, step = signal.Signals(self.signal).name, self._trainer.global_step
            if self._trainer.run is not None:
                self._trainer.run.state = KILLED
            saved = self._trainer.checkpoint_callback
            where = f"; go on with ckpt_path={saved.last_model_path!r}" if saved else ", without a checkpoint"
            self._trainer.say(f"stopped by {name} at step {step}{where}")
            raise SystemExit(signals.exit_code(self.signal))

    def _meet(self) -> tuple[Plan, Run]:
        """Ranks: those a launcher started, or our own. The record: rank 0 opens it, the others are told."""
        trainer = self._trainer
        # A device that is missing is said before any rank starts; it is not used yet, as no GPU survives a fork.
        choose_device(trainer.accelerator, World(), trainer.devices)
        world = adopt_world(trainer.devices, trainer.accelerator, World.from_environ(), trainer.num_nodes)
        if world is not None and world.size > 1:
            follow_parent()
            join(world, self._device(world))
        run = trainer.run
        if run is None and (world is None or world.rank == 0):
            run = self._open_run()
        if world is None:
            count = count_devices(trainer.devices, trainer.accelerator)
            trainer.choices.strategy.check(count, trainer.choices.precision)
            world = World()
            if count > 1 and run is not None:
                world = start_local(count, run)
                join(world, self._device(world))
                run = run if world.rank == 0 else None  # a forked rank has only a copy of rank 0's
        watchdog.follow(trainer)
        path, attempt, self.checkpoint = world.share((run and run.path, run and run.attempt, self.checkpoint))
        run = run or track.open_run(path, attempt=attempt, rank=world.rank)
        return Plan(device=self._device(world), world=world, **vars(trainer.choices)), run

    def _set_torch(self, plan: Plan) -> None:
        """Torch's own switches for this call. Deterministic: what is not repeatable to the bit, raises."""
        if plan.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS has no other way to be told
            self._undo.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
            torch.use_deterministic_algorithms(True, warn_only=plan.deterministic == "warn")
        if plan.detect_anomaly:
            self._undo.enter_context(torch.autograd.set_detect_anomaly(True))
        benchmark = False if plan.deterministic else plan.benchmark
        if benchmark is not None:
            self._undo.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
            torch.backends.cudnn.benchmark = benchmark

    def _device(self, world: World) -> torch.device:
        device = choose_device(self._trainer.accelerator, world, self._trainer.devices)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # collectives and allocations of this rank go there
        return device

    def _open_run(self) -> Run:
        given = os.environ.get("LEYDEN_RUN_DIR")
        if given and track.is_current(Path(given)):
            return track.current()
        resume = run_to_continue(self.checkpoint, self._asked)
        root = self._trainer.default_root_dir / RUNS_FOLDER
        run = (track.claim(root) if resume is None else None) or track.start(root, resume=resume)
        run.claimed = True
        return run

    def _sink(self, run: Run) -> Sink:
        """Where rows of metrics go: Leyden's own record, and the loggers given."""
        if not self._trainer.loggers:
            return run.record
        own = self.checkpoint is not None and self.checkpoint.is_relative_to(run.checkpoints)
        keep = rejoin(self._trainer.loggers, run.path / "loggers.json", resumed=own and run.attempt > 1)
        others = self._others = fan_out(self._trainer.loggers)

        def both(step: int, row: dict[str, float]) -> None:
            run.record(step, row)
            others(step, row)
            keep()

        return both

    def _note_settings(self, run: Run) -> None:
        """What the module and its data were made with goes to the record, on rank 0, and to the loggers."""
        settings = {**(self._datamodule.hparams if self._datamodule else {}), **self._module.hparams}
        if settings:
            run.config.put(settings)
            if self._others is not None:
                self._others.log_hyperparams(settings)

    def _set_up(self, world: World) -> None:
        trainer, module, datamodule = self._trainer, self._module, self._datamodule
        sources = [one for one in (datamodule, module) if one is not None]
        if datamodule is not None:
            datamodule.trainer = trainer
        if any(overrides(one, "prepare_data") for one in sources):
            if world.local_rank == 0:
                for one in sources:
                    one.prepare_data()
            await_all(world, "prepare_data")
        if datamodule is not None:
            datamodule.setup(self._name)
        for callback in trainer.callbacks:
            callback.setup(trainer, module, self._name)
        module.setup(self._name)
        module.configure_model()
        if self.session.plan.precision == "float8-mixed":
            use_float8(module, self.session.plan.device)
        if self.session.plan.sync_batchnorm and world.size > 1:
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        sharding.place(module, self.session.plan)

    def _catch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signals.caught():
            self._undo.callback(signal.signal, number, signal.signal(number, self._on_signal))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._heard and number == signal.SIGINT:
            raise KeyboardInterrupt
        again, self._heard, self.signal = self._heard, True, self.signal or number
        if not again:  # launchers send SIGTERM to a group and to each of its members
            stops = "; Ctrl-C stops at once" if number != signal.SIGINT else "; once more stops at once"
            self._trainer.say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint{stops}")

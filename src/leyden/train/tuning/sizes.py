"""What is the largest batch that fits the memory, of every rank?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.callbacks.base import Callback
from leyden.train.evaluate import Evaluation
from leyden.train.feeding.loaders import as_list
from leyden.train.memory import is_out_of_memory, release
from leyden.train.tuning.trial import holders, need_automatic, train_briefly, untouched

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer

_MODES = ("power", "binsearch")
_LOADERS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


@dataclass(frozen=True, kw_only=True)
class SizeSearch:
    """The settings of a search for the batch size, with Lightning's names and defaults.

    `mode`: "power" doubles until memory runs out, "binsearch" then closes in and takes `margin` off. `max_val` and the
    samples there are bound it.
    """

    mode: str = "power"
    steps_per_trial: int = 3
    init_val: int = 2
    max_trials: int = 25
    batch_arg_name: str = "batch_size"
    margin: float = 0.05
    max_val: int = 8192

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ConfigurationError(asked=f"mode={self.mode!r}", found="it is unknown", do=nearest(self.mode, _MODES))
        numbers = (self.steps_per_trial, self.init_val, self.max_trials, self.max_val)
        if min(numbers) < 1 or not 0 <= self.margin < 1:
            raise ConfigurationError(
                asked="a search for the batch size",
                found="a number of it is below 1, or the margin is none",
                do="Give 1 or more, and a margin of 0 or more and less than 1.",
            )

    def run(self, trainer: Trainer, session: Session, method: str = "fit") -> int | None:
        """Search, put everything back, and set the attribute on all who have it. Collective.

        The size is that of one rank; memory that runs out on any counts for all. None with `fast_dev_run`.
        """
        if trainer.fast_dev_run:
            return None
        found = holders(session, self.batch_arg_name)
        self._check(session, found, method)
        before = [getattr(one, self.batch_arg_name) for one in found]

        def use(size: int) -> None:
            for one in found:
                setattr(one, self.batch_arg_name, size)

        def fits(size: int) -> bool:
            use(size)
            return _fits(trainer, session, method, size, self.steps_per_trial)

        try:
            with untouched(session):
                size = largest(fits, self, min(self.max_val, _samples(session, method)))
        except BaseException:
            for one, value in zip(found, before, strict=True):
                setattr(one, self.batch_arg_name, value)
            raise
        use(size)
        trainer.say(f"batch size {size}{' a rank' if session.plan.world.size > 1 else ''}, found by trying")
        return size

    def _check(self, session: Session, found: list[Any], method: str) -> None:
        asked = "a search for the batch size"
        if not found:
            raise ConfigurationError(
                asked=asked,
                found=f"neither {type(session.module).__name__} nor its DataModule has {self.batch_arg_name}",
                do='Give it the attribute and use it in train_dataloader, or name it with batch_arg_name="…".',
            )
        if session.plan.world.size == 1:
            return
        if method == "fit":
            need_automatic(session, f"{asked} over {session.plan.world.size} ranks")
        if session.plan.sharded or method != "fit":
            raise ConfigurationError(
                asked=f"{asked} for {method} over {session.plan.world.size} ranks",
                found="a rank that runs out of memory would keep the others waiting inside a forward pass",
                do='Search with devices=1, or for "fit" with strategy="ddp".',
            )


def largest(fits: Callable[[int], bool], search: SizeSearch, most: int) -> int:
    """The largest size up to `most` found to fit; raises ConfigurationError where not even 1 does.

    >>> largest(lambda size: size <= 100, SizeSearch(), 8192)
    64
    >>> largest(lambda size: size <= 100, SizeSearch(mode="binsearch", margin=0.0), 8192)
    100
    >>> largest(lambda size: size <= 3, SizeSearch(init_val=64), 8192), largest(lambda size: True, SizeSearch(), 50)
    (2, 50)
    """
    good, bad, size = 0, most + 1, min(search.init_val, most)
    for _ in range(search.max_trials):
        if fits(size):
            good = size
        else:
            bad = size
        if bad == 1 or bad - good == 1 or (good and bad <= most and search.mode == "power"):
            break
        size = min(2 * good, most) if bad > most else (good + bad) // 2
    if not good:
        raise ConfigurationError(
            asked="a search for the batch size",
            found=f"memory ran out with every size tried, the last was {bad}",
            do="Use a smaller model, precision='bf16-mixed', or start with a smaller init_val.",
        )
    return max(1, int(good * (1 - search.margin))) if search.mode == "binsearch" else good


def _fits(trainer: Trainer, session: Session, method: str, size: int, steps: int) -> bool:
    """Whether a few steps with this batch size fit the memory of all ranks. Collective."""
    probe, world = _Probe(size), session.plan.world
    failed = False
    try:
        if method == "fit":
            train_briefly(trainer, session, None, probe, steps)
        else:
            _evaluate_briefly(trainer, session, method, probe, steps)
    except _ElsewhereError:
        failed = True
    except Exception as error:
        if not is_out_of_memory(error) or not probe.started:
            raise
        failed = world.any(True)  # the answer to the others' question after their step
    # Outside of the handler, where the traceback no longer keeps activations alive.
    session.module.zero_grad(set_to_none=True)
    session.module._stepper = session.module._trainer = None
    if failed:
        release()
    return not failed


class _ElsewhereError(Exception):
    """Memory ran out on another rank."""


class _Probe(Callback):
    """Lets ranks tell each other after every step whether memory sufficed, and keeps them from waiting before that."""

    def __init__(self, size: int) -> None:
        self.size, self.started = size, False

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        loader = trainer.train_dataloader
        self._start(loader)
        fit = trainer._fit
        if fit is not None and fit._parallel is not None:  # gradients stay where they are: no step waits for a rank
            fit._parallel.require_backward_grad_sync = fit._parallel.require_forward_param_sync = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.plan.world.any(False):
            raise _ElsewhereError

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        self.started = True

    on_test_start = on_predict_start = on_validation_start

    def _start(self, loader: Any) -> None:
        self.started = True
        made = getattr(loader, "batch_size", None)
        if made is not None and made != self.size:
            raise ConfigurationError(
                asked=f"batches of {self.size} were to be tried",
                found=f"train_dataloader makes batches of {made}",
                do="Use the attribute in train_dataloader: DataLoader(…, batch_size=self.batch_size).",
            )


def _evaluate_briefly(trainer: Trainer, session: Session, method: str, probe: Callback, steps: int) -> None:
    quiet = replace(session, callbacks=(probe,), sink=None, profiler=None)
    name = f"{_LOADERS[method]}_dataloader"
    Evaluation(trainer, quiet, method, lambda: as_list(session.loader(None, name)), steps).run(silent=True)


def _samples(session: Session, method: str) -> int:
    """How many samples a rank has; a large number where nobody knows."""
    try:
        [loader] = as_list(session.loader(None, f"{_LOADERS[method]}_dataloader"))
        return max(1, len(loader.dataset) // session.plan.data_size)
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return 10**9

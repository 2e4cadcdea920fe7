"""Are bad losses seen, and is training put back exactly to where it was good?"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import EMAWeightAveraging, LossGuard
from tests.train.callbacks.runs import named, new, record, resumes_exactly, trainer
from tests.train.models import Line, loader, regression


class Poisoned:
    """Good batches, and at some places bad ones."""

    def __init__(self, count: int, bad: dict[int, float]) -> None:
        self.count, self.bad = count, bad

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        x, y = regression(8 * self.count).tensors
        for index in range(self.count):
            part = slice(8 * index, 8 * index + 8)
            yield x[part], y[part] * self.bad.get(index, 1.0)


class Without(Poisoned):
    """The same without the bad ones."""

    def __iter__(self) -> Any:
        return (batch for index, batch in enumerate(super().__iter__()) if index not in self.bad)

    def __len__(self) -> int:
        return self.count - len(self.bad)


def rolls(**settings: Any) -> LossGuard:
    return LossGuard(**{"window": 5, "action": "rollback", "snapshot_every_n_steps": 1, **settings})


def equal(left: Line, right: Line) -> bool:
    return all(torch.equal(one, named(right)[name]) for name, one in named(left).items())


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1000.0])
def test_rolled_back_training_equals_training_without_the_bad_batches(bad: float) -> None:
    guard, model, clean = rolls(), new(), new()
    run = trainer(guard, max_epochs=1)
    run.fit(model, Poisoned(20, {9: bad, 15: bad}))
    trainer(max_epochs=1).fit(clean, Without(20, {9: bad, 15: bad}))
    assert equal(model, clean)
    assert (guard.spikes, guard.rollbacks, run.global_step) == (2, 2, 20)
    spikes = record(run)["loss_guard_spikes"]
    assert (list(spikes.steps), list(spikes.values)) == ([9, 15], [1.0, 2.0])


def test_batches_since_the_snapshot_are_lost_and_not_seen_again(capsys: pytest.CaptureFixture[str]) -> None:
    guard, model, clean = rolls(snapshot_every_n_steps=4, check_every_n_steps=2), new(), new()
    trainer(guard, max_epochs=1).fit(model, Poisoned(12, {10: math.nan}))
    trainer(max_epochs=1, limit_train_batches=8).fit(clean, Poisoned(12, {}))
    assert equal(model, clean)
    assert "step 12: the loss is nan: back to the weights of step 8" in capsys.readouterr().out


def test_a_snapshot_that_is_bad_itself_gives_way_to_the_one_before() -> None:
    class Breaks(leyden.Callback):
        """The weights go bad at step 6 although its loss was good."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 6:
                pl_module.net[0].weight.data.fill_(math.nan)

    guard, model, clean = rolls(snapshot_every_n_steps=3), new(), new()
    trainer(Breaks(), guard, max_epochs=1).fit(model, Poisoned(8, {}))
    trainer(max_epochs=1, limit_train_batches=3).fit(clean, Poisoned(8, {}))
    assert equal(model, clean)
    assert guard.rollbacks == 2


@pytest.mark.parametrize("guard_first", [True, False])
def test_averages_of_weights_are_put_back_too(guard_first: bool) -> None:
    averaging: list[leyden.Callback] = [EMAWeightAveraging(decay=0.5), rolls()]
    model = new()
    trainer(*(averaging[::-1] if guard_first else averaging), max_epochs=1).fit(model, Poisoned(12, {9: math.nan}))
    assert all(one.isfinite().all() for one in named(model).values())


def test_learning_rates_and_steps_go_on() -> None:
    class Scheduled(Line):
        def configure_optimizers(self) -> Any:
            self.optimizer = torch.optim.Adam(self.parameters(), lr=1.0)
            schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=0.5)
            return [self.optimizer], [{"scheduler": schedule, "interval": "step"}]

    model = new(Scheduled)
    trainer(rolls(), max_epochs=1).fit(model, Poisoned(10, {4: math.nan}))
    optimizer: Any = model.optimizer
    assert optimizer.param_groups[0]["lr"] == 0.5**10
    assert {int(one["step"]) for one in optimizer.state.values()} == {9}


@pytest.mark.parametrize(("action", "steps"), [("stop", 10), ("warn", 20)])
def test_stop_and_warn(action: str, steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    guard = LossGuard(window=5, action=action)
    run = trainer(guard, max_epochs=1)
    run.fit(new(), Poisoned(20, {9: 1000.0}))
    assert run.global_step == steps
    assert guard.spikes >= 1
    assert "deviations above the median" in capsys.readouterr().out


def test_too_many_rollbacks_stop_with_good_weights() -> None:
    guard, model = rolls(max_rollbacks=2), new()
    run = trainer(guard, max_epochs=1)
    run.fit(model, Poisoned(20, dict.fromkeys(range(8, 20), math.nan)))
    assert run.global_step == 11
    assert all(one.isfinite().all() for one in named(model).values())


def test_early_jumps_and_usual_noise_are_no_spikes() -> None:
    guard = LossGuard(window=50)
    trainer(guard, max_epochs=10).fit(new(), loader(shuffle=True))
    assert guard.spikes == 0


def test_accumulated_batches_are_judged_at_the_step() -> None:
    guard, model, clean = rolls(window=50), new(), new()
    trainer(guard, max_epochs=1, accumulate_grad_batches=2).fit(model, Poisoned(20, {9: math.nan}))
    trainer(max_epochs=1, accumulate_grad_batches=2).fit(clean, Without(20, {8: 0.0, 9: 0.0}))
    assert equal(model, clean)


@pytest.mark.parametrize(("crash", "every"), [(7, 1), (10, 2), (17, 1)])
def test_resumed_equals_uninterrupted(crash: int, every: int) -> None:
    def guard() -> LossGuard:
        return rolls(snapshot_every_n_steps=4, check_every_n_steps=every)

    assert resumes_exactly(guard, crash, data=lambda: Poisoned(8, {5: math.nan}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"action": "wurn"}, "did you mean 'warn'"), ({"window": 0}, "window=0"), ({"threshold": -1.0}, "threshold=-1.0")],
)
def test_mistakes(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LossGuard(**settings)

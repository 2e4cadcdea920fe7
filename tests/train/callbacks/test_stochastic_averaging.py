"""Does SWA average the right weights, at the right rates, with statistics of its own?"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import LearningRateMonitor, StochasticWeightAveraging
from leyden.train.checkpoints import checkpoint
from tests.train.callbacks.runs import Normed, named, new, record, resumes_exactly, saving, trainer
from tests.train.models import Line, loader, regression


class Epochs(leyden.Callback):
    def __init__(self) -> None:
        self.ends: list[Any] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.ends.append(named(pl_module))


class Decays(Normed):
    """Its schedule would bring the rate down."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def early() -> StochasticWeightAveraging:
    return StochasticWeightAveraging(0.1, swa_epoch_start=1, annealing_epochs=2)


def test_weights_are_the_mean_and_statistics_are_those_of_the_mean() -> None:
    ends, model = Epochs(), new(Decays)
    run = trainer(StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=2), ends, max_epochs=5)
    run.fit(model, loader(64, 16), loader(16))
    mine = named(model)
    for name in ("net.0.weight", "net.3.bias", "net.1.weight"):
        torch.testing.assert_close(mine[name], torch.stack([one[name] for one in ends.ends[2:]]).mean(0))
    x = regression(64).tensors[0]
    hidden = [model.net[0](part) for part in torch.split(x, 16)]
    means = torch.stack([part.mean(0) for part in hidden]).mean(0)
    variances = torch.stack([part.var(0) for part in hidden]).mean(0)
    torch.testing.assert_close(mine["net.1.running_mean"], means.detach())
    torch.testing.assert_close(mine["net.1.running_var"], variances.detach())
    assert model.net[1].momentum == 0.1
    [scores] = run.test(model, loader(16))
    saved = next(run.checkpoint_dir.glob("*-swa"))
    [again] = run.test(new(Decays), loader(16), ckpt_path=saved)
    assert scores == again


@pytest.mark.parametrize("shape", ["cos", "linear"])
def test_the_rate_is_led_to_its_goal(shape: str) -> None:
    swa = StochasticWeightAveraging(0.5, swa_epoch_start=0.5, annealing_epochs=2, annealing_strategy=shape)
    run = trainer(swa, LearningRateMonitor(), max_epochs=6, limit_train_batches=2)
    run.fit(new(Decays), loader())
    rates = list(record(run)["lr-SGD"].values)
    before = 0.1 * 0.5**6
    assert rates[:6] == pytest.approx([0.1 * 0.5**n for n in range(6)])
    middle = 0.5 * before + 0.5 * 0.5
    assert rates[6:] == pytest.approx([before, before, middle, middle, 0.5, 0.5])
    assert math.isclose(middle, 0.25 + before / 2)


@pytest.mark.parametrize("crash", [11, 19])
def test_resumed_equals_uninterrupted(crash: int) -> None:
    assert resumes_exactly(early, crash, Decays)


def test_while_training_a_checkpoint_holds_the_weights_that_were_validated() -> None:
    ends = Epochs()
    run = saving(StochasticWeightAveraging(0.1, swa_epoch_start=1), ends)
    run.fit(new(Decays), loader(), loader(16))
    saved = checkpoint.read(run.checkpoint_dir / "epoch=2-step=16").weights
    assert all(torch.equal(one, ends.ends[1][name]) for name, one in saved.items())


def test_a_finished_run_can_be_trained_further() -> None:
    whole = new(Decays)
    saving(early(), default_root_dir="whole", max_epochs=4).fit(whole, loader(shuffle=True))
    saving(early(), default_root_dir="more", max_epochs=2).fit(new(Decays), loader(shuffle=True))
    more = new(Decays, seed=3)
    saving(early(), default_root_dir="more", max_epochs=4).fit(more, loader(shuffle=True), ckpt_path="last")
    assert all(torch.equal(one, named(more)[name]) for name, one in named(whole).items())


def test_never_begun_changes_nothing() -> None:
    with_it, without = new(), new()
    trainer(StochasticWeightAveraging(0.1, swa_epoch_start=9)).fit(with_it, loader())
    trainer().fit(without, loader())
    assert all(torch.equal(one, named(without)[name]) for name, one in named(with_it).items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"swa_epoch_start": 0}, "no epoch from 1 on"),
        ({"swa_epoch_start": 1.5}, "no epoch from 1 on"),
        ({"swa_lrs": [0.1, -1.0]}, "rates are above 0"),
        ({"annealing_strategy": "cosine"}, "did you mean 'cos'"),
        ({"swa_lrs": [0.1, 0.1]}, "1 parameter groups"),
    ],
)
def test_mistakes(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trainer(StochasticWeightAveraging(**{"swa_lrs": 0.1, **settings})).fit(new(), loader())


def test_epochs_without_bound_and_manual_optimization_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_epochs is not bounded"):
        trainer(StochasticWeightAveraging(0.1), max_epochs=-1, max_steps=3).fit(new(), loader())

    class ByHand(Line):
        automatic_optimization = False

    with pytest.raises(ConfigurationError, match="optimizes by hand"):
        trainer(StochasticWeightAveraging(0.1)).fit(new(ByHand), loader())

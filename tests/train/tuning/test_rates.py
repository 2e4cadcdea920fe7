"""Is a learning rate found, and is everything else afterwards what it was before?"""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from leyden.core.errors import ConfigurationError
from leyden.track.read import read_run
from leyden.train import rng
from leyden.train.callbacks import LearningRateFinder
from leyden.train.tuning import LRSweep, Tuner
from tests.train.callbacks.runs import Normed, named, new, trainer
from tests.train.models import Line, loader, same, weights


class Kept(Normed):
    """With dropout, batch normalization, a schedule too short for a sweep, and one optimizer for every fit."""

    def __init__(self) -> None:
        super().__init__(lr=0.05)
        self.net.insert(3, nn.Dropout(0.2))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)

    def configure_optimizers(self) -> Any:
        return [self.optimizer], [OneCycleLR(self.optimizer, 0.05, total_steps=40)]


def shuffled() -> Any:
    return loader(shuffle=True, generator=torch.Generator().manual_seed(5))


def test_a_search_leaves_nothing_behind() -> None:
    """A fit after it ends with the bits of one without it: weights, moments, random numbers, order of samples."""
    plain, run = new(Kept), trainer()
    run.fit(plain, shuffled())
    model, run = new(Kept), trainer()
    before, numbers, data = named(model), rng.capture(), shuffled()
    sweep = Tuner(run).lr_find(model, data, num_training=60, update_attr=False)
    assert sweep is not None
    assert len(sweep.results["lr"]) > 20
    assert same(list(before.values()), weights(model))
    assert torch.equal(numbers["torch"], rng.capture()["torch"])
    assert model.optimizer.state_dict()["state"] == {}
    assert model.lr == 0.05
    assert (run.global_step, run.current_epoch, run.should_stop) == (0, 0, False)
    run.fit(model, data)
    assert same(weights(plain), weights(model))


def test_the_record_has_nothing_of_a_search() -> None:
    model, run = new(Kept), trainer()
    Tuner(run).lr_find(model, loader(), num_training=20)
    assert run.run is not None
    assert "train_loss" not in read_run(run.run.path)


def test_the_rate_found_trains_and_extremes_do_not() -> None:
    model, run = new(), trainer()
    sweep = Tuner(run).lr_find(model, loader(256, 16, shuffle=True), num_training=80, max_lr=30.0)
    assert sweep is not None
    rates = sweep.results["lr"]
    assert rates[0] == 1e-8
    assert rates[1] / rates[0] == pytest.approx((30.0 / 1e-8) ** (1 / 79))
    assert model.lr == sweep.suggestion()
    assert 1e-3 < model.lr < 1.0

    def trained(lr: float) -> float:
        one = new(lambda: Line(lr=lr))
        trainer(max_epochs=4).fit(one, loader(256, 16))
        return float(sum(one.losses[-8:]))

    assert trained(model.lr) < min(trained(1e-6), trained(10.0))


def test_it_stops_where_the_loss_explodes_and_keeps_proportions() -> None:
    class Groups(Line):
        def configure_optimizers(self) -> Any:
            groups = [{"params": self.net[0].parameters(), "lr": 0.1}, {"params": self.net[3].parameters(), "lr": 0.01}]
            self.seen: list[tuple[float, float]] = []
            optimizer = torch.optim.SGD(groups)
            optimizer.register_step_pre_hook(
                lambda one, *_: self.seen.append((one.param_groups[0]["lr"], one.param_groups[1]["lr"]))
            )
            return optimizer

    model, run = new(Groups), trainer(accumulate_grad_batches=2)
    sweep = Tuner(run).lr_find(model, loader(), min_lr=0.01, max_lr=1e6, num_training=50, mode="linear")
    assert sweep is not None
    assert len(sweep.results["lr"]) < 10
    assert model.seen[0] == pytest.approx((0.01, 0.001))
    assert model.seen[1] == pytest.approx((0.01 + (1e6 - 0.01) / 49, 0.1 * (0.01 + (1e6 - 0.01) / 49)))


def test_a_suggestion_by_hand() -> None:
    losses = [9.0, 8.0, math.nan, 7.0, 3.0, 2.0, 5.0, 50.0]
    sweep = LRSweep(mode="linear", results={"lr": [float(n) for n in range(8)], "loss": losses})
    assert sweep.suggestion(skip_begin=0) == 3.0  # finite ones: (3 - 8) / 2 falls fastest, at the 7
    assert sweep.suggestion(skip_begin=4) == 4.0
    assert sweep.suggestion(skip_begin=5, skip_end=0) is None  # it only rises
    assert sweep.suggestion() is None
    noisy = [5.0, 9.0, 6.0, 6.2, 6.1, 6.3, 6.0, 5.5, 4.8, 4.6, 4.5, 9.0]
    sweep = LRSweep(mode="linear", results={"lr": [float(n) for n in range(12)], "loss": noisy})
    assert sweep.suggestion(skip_begin=0, skip_end=1) == 7.0  # not 1.0, where it falls from 9 to 6 by chance


def test_a_callback_searches_before_training_and_between_epochs() -> None:
    class Again(LearningRateFinder):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.before, book = named(pl_module), pl_module._book
                self.lr_find(trainer, pl_module)
                assert same(list(self.before.values()), weights(pl_module))
                assert (trainer.global_step, pl_module._book) == (8, book)

    finder, model = Again(num_training_steps=60, max_lr=10.0), new(Normed)
    run = trainer(finder, max_epochs=2)
    run.fit(model, loader())
    assert finder.optimal_lr is not None
    assert model.lr == finder.optimal_lr.suggestion() == run.optimizers[0].param_groups[0]["lr"]
    assert run.global_step == 16
    assert len(model.losses) > 16  # a list of the Module's own also has the search's


def test_hyperparameters_are_set_too() -> None:
    class Given(Line):
        def __init__(self, learning_rate: float = 0.3) -> None:
            super().__init__()
            self.save_hyperparameters()
            del self.lr

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)

    model = new(Given)
    sweep = Tuner(trainer()).lr_find(model, loader(), num_training=30)
    assert sweep is not None
    assert model.hparams.learning_rate == sweep.suggestion() != 0.3


def test_mistakes() -> None:
    class Bare(Line):
        def __init__(self) -> None:
            super().__init__()
            del self.lr

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    class ByHand(Line):
        automatic_optimization = False

    with pytest.raises(ConfigurationError, match="no attribute or hyperparameter lr or learning_rate"):
        Tuner(trainer()).lr_find(Bare(), loader())
    with pytest.raises(ConfigurationError, match="optimizes by hand"):
        Tuner(trainer()).lr_find(ByHand(), loader())
    with pytest.raises(ConfigurationError, match="it is unknown"):
        Tuner(trainer()).lr_find(Line(), loader(), mode="cubic")
    with pytest.raises(ConfigurationError, match="it is none"):
        Tuner(trainer()).lr_find(Line(), loader(), min_lr=1.0, max_lr=0.1)
    with pytest.raises(ConfigurationError, match="only fit has a rate"):
        Tuner(trainer()).lr_find(Line(), loader(), method="test")
    assert Tuner(trainer(fast_dev_run=True)).lr_find(Line(), loader()) is None


def test_a_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [4.0, 4.0, 4.0, 3.0, 2.0, 1.0, 3.0, 9.0]
    sweep = LRSweep(mode="exponential", results={"lr": [10.0**n for n in range(-8, 0)], "loss": losses})
    [axes] = sweep.plot().axes
    assert (axes.get_xlabel(), axes.get_xscale()) == ("learning rate", "log")
    assert axes.lines[0].get_ydata().tolist() == losses
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    with pytest.raises(ConfigurationError, match="pip install matplotlib"):
        sweep.plot()

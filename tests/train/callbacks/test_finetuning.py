"""Is the backbone frozen, thawed in time, and thawed again after a resume?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import BackboneFinetuning, BaseFinetuning, LearningRateMonitor
from tests.train.callbacks.runs import named, new, record, resumes_exactly, trainer
from tests.train.models import Line, loader


class Tuned(Line):
    """A backbone with batch normalization, a head, and an optimizer over what is not frozen."""

    schedule: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.net = nn.Sequential(self.backbone, nn.Linear(8, 1))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam([one for one in self.parameters() if one.requires_grad], lr=0.02)
        return [optimizer], [self.schedule(optimizer)] if self.schedule else []


class Stepped(Tuned):
    def schedule(self, optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)


class ByFunction(Tuned):
    def schedule(self, optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)


class Keeps(leyden.Callback):
    def __init__(self) -> None:
        self.ends: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.ends.append(named(pl_module))


@pytest.mark.parametrize("train_bn", [True, False])
def test_the_backbone_moves_only_once_it_is_thawed(train_bn: bool) -> None:
    keeps, model = Keeps(), new(Tuned)
    start = named(model)
    tuning = BackboneFinetuning(2, train_bn=train_bn)
    run = trainer(tuning, keeps, LearningRateMonitor("epoch"), max_epochs=5)
    run.fit(model, loader())
    frozen, thawed = keeps.ends[1], keeps.ends[2]
    assert torch.equal(frozen["backbone.0.weight"], start["backbone.0.weight"])
    assert not torch.equal(thawed["backbone.0.weight"], start["backbone.0.weight"])
    assert not torch.equal(frozen["net.1.weight"], start["net.1.weight"])
    assert torch.equal(frozen["backbone.1.weight"], start["backbone.1.weight"]) is not train_bn
    assert torch.equal(frozen["backbone.1.running_mean"], start["backbone.1.running_mean"]) is not train_bn
    rates = record(run)["lr-Adam/pg2"]
    assert list(rates.values) == pytest.approx([0.002, 0.004, 0.008])
    assert list(rates.steps) == [16, 24, 32]


def test_the_rate_never_exceeds_the_heads_where_it_is_to_align() -> None:
    tuning = BackboneFinetuning(1, lambda_func=lambda epoch: 4.0, backbone_initial_lr=0.01)
    run = trainer(tuning, LearningRateMonitor("epoch"), max_epochs=4)
    run.fit(new(Tuned), loader())
    assert list(record(run)["lr-Adam/pg2"].values) == pytest.approx([0.01, 0.02, 0.02])


@pytest.mark.parametrize(("kind", "crash"), [(Tuned, 5), (Stepped, 10), (ByFunction, 19)])
def test_resumed_equals_uninterrupted(kind: type[Tuned], crash: int) -> None:
    assert resumes_exactly(lambda: BackboneFinetuning(1), crash, kind)


class Layers(BaseFinetuning):
    """The last layer of the backbone at epoch 1, the first at epoch 2."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch in (1, 2):
            part = [pl_module.backbone[2 - epoch]]
            self.unfreeze_and_add_param_group(part, optimizer, train_bn=True)


def test_layer_after_layer() -> None:
    model = new(Tuned)
    run = trainer(Layers(), LearningRateMonitor("epoch"), max_epochs=3)
    run.fit(model, loader())
    assert all(one.requires_grad for one in model.parameters())
    assert [list(record(run)[f"lr-Adam/pg{n}"].steps) for n in (2, 3)] == [[8, 16], [16]]
    assert resumes_exactly(Layers, 21, Tuned)


def test_parameters_by_state() -> None:
    model = Tuned()
    BaseFinetuning.freeze(model.backbone)
    assert len(list(BaseFinetuning.filter_params(model))) == 4
    assert len(list(BaseFinetuning.filter_params(model, train_bn=False))) == 2
    assert len(list(BaseFinetuning.filter_params([model.backbone, [model.net[1]]], requires_grad=False))) == 2
    BaseFinetuning.make_trainable(model)
    assert len(list(BaseFinetuning.filter_params(model))) == 6


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="no attribute backbone"):
        trainer(BackboneFinetuning()).fit(new(), loader())

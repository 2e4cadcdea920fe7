"""Is it said clearly when `configure_optimizers` returns what cannot train?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.optimizers import configure
from tests.train.models import Line


class Empty(leyden.Module):
    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.1)


class Hidden(Empty):
    """Its layers are in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 2)]


class Frozen(Line):
    def configure_optimizers(self) -> Any:
        self.freeze()
        return SGD(self.parameters(), lr=0.1)


class Filtered(Line):
    def configure_optimizers(self) -> Any:
        self.freeze()
        return SGD([one for one in self.parameters() if one.requires_grad], lr=0.1)


class OnlyFrozen(Line):
    def configure_optimizers(self) -> Any:
        self.net[0].requires_grad_(False)
        return SGD(self.net[0].parameters(), lr=0.1)


class Wrong(Line):
    def configure_optimizers(self) -> Any:
        raise ValueError("another mistake")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Empty, "is to say what is trained; it has no parameter"),
        (Hidden, "it has no parameter"),
        (Frozen, "all 4 parameters are frozen"),
        (Filtered, "all 4 parameters are frozen"),
        (OnlyFrozen, "got no parameter that requires a gradient"),
    ],
)
def test_nothing_to_train(kind: type[leyden.Module], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configure(kind())


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="another mistake"):
        configure(Wrong())


def test_a_schedule_of_another_optimizer() -> None:
    class Astray(Line):
        def configure_optimizers(self) -> Any:
            return [SGD(self.parameters(), 0.1)], [StepLR(SGD(self.parameters(), 0.1), 1)]

    with pytest.raises(ConfigurationError, match="its StepLR belongs to an optimizer that it did not return"):
        configure(Astray())


def test_parameters_of_nobody() -> None:
    class Stranger(Line):
        def configure_optimizers(self) -> Any:
            return SGD([*self.parameters(), nn.Parameter(torch.ones(3))], lr=0.1)

    with pytest.warns(UserWarning, match=r"1 parameters that are not the Module's own, the first of shape \(3,\)"):
        configure(Stranger())

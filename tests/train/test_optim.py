"""Do LARS and LAMB take the steps of their papers, and get somewhere in few steps of a large batch?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import LambdaCallback
from leyden.train.optim import LAMB, LARS
from tests.train.callbacks.runs import resumes_exactly
from tests.train.models import Line

exactly = pytest.approx


def stepped(make: Callable[[Any], Optimizer], weight: list[Any], *gradients: list[Any]) -> list[Any]:
    parameter = nn.Parameter(torch.tensor(weight))
    optimizer = make([parameter])
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.flatten().tolist()


def test_lars_by_hand() -> None:
    """‖w‖ = 5, ‖g‖ = 1: λ = 0.02·5 / (1 + 0.1·5) = 1/15, and v = 0.5 · 1/15 · (g + 0.1·w); then once more."""

    def make(parameters: Any, **more: Any) -> Optimizer:
        return LARS(parameters, lr=0.5, momentum=0.9, weight_decay=0.1, trust_coefficient=0.02, eps=0.0, **more)

    weight, gradient = [[3.0, 4.0]], [[0.6, 0.8]]
    assert stepped(make, weight, gradient) == exactly([2.97, 3.96])
    assert stepped(make, weight, gradient, gradient) == exactly([2.97 - 0.0567, 3.96 - 0.0756])
    nesterov = stepped(lambda it: make(it, nesterov=True), weight, gradient)
    assert nesterov == exactly([3 - 0.03 - 0.9 * 0.03, 4 - 0.04 - 0.9 * 0.04])
    assert stepped(make, [3.0, 4.0], [0.6, 0.8]) == exactly([3 - 0.5 * 0.6, 4 - 0.5 * 0.8])  # a bias: plain SGD
    assert stepped(lambda it: make(it, exclude_1d=False), [3.0, 4.0], [0.6, 0.8]) == exactly([2.97, 3.96])
    assert stepped(make, [[0.0, 0.0]], gradient) == exactly([-0.3, -0.4])  # nothing to hold a step against


def test_lamb_by_hand() -> None:
    """After one step m/√v is the gradient's sign: r = (1, 1) + 1·(2, 3) = (3, 4), of length 5."""

    def make(parameters: Any, **more: Any) -> Optimizer:
        return LAMB(parameters, lr=0.1, betas=(0.5, 0.5), eps=0.0, weight_decay=1.0, **more)

    weight, gradient, back = [[2.0, 3.0]], [[0.2, 7.0]], [[-0.2, -7.0]]
    ratio = math.sqrt(13) / 5
    assert stepped(make, weight, gradient) == exactly([2 - 0.1 * ratio * 3, 3 - 0.1 * ratio * 4])
    # the way back: m = 0.25·g - 0.5·g, over 1 - 0.5² = 0.75 and |g|: -1/3
    x, y = 2 - 0.1 * ratio * 3, 3 - 0.1 * ratio * 4
    again = math.hypot(x, y) / math.hypot(x - 1 / 3, y - 1 / 3)
    assert stepped(make, weight, gradient, back) == exactly(
        [x - 0.1 * again * (x - 1 / 3), y - 0.1 * again * (y - 1 / 3)]
    )
    assert stepped(make, [2.0, 3.0], [0.2, 7.0]) == exactly([1.9, 2.9])  # a bias: Adam
    raw = stepped(lambda it: make(it, bias_correction=False), [2.0], [4.0])
    assert raw == exactly([2 - 0.1 * 0.5 / math.sqrt(0.5)])


def test_a_tensor_of_16_bits_and_one_without_gradient() -> None:
    for kind in (LARS, LAMB):
        half, idle = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16)), nn.Parameter(torch.ones(2, 2))
        half.grad = torch.ones_like(half)
        kind([half, idle], lr=10.0, weight_decay=0.01).step()
        assert half.dtype == torch.bfloat16
        assert bool((half < 1).all())
        assert bool((idle == 1).all())


class ByLayer(Line):
    kind: Any = LAMB

    def configure_optimizers(self) -> Any:
        return self.kind(self.parameters(), lr=0.05, weight_decay=0.01)


class ByRate(ByLayer):
    kind = LARS


@pytest.mark.parametrize("kind", [ByLayer, ByRate])
def test_resumed_equals_uninterrupted(kind: type[Line]) -> None:
    assert resumes_exactly(LambdaCallback, 11, kind)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_the_same_on_a_gpu(kind: Any) -> None:
    def trained(device: str) -> list[float]:
        generator = torch.Generator().manual_seed(3)
        parameters = [nn.Parameter(torch.randn(size, generator=generator).to(device)) for size in ((4, 5), (5,))]
        optimizer = kind(parameters, lr=0.1, weight_decay=0.01)
        for _ in range(3):
            for one in parameters:
                one.grad = torch.randn(one.shape, generator=generator).to(device)
            optimizer.step()
        return [number for one in parameters for number in one.flatten().tolist()]

    assert trained("cuda") == exactly(trained("cpu"), rel=1e-5)


def test_twenty_steps_of_a_thousand_digits() -> None:
    """SGD with the rate of small batches is left behind; with a rate scaled to the batch it would keep up here."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16, torch.tensor(digits.target)
    right = {}
    for name, make in {
        "sgd": lambda it: SGD(it, 0.05, momentum=0.9),
        "lars": lambda it: LARS(it, 8.0),
        "lamb": lambda it: LAMB(it, 0.1),
    }.items():
        right[name] = _trained(make, images, labels)
    assert right["lars"] > 0.82
    assert right["lamb"] > 0.86
    assert right["sgd"] < min(right["lars"], right["lamb"]) - 0.02


def _trained(make: Callable[[Any], Optimizer], images: Tensor, labels: Tensor, steps: int = 20) -> float:
    torch.manual_seed(1)
    blocks = [nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()) for _ in range(3)]
    net = nn.Sequential(*blocks, nn.Linear(64, 10))
    optimizer = make(net.parameters())
    [rate] = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        batch = torch.randperm(1437)[:1024]
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 3) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    net.eval()
    return float((net(images[1437:]).argmax(1) == labels[1437:]).float().mean())


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match=r"LARS\(lr=-1.0\)"):
        LARS([nn.Parameter(torch.ones(1))], lr=-1.0)
    with pytest.raises(ConfigurationError, match=r"LAMB\(beta2=1.0\)"):
        LAMB([nn.Parameter(torch.ones(1))], betas=(0.9, 1.0))

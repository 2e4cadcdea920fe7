"""LARS: momentum SGD in which each layer's step is a fixed share of its weights' size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from leyden.train.optim.layerwise import LayerWise, checked, norms, parts_of, scale


class LARS(LayerWise):
    """Layer-wise adaptive rate scaling, for batches of thousands where plain SGD diverges.

    For each parameter tensor w with gradient g, weight decay β, momentum m, trust coefficient η and learning rate γ:

        λ = η · ‖w‖ / (‖g‖ + β · ‖w‖ + eps)        (1 where ‖w‖ or ‖g‖ is 0)
        v ← m · v + γ · λ · (g + β · w)
        w ← w - v

    With `exclude_1d` tensors of one dimension (biases, norms) take λ = 1 and β = 0. Rates are much larger than SGD's:
    γ is about SGD's rate over η · ‖w‖ / ‖g‖. The state is one tensor a parameter.
    Source: You, Gitman & Ginsburg 2017, "Large Batch Training of Convolutional Networks", section 4, algorithm 1;
    exclusion of biases and norms as in You et al. 2020, "Large Batch Optimization for Deep Learning", appendix.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 1e-9,
        nesterov: bool = False,
        exclude_1d: bool = True,
    ) -> None:
        checked("LARS", lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "nesterov": nesterov,
            "exclude_1d": exclude_1d,
        }
        super().__init__(params, defaults)

    def _move(self, group: dict[str, Any], parameters: list[Tensor], adaptive: bool) -> None:
        weights, gradients = parts_of(parameters), parts_of([one.grad for one in parameters])
        rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"] if adaptive else 0.0
        steps = list(torch._foreach_add(gradients, weights, alpha=decay))
        if adaptive:
            sizes, slopes = norms(weights, parameters), norms(gradients, parameters)
            ratios = group["trust_coefficient"] * sizes / (slopes + decay * sizes + group["eps"])
            scale(steps, torch.where((sizes > 0) & (slopes > 0), ratios, 1.0))
        torch._foreach_mul_(steps, rate)
        if momentum:
            velocities = parts_of([self._velocity(one) for one in parameters])
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, steps)
            if group["nesterov"]:
                torch._foreach_add_(steps, velocities, alpha=momentum)
            else:
                steps = velocities
        torch._foreach_sub_(weights, steps)

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum_buffer"]
        return velocity

"""LAMB: Adam in which each layer's step is as long as its weights, times the learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from leyden.train.optim.layerwise import LayerWise, checked, norms, parts_of, scale


class LAMB(LayerWise):
    """Layer-wise adaptive moments, for batches of tens of thousands (BERT's 65,536).

    For each parameter tensor x with gradient g, at its step t, with weight decay λ and learning rate η:

        m ← β₁ · m + (1 - β₁) · g          v ← β₂ · v + (1 - β₂) · g²
        r = (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + eps) + λ · x
        x ← x - η · (‖x‖ / ‖r‖) · r        (the ratio is 1 where ‖x‖ or ‖r‖ is 0)

    With `exclude_1d` tensors of one dimension (biases, norms) take the ratio 1 and λ = 0, which is Adam.
    `bias_correction=False` leaves out the divisions by 1 - βᵗ. The state is two tensors a parameter and its count.
    Source: You et al. 2020, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", section 3,
    algorithm 2, with φ(z) = z.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
        exclude_1d: bool = True,
    ) -> None:
        checked("LAMB", lr=lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
            "exclude_1d": exclude_1d,
        }
        super().__init__(params, defaults)

    def _move(self, group: dict[str, Any], parameters: list[Tensor], adaptive: bool) -> None:
        weights = parts_of(parameters)
        steps = self._adam(group, parameters)
        if adaptive:
            torch._foreach_add_(steps, weights, alpha=group["weight_decay"])
            sizes, lengths = norms(weights, parameters), norms(steps, parameters)
            scale(steps, torch.where((sizes > 0) & (lengths > 0), sizes / lengths, 1.0))
        torch._foreach_mul_(steps, group["lr"])
        torch._foreach_sub_(weights, steps)

    def _adam(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        """Moments moved on, and Adam's direction from them."""
        (beta1, beta2), states = group["betas"], [self._state(one) for one in parameters]
        gradients = parts_of([one.grad for one in parameters])
        first, second = parts_of([one["exp_avg"] for one in states]), parts_of([one["exp_avg_sq"] for one in states])
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        steps = list(first)
        if group["bias_correction"]:
            counts = [one["step"].item() for one in states]  # on the host, so that nothing waits for the device
            torch._foreach_div_(roots, [(1 - beta2**count) ** 0.5 for count in counts])
            steps = list(torch._foreach_div(first, [1 - beta1**count for count in counts]))
        torch._foreach_add_(roots, group["eps"])
        return list(torch._foreach_div(steps, roots))

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        return state

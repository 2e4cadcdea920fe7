"""How large are the gradients?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from leyden.train.callbacks.base import Callback
from leyden.train.optim.layerwise import norms, parts_of

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class GradientNormMonitor(Callback):
    """Log `grad_norm`, the 2-norm of all gradients before they are clipped, once every `log_every_n_steps` steps.

    `per_parameter=True` adds `grad_norm/<name>` for each parameter. Several optimizers log one after another, each the
    norm of its own. Exact over all ranks, sharded or not; nothing waits for the device.
    """

    def __init__(self, per_parameter: bool = False) -> None:
        self.per_parameter = per_parameter

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Module, optimizer: Any) -> None:
        if (trainer.global_step + 1) % trainer.plan.log_every_n_steps:
            return
        moved = {id(one) for group in optimizer.param_groups for one in group["params"]}
        found = {
            name: one.grad for name, one in pl_module.named_parameters() if id(one) in moved and one.grad is not None
        }
        if not found:
            return
        each = norms(parts_of(found.values()), list(found.values()))
        pl_module.log("grad_norm", torch.linalg.vector_norm(each), on_step=True, on_epoch=False)
        if self.per_parameter:
            for name, norm in zip(found, each.unbind(), strict=True):
                pl_module.log(f"grad_norm/{name}", norm, on_step=True, on_epoch=False)

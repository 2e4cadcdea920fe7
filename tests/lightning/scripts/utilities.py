# mypy: ignore-errors
"""Names people import from utilities, and what they do."""

import torch
from lightning.fabric.utilities.seed import seed_everything as fabric_seed
from lightning.pytorch.utilities import grad_norm, measure_flops, move_data_to_device, rank_zero_only
from lightning.pytorch.utilities.memory import is_oom_error, recursive_detach
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.parsing import AttributeDict
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import EVAL_DATALOADERS, STEP_OUTPUT, TRAIN_DATALOADERS, OptimizerLRScheduler

import lightning as L


@rank_zero_only
def only():
    return "here"


class Model(L.LightningModule):
    def __init__(self, conf, other=2):
        super().__init__()
        self.save_hyperparameters(conf)
        self.save_hyperparameters("other")
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: int, batch_idx: int) -> STEP_OUTPUT:
        return None

    def train_dataloader(self) -> TRAIN_DATALOADERS:
        return []

    def val_dataloader(self) -> EVAL_DATALOADERS:
        return []

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return None


def main():
    L.seed_everything(3, workers=True)
    first = torch.rand(1)
    fabric_seed(3)
    with isolate_rng():
        torch.rand(5)
    second = torch.rand(1)
    model = Model({"a": 1, "b": {"c": 2}})
    loss = model.layer(torch.ones(1, 2)).sum()
    loss.backward()
    rank_zero_info("said")
    rank_zero_warn("warned")
    attributes = AttributeDict(lr=1)
    attributes.more = 2
    model.freeze()
    frozen = [p.requires_grad for p in model.parameters()]
    model.unfreeze()
    return {
        "seed": [first, second],
        "only": only(),
        "hparams": dict(model.hparams),
        "norms": grad_norm(model, 2),
        "flops": measure_flops(model, lambda: model.layer(torch.ones(1, 2))),
        "moved": move_data_to_device({"x": [torch.ones(1)]}, torch.device("cpu")),
        "oom": is_oom_error(RuntimeError("no")),
        "detached": recursive_detach({"a": loss})["a"].requires_grad,
        "overridden": [is_overridden("training_step", model), is_overridden("test_step", model)],
        "attributes": dict(attributes),
        "frozen": frozen,
        "rank": rank_zero_only.rank,
    }

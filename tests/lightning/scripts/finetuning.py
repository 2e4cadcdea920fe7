# mypy: ignore-errors
"""Transfer learning: a backbone frozen first and thawed later, by a callback of one's own and by the built-in one."""

import torch
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class FeatureExtractorFreezeUnfreeze(BaseFinetuning):
    def __init__(self, unfreeze_at_epoch=1):
        super().__init__()
        self._unfreeze_at_epoch = unfreeze_at_epoch

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module, current_epoch, optimizer):
        if current_epoch == self._unfreeze_at_epoch:
            self.unfreeze_and_add_param_group(modules=pl_module.backbone, optimizer=optimizer, train_bn=True)


class Transfer(L.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2], gamma=0.5)
        return [optimizer], [scheduler]


def train(callback):
    L.seed_everything(5)
    data = TensorDataset(torch.randn(32, 4), torch.randn(32, 1))
    model = Transfer()
    trainer = L.Trainer(
        max_epochs=4,
        callbacks=[callback],
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(data, batch_size=8))
    groups = trainer.optimizers[0].param_groups
    return {
        "loss": trainer.callback_metrics["train_loss"],
        "weights": list(model.state_dict().values()),
        "groups": [len(group["params"]) for group in groups],
        "lrs": [group["lr"] for group in groups],
    }


def main():
    builtin = BackboneFinetuning(
        unfreeze_backbone_at_epoch=2, lambda_func=lambda epoch: 1.5, backbone_initial_ratio_lr=0.2, should_align=False
    )
    return {"own": train(FeatureExtractorFreezeUnfreeze()), "builtin": train(builtin)}

# mypy: ignore-errors
"""Optimization with hooks of one's own: warm-up in optimizer_step, LBFGS, closures, own clipping, stream of data."""

import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lightning as L


class Stream(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(2)
        for _ in range(14):
            yield torch.randn(3, generator=generator)


class Base(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.lrs = []

    def training_step(self, batch, batch_idx):
        x = batch[0] if isinstance(batch, list) else batch
        loss = (self.layer(x) - x.sum(1, keepdim=True)).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WarmsUp(Base):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        if self.trainer.global_step < 4:
            for group in optimizer.param_groups:
                group["lr"] = min(1.0, (self.trainer.global_step + 1) / 4.0) * 0.1
        optimizer.step(closure=optimizer_closure)
        self.lrs.append(optimizer.param_groups[0]["lr"])

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)


class Clips(Base):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        self.clip_gradients(optimizer, gradient_clip_val=0.01, gradient_clip_algorithm="value")

    def on_after_backward(self):
        self.lrs.append(self.layer.weight.grad.abs().sum().item())

    def on_before_optimizer_step(self, optimizer):
        self.log("grad", self.layer.weight.grad.norm())


class Newton(Base):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=4)


class Skips(Base):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 1 else {"loss": loss, "extra": torch.ones(2)}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.lrs.append(sorted(outputs) if outputs else [])


class Manual(Base):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss, retain_graph=True)
        if (batch_idx + 1) % 2 == 0:
            optimizer.step()
            scheduler.step()
        self.lrs.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)}


def fit(kind, data=None, **settings):
    L.seed_everything(3)
    model = kind()
    trainer = L.Trainer(
        **{"max_epochs": 2, **settings},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(TensorDataset(torch.randn(12, 3)), batch_size=4) if data is None else data
    trainer.fit(model, data)
    metrics = dict(trainer.callback_metrics)
    return [list(model.parameters()), model.lrs, trainer.global_step, metrics, trainer.num_training_batches]


def main():
    stream = DataLoader(Stream(), batch_size=4)
    found = fit(Base, stream)
    return {
        "warms": fit(WarmsUp),
        # two batches: of a window that is not full Leyden takes the mean, Lightning divides by its full size
        "warms over two": fit(WarmsUp, accumulate_grad_batches=2, limit_train_batches=2),
        "clips": fit(Clips),
        "newton": fit(Newton),
        "skips": fit(Skips),
        "manual": fit(Manual),
        "stream": [[str(one) for one in found[2:5:2]], found[3]],
        "limited stream": fit(Base, stream, limit_train_batches=2),
    }

# mypy: ignore-errors
"""A GAN: two optimizers, optimized by hand."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class GAN(L.LightningModule):
    def __init__(self, latent_dim: int = 4, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent_dim, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 1))
        self.seen = []

    def forward(self, z):
        return self.generator(z)

    def adversarial_loss(self, y_hat, y):
        return F.binary_cross_entropy_with_logits(y_hat, y)

    def training_step(self, batch):
        (real,) = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(real.shape[0], self.hparams.latent_dim).type_as(real)

        self.toggle_optimizer(optimizer_g)
        valid = torch.ones(real.size(0), 1).type_as(real)
        g_loss = self.adversarial_loss(self.discriminator(self(z)), valid)
        self.log("g_loss", g_loss, prog_bar=True)
        self.manual_backward(g_loss)
        self.clip_gradients(optimizer_g, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        self.seen.append(all(p.grad is None for p in self.discriminator.parameters()))
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)

        with self.toggled_optimizer(optimizer_d):
            real_loss = self.adversarial_loss(self.discriminator(real), valid)
            fake = torch.zeros(real.size(0), 1).type_as(real)
            fake_loss = self.adversarial_loss(self.discriminator(self(z).detach()), fake)
            d_loss = (real_loss + fake_loss) / 2
            self.log("d_loss", d_loss, prog_bar=True)
            self.manual_backward(d_loss)
            optimizer_d.step()
            optimizer_d.zero_grad()

        if self.trainer.is_last_batch:
            for schedule in self.lr_schedulers():
                schedule.step()

    def on_train_epoch_end(self):
        lrs = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers()]
        self.log_dict({"lr_g": lrs[0], "lr_d": lrs[1]})

    def configure_optimizers(self):
        lr = self.hparams.lr
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=(0.5, 0.999))
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))
        schedules = [torch.optim.lr_scheduler.StepLR(one, 1, 0.9) for one in (opt_g, opt_d)]
        return [opt_g, opt_d], schedules


def main():
    L.seed_everything(1)
    loader = DataLoader(TensorDataset(torch.randn(32, 2) + 2), batch_size=8, shuffle=True)
    model = GAN()
    trainer = L.Trainer(accelerator="auto", devices=1, max_epochs=2, enable_progress_bar=False, logger=False)
    trainer.fit(model, loader)
    return {
        "metrics": dict(trainer.callback_metrics),
        "weights": list(model.parameters()),
        "step": trainer.global_step,
        "quiet": model.seen[0],
        "names": [type(one).__name__ for one in trainer.optimizers],
    }

# mypy: ignore-errors
"""An autoencoder in the style of Lightning's introduction."""

import torch
import torch.nn.functional as F
from torch import nn, optim, utils

import lightning as L


class LitAutoEncoder(L.LightningModule):
    def __init__(self, encoder, decoder, lr=1e-2):
        super().__init__()
        self.save_hyperparameters(ignore=["encoder", "decoder"])
        self.encoder = encoder
        self.decoder = decoder
        self.example_input_array = torch.zeros(2, 12)

    def forward(self, x):
        return self.encoder(x)

    def _loss(self, batch):
        x, _ = batch
        x = x.view(x.size(0), -1)
        return F.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch), prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self._loss(batch))

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self(batch[0].view(-1, 12))

    def configure_optimizers(self):
        return optim.Adam(self.parameters(), lr=self.hparams.lr)


def main():
    L.seed_everything(42, workers=True)
    data = utils.data.TensorDataset(torch.rand(50, 3, 4), torch.zeros(50))
    train, val = utils.data.random_split(data, [40, 10])
    train_loader = utils.data.DataLoader(train, batch_size=8, shuffle=True)
    val_loader = utils.data.DataLoader(val, batch_size=4)
    model = LitAutoEncoder(
        nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 12)),
    )
    trainer = L.Trainer(limit_train_batches=4, max_epochs=3, accelerator="cpu", enable_progress_bar=False)
    trainer.fit(model=model, train_dataloaders=train_loader, val_dataloaders=val_loader)
    fitted = dict(trainer.callback_metrics)
    tested = trainer.test(model, val_loader, verbose=False)
    validated = trainer.validate(model, val_loader, verbose=False)
    predicted = trainer.predict(model, val_loader)
    checkpoint = trainer.checkpoint_callback.best_model_path
    again = LitAutoEncoder.load_from_checkpoint(checkpoint, encoder=model.encoder, decoder=model.decoder)
    again.eval()
    embeddings = again(torch.ones(2, 12))
    return {
        "fitted": fitted,
        "tested": tested,
        "validated": validated,
        "predicted": torch.cat(predicted),
        "embeddings": embeddings,
        "lr": again.hparams.lr,
        "hparams": dict(model.hparams),
        "name": checkpoint.rsplit("/", 1)[-1],
        "folder": checkpoint.split("/")[-4:-1],
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
    }

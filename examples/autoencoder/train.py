"""One autoencoder, two uses: it embeds scans of digits into eight numbers, and it draws new digits from eight numbers.

A Module is a system, not a network with a loss: what is trained once here embeds through `forward` and draws through
`draw`, and `Trainer.predict` does both in one call, a loader for each. Nothing it learns from has a label.

python train.py                                 seconds on one core
python train.py --size 2                        fewer numbers: worse to tell apart, still digits when drawn
leyden run examples/autoencoder/train.py        as a job
python train.py --smoke                         does everything run?
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden

Loader = DataLoader[tuple[Tensor, ...]]


class Digits(leyden.DataModule):
    """Scans (1, 8, 8) in 0 … 1; 1,437 to train, 360 to validate. Their labels only serve to compare."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        self.train, self.val = images[order[:1437]], images[order[1437:]]
        labels = torch.tensor(digits.target)
        self.train_labels, self.val_labels = labels[order[:1437]], labels[order[1437:]]

    def train_dataloader(self) -> Loader:
        return DataLoader(TensorDataset(self.train), self.batch_size, shuffle=True)

    def val_dataloader(self) -> Loader:
        return DataLoader(TensorDataset(self.val), 360)


class Autoencoder(leyden.Module):
    """A variational autoencoder (Kingma & Welling 2014) that is shown noisy scans and must tell the clean ones.

    `beta` weighs how normal embeddings are to be against how exact drawings (Higgins et al. 2017, equation 4).
    """

    def __init__(self, size: int, width: int, beta: float, noise: float, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.size, self.beta, self.noise, self.lr = size, beta, noise, lr
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2 * size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embed: (n, 1, 8, 8) -> (n, size). This is what `to_onnx` exports."""
        mean, _ = self.encoder(images).chunk(2, dim=1)
        return mean  # type: ignore[no-any-return]

    def draw(self, latents: Tensor) -> Tensor:
        """Draw: (n, size), normal numbers or embeddings -> (n, 1, 8, 8)."""
        return self.decoder(latents).sigmoid().view(-1, 1, 8, 8)  # type: ignore[no-any-return]

    def predict_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The first loader brings images to embed, the second latents to draw from."""
        [what] = batch
        made: Tensor = self(what) if dataloader_idx == 0 else self.draw(what)
        return made

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        [images] = batch
        blurred, clean = images + self.noise * torch.randn_like(images), images.flatten(1)
        mean, log_variance = self.encoder(blurred).chunk(2, dim=1)
        latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        missed = F.binary_cross_entropy_with_logits(self.decoder(latents), clean, reduction="none").sum(1).mean()
        odd = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2  # Kingma & Welling, appendix B
        self.log_dict({"missed": missed, "odd": odd})
        loss: Tensor = missed + self.beta * odd
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        [images] = batch
        self.log("val_error", F.mse_loss(self.draw(self(images)), images), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed and draw digits.")
    parser.add_argument("--size", type=int, default=8, help="numbers in an embedding")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--beta", type=float, default=0.25)
    parser.add_argument("--noise", type=float, default=0.3, help="standard deviation of what is added to the scans")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--max-epochs", type=int, default=60)
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--smoke", action="store_true", help="few epochs, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.max_epochs = 15

    leyden.seed_everything(0)
    data, model = Digits(args.batch_size), Autoencoder(args.size, args.width, args.beta, args.noise, args.lr)
    trainer = leyden.Trainer(max_epochs=args.max_epochs, devices=1)  # what a rank predicts stays on that rank
    trainer.fit(model, datamodule=data, ckpt_path=args.ckpt_path)

    scans = DataLoader(TensorDataset(torch.cat([data.train, data.val])), 500)
    latents = DataLoader(TensorDataset(torch.randn(1000, args.size)), 500)
    embedded, drawn = map(torch.cat, trainer.predict(model, [scans, latents]))  # the same object, both uses

    known, asked = embedded[: len(data.train)], embedded[len(data.train) :]
    for labels in (50, len(data.train)):
        by_pixels = neighbours_read(data.train, data.train_labels, data.val, data.val_labels, labels)
        by_numbers = neighbours_read(known, data.train_labels, asked, data.val_labels, labels)
        print(
            f"with {labels} labels, the nearest scans by {args.size} numbers read {by_numbers:.1%} of 360 new ones, "
            f"by 64 pixels {by_pixels:.1%}"
        )
    ratio = distance(drawn, data.train) / distance(data.val, data.train)
    print(f"a drawing is {ratio:.2f} times as far from the nearest training scan as a new scan is")
    picture = leyden.run_dir() / "artifacts" / "drawn.png"
    write_grid(drawn[:100], picture)
    print(f"100 drawings: {picture}")


def neighbours_read(known: Tensor, names: Tensor, asked: Tensor, truth: Tensor, labels: int) -> float:
    """The share of `asked` read rightly by its three nearest among `labels` of `known`, in the mean of 20 draws."""
    rights: list[float] = []
    for seed in range(20 if labels < len(known) else 1):
        some = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:labels]
        neighbours = KNeighborsClassifier(3).fit(known[some].flatten(1), names[some])
        rights.append(neighbours.score(asked.flatten(1), truth))
    return sum(rights) / len(rights)


def distance(images: Tensor, known: Tensor) -> float:
    """From an image to the nearest known one, in the mean."""
    return float(torch.cdist(images.flatten(1), known.flatten(1)).min(dim=1).values.mean())


def write_grid(images: Tensor, path: Path) -> None:
    """100 images in 0 … 1 as ten rows of ten, six times as large."""
    rows = F.pad(images, (1, 1, 1, 1)).view(10, 10, 10, 10).transpose(1, 2).reshape(100, 100)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((rows * 255).byte().numpy()).resize((600, 600), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()

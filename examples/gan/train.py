"""A generator learns to draw digits from a critic that tells drawings from real scans: two nets, two optimizers.

Alternating steps do not fit "one loss, one optimizer", so the Module optimizes by hand. Every few epochs a judge, who
has never seen a drawing, says which share of them are digits, and a grid of them is written as a picture.

python train.py                                 about a minute on one core
python train.py --ckpt-path last                goes on where the newest run stopped
leyden run examples/gan/train.py                as a job
python train.py --smoke                         seconds: does everything run, and do the drawings get better?
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden

NONE_OF_THEM = 10  # the judge's eleventh answer


class Digits(leyden.DataModule):
    """1,797 scans (1, 8, 8) in -1 … 1; nothing is held back, for nobody is asked to read new ones."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        self.images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.images), self.batch_size, shuffle=True, drop_last=True)


class Judge:
    """Reads a digit, or answers that it is none; trained on real scans and on spoilt ones, never on drawings."""

    def __init__(self) -> None:
        digits, rng = load_digits(), np.random.default_rng(0)
        pixels = digits.data / 16  # (1797, 64)
        others = rng.permutation(pixels)
        upper_half = np.arange(64) < 32
        spoilt = [(pixels + others) / 2, np.where(upper_half, pixels, others), rng.permuted(pixels, axis=1)]
        answers = [digits.target, np.full(3 * len(pixels), NONE_OF_THEM)]
        self.reader = SVC(C=10, gamma=0.1).fit(np.concatenate([pixels, *spoilt]), np.concatenate(answers))

    def __call__(self, images: Tensor) -> tuple[float, int]:
        """(n, 1, 8, 8) in -1 … 1 -> the share that is a digit, and how many kinds of digit are at least 1 % of all."""
        read = self.reader.predict(((images + 1) / 2).flatten(1).cpu().numpy())
        counts = np.bincount(read, minlength=11)[:NONE_OF_THEM]
        return counts.sum() / len(read), int((counts >= len(read) / 100).sum())


class Generator(nn.Sequential):
    """(n, noise) -> (n, 1, 8, 8) in -1 … 1. Images this small need no convolution."""

    def __init__(self, noise: int, width: int) -> None:
        super().__init__(
            nn.Linear(noise, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, 64),
            nn.Tanh(),
            nn.Unflatten(1, (1, 8, 8)),
        )


class Critic(nn.Sequential):
    """(n, 1, 8, 8) -> (n, 1) logits of being a real scan."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(64, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )


class GAN(leyden.Module):
    """The game of two (Goodfellow et al. 2014), with the generator's loss that does not saturate (section 3).

    `penalty` weighs the critic's slope at real scans, which keeps the game from going round in circles (Mescheder et
    al. 2018, section 4.1).
    """

    automatic_optimization = False

    def __init__(self, noise: int, width: int, lr: float, penalty: float, show_every: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.noise, self.lr, self.penalty, self.show_every = noise, lr, penalty, show_every
        self.generator, self.critic, self.judge = Generator(noise, width), Critic(width), Judge()
        self.wishes: Tensor  # always the same, so that pictures compare; a buffer, so that a resumed run has them too
        self.register_buffer("wishes", torch.randn(1000, noise))

    def forward(self, noise: Tensor) -> Tensor:
        """(n, noise) -> (n, 1, 8, 8) drawings."""
        return self.generator(noise)  # type: ignore[no-any-return]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        [real] = batch
        for_generator, for_critic = self.optimizers()
        drawn = self(torch.randn(len(real), self.noise, device=self.device))

        with for_critic.toggle_model():  # inside, only the critic's weights take part
            real.requires_grad_()
            says_real, says_drawn = self.critic(real), self.critic(drawn.detach())
            [slope] = torch.autograd.grad(says_real.sum(), real, create_graph=True)
            critic_loss = F.softplus(-says_real).mean() + F.softplus(says_drawn).mean()
            for_critic.zero_grad()
            self.manual_backward(critic_loss + self.penalty / 2 * slope.square().sum((1, 2, 3)).mean())
            for_critic.step()

        with for_generator.toggle_model():
            generator_loss = F.softplus(-self.critic(drawn)).mean()
            for_generator.zero_grad()
            self.manual_backward(generator_loss)
            for_generator.step()

        self.log_dict({"generator_loss": generator_loss, "critic_loss": critic_loss}, prog_bar=True)

    def on_train_start(self) -> None:
        self._show(epoch=self.current_epoch)

    def on_train_epoch_end(self) -> None:
        if (self.current_epoch + 1) % self.show_every == 0:
            self._show(epoch=self.current_epoch + 1)

    @torch.no_grad()
    def _show(self, epoch: int) -> None:
        """Have drawings judged, and put 100 of them into the run's artifacts."""
        self.eval()
        drawings = self(self.wishes)
        self.train()
        recognised, kinds = self.judge(drawings)
        self.log_dict({"recognised": recognised, "kinds": kinds}, on_step=True, on_epoch=False)
        folder = leyden.run_dir() / "artifacts"
        folder.mkdir(exist_ok=True)
        if self.trainer.is_global_zero:
            write_grid(drawings[:100], folder / f"epoch={epoch:03}.png")
        self.print(f"epoch {epoch}: the judge recognises {recognised:.1%} of 1,000 drawings, {kinds} kinds of digit")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(network.parameters(), lr=self.lr, betas=(0.5, 0.99))
            for network in (self.generator, self.critic)
        ]


def write_grid(images: Tensor, path: Path) -> None:
    """100 images in -1 … 1 as ten rows of ten, six times as large."""
    rows = F.pad(images, (1, 1, 1, 1), value=-1.0).view(10, 10, 10, 10).transpose(1, 2).reshape(100, 100)
    pixels = ((rows + 1) * 127.5).byte().cpu().numpy()
    Image.fromarray(pixels).resize((600, 600), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to draw digits.")
    parser.add_argument("--noise", type=int, default=32, help="numbers a drawing is made from")
    parser.add_argument("--width", type=int, default=256, help="of the hidden layers")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--penalty", type=float, default=1.0, help="weight of the critic's slope")
    parser.add_argument("--max-epochs", type=int, default=300)
    parser.add_argument("--show-every", type=int, default=50, help="epochs from one picture to the next")
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--smoke", action="store_true", help="few epochs, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.max_epochs, args.show_every = 10, 5

    leyden.seed_everything(0)
    model = GAN(args.noise, args.width, args.lr, args.penalty, args.show_every)
    trainer = leyden.Trainer(max_epochs=args.max_epochs, devices=args.devices)
    trainer.fit(model, datamodule=Digits(args.batch_size), ckpt_path=args.ckpt_path)
    model.print(f"pictures in {leyden.run_dir() / 'artifacts'}")


if __name__ == "__main__":
    main()

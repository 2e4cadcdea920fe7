"""Small modules and data the tests of `leyden.train` share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden


def regression(count: int = 64, seed: int = 0) -> TensorDataset:
    """Points of a line with noise: x (count, 4), y (count, 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]]) + 0.1 * torch.randn(count, 1, generator=generator)
    return TensorDataset(x, y)


def loader(count: int = 64, batch_size: int = 8, **settings: Any) -> DataLoader[Any]:
    return DataLoader(regression(count), batch_size=batch_size, **settings)


class Line(leyden.Module):
    """Fits the line; has dropout, so that random numbers matter."""

    def __init__(self, lr: float = 0.05, dropout: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = (self.net(x) - y).square().mean()
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", (self.net(x) - y).square().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("test_loss", (self.net(x) - y).square().mean())

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0])  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def seeded(dropout: float = 0.0, lr: float = 0.05) -> Line:
    leyden.seed_everything(7)
    return Line(lr=lr, dropout=dropout)


def weights(module: nn.Module) -> list[Tensor]:
    return [one.detach().clone() for one in module.state_dict().values()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))

"""A small GPT with everything that makes weights hard to move, and trainings of it."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import leyden
from leyden.train.strategies import Strategy


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.up, self.down, self.dropout = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(n, t, 3, 2, -1).permute(2, 0, 3, 1, 4)
        x = x + self.project(
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, width)
        )
        return x + self.dropout(self.down(F.gelu(self.up(self.before_mlp(x)))))  # type: ignore[no-any-return]


class GPT(leyden.Module):
    """Embedding tied to the head, a weight shared by a block and the outside, a buffer, frozen and unused parts."""

    def __init__(self, layers: int = 5, width: int = 32, lr: float = 3e-3, dropout: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.bytes = nn.Embedding(256, width)
        self.places = nn.Embedding(64, width)
        blocks = [Block(width, dropout) for _ in range(layers)]
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(width)
        blocks[1].before_mlp.weight = self.norm.weight  # in a block and outside
        blocks[2].project.weight.requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.register_buffer("scale", torch.tensor(1.5))
        nn.init.normal_(self.bytes.weight, std=0.02)
        self.losses: list[float] = []

    def forward(self, text: Tensor) -> Tensor:
        x = self.bytes(text) + self.places.weight[: text.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x) * self.scale, self.bytes.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def loss(self, batch: Tensor) -> Tensor:
        batch = batch.long()
        return F.cross_entropy(self(batch[:, :-1]).flatten(0, 1).float(), batch[:, 1:].flatten())

    def configure_optimizers(self) -> Any:
        decayed = [one for one in self.parameters() if one.ndim > 1]
        rest = [one for one in self.parameters() if one.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0, "lr": self.lr / 2}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.95), foreach=False)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def text(count: int = 64, length: int = 32) -> Tensor:
    """Stretches of the standard library's own source, (count, length + 1) bytes."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    source = b"".join(file.read_bytes() for file in files)[: count * length + 1]
    return torch.frombuffer(bytearray(source), dtype=torch.uint8).unfold(0, length + 1, length)


def batches(count: int = 64, batch_size: int = 8, length: int = 32) -> DataLoader[Any]:
    return DataLoader(text(count, length), batch_size=batch_size, shuffle=True)  # type: ignore[arg-type]


def trainer(strategy: str | Strategy, **settings: Any) -> leyden.Trainer:
    defaults = {"accelerator": "cpu", "enable_progress_bar": False, "enable_checkpointing": False, "max_epochs": 2}
    return leyden.Trainer(strategy=strategy, **{**defaults, **settings})


def block(model: GPT, index: int) -> Block:
    found = model.blocks[index]
    assert isinstance(found, Block)
    return found


def trained(strategy: str | Strategy, kind: type[GPT] = GPT, **settings: Any) -> GPT:
    leyden.seed_everything(7)
    model = kind()
    trainer(strategy, **settings).fit(model, batches())
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)

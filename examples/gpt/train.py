"""A small GPT learns to write Python from the standard library's own source: bytes in, the next byte out.

python train.py                                 a few minutes on two cores
python train.py --devices 2 --strategy fsdp     each rank holds half of the weights and of Adam's moments
leyden run --time 1h train.py --layers 6        as a job
python train.py --smoke                         seconds: does everything run?
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import leyden

BYTES = 256


class Windows(Dataset[Tensor]):
    """Every stretch of `length + 1` bytes that begins at a multiple of `length`."""

    def __init__(self, text: bytes, length: int) -> None:
        self.text, self.length = torch.frombuffer(bytearray(text), dtype=torch.uint8), length

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.length

    def __getitem__(self, index: int) -> Tensor:
        return self.text[index * self.length : (index + 1) * self.length + 1].long()  # (length + 1,)


class Source(leyden.DataModule):
    """The standard library's top-level modules; every tenth file is kept for validation."""

    def __init__(self, length: int, batch_size: int, most_bytes: int) -> None:
        self.length, self.batch_size, self.most_bytes = length, batch_size, most_bytes

    def setup(self, stage: str) -> None:
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        train = b"".join(file.read_bytes() for index, file in enumerate(files) if index % 10)[: self.most_bytes]
        val = b"".join(file.read_bytes() for file in files[::10])[: self.most_bytes // 10]
        self.train, self.val = Windows(train, self.length), Windows(val, self.length)

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.val, self.batch_size)


class Block(nn.Module):
    """Attention to what came before, then a layer for each place; both beside the stream they add to."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True
        )  # (n, heads, t, width / heads)
        x = x + self.project(seen.transpose(1, 2).reshape(n, t, width))
        return x + self.mlp(self.before_mlp(x))  # type: ignore[no-any-return]


class GPT(leyden.Module):
    """Embedding, blocks, and the embedding again as the output layer."""

    def __init__(self, layers: int, width: int, heads: int, length: int, lr: float, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.length, self.lr = length, lr
        self.bytes, self.places = nn.Embedding(BYTES, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for embedding in (self.bytes, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        """(n, t) bytes -> (n, t, 256) logits of the next byte."""
        x = self.bytes(text) + self.places(torch.arange(text.shape[1], device=text.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.bytes.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch), prog_bar=True)

    def predict_step(self, batch: Tensor, batch_idx: int) -> str:
        """Continue each text by 200 bytes."""
        text = batch
        for _ in range(200):
            odds = F.softmax(self(text[:, -self.length :])[:, -1] / 0.8, dim=-1)
            text = torch.cat([text, torch.multinomial(odds, 1)], dim=1)
        return bytes(text[0].tolist()).decode(errors="replace")

    def _loss(self, batch: Tensor) -> Tensor:
        return F.cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, betas=(0.9, 0.95), weight_decay=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to write Python.")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--length", type=int, default=128, help="bytes the model sees at once")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--max-epochs", type=int, default=1)
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--strategy", default="auto", help="auto, ddp or fsdp")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--ckpt-path")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on little text, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.layers, args.width, args.length = 2, 32, 32

    leyden.seed_everything(0)
    data = Source(args.length, args.batch_size, most_bytes=100_000 if args.smoke else 5_000_000)
    model = GPT(args.layers, args.width, args.heads, args.length, args.lr)
    trainer = leyden.Trainer(
        max_epochs=args.max_epochs,
        devices=args.devices,
        strategy=args.strategy,
        precision=args.precision,
        gradient_clip_val=1.0,
        callbacks=[leyden.ModelCheckpoint(monitor="val_loss")],
    )
    trainer.fit(model, datamodule=data, ckpt_path=args.ckpt_path)
    model.print(f"{trainer.metrics['val_loss'] / 0.6931:.3f} bits a byte on files the model has never seen")
    begins = torch.tensor([list(b"def main("), list(b"class Foo")])  # with two ranks, each continues one
    for text in trainer.predict(model, DataLoader(begins, batch_size=1)):  # type: ignore[arg-type]
        model.print(text)


if __name__ == "__main__":
    main()

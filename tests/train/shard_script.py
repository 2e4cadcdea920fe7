"""What the tests of sharding run on every rank, as `python shard_script.py CASE …`: each case trains the same model on
the same global batches by another strategy; each rank writes what it found as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.checkpoints import checkpoint
from leyden.train.strategies import DDP, FSDP, Strategy, TensorParallel
from tests.train.models import loader, weights

GLOBAL_BATCH = 8
TENSOR_PLAN = {
    "first": "colwise_gather",
    "blocks.*.qkv": "colwise",
    "blocks.*.project": "rowwise",
    "blocks.*.up": "colwise",
    "blocks.*.down": "rowwise",
}
SEQUENCE_PLAN = {
    "words": "rowwise_to_sequence",
    "blocks.*.norm": "sequence",
    "blocks.*.up": "colwise_from_sequence",
    "blocks.*.down": "rowwise_to_sequence",
    "last": "gather_sequence",
}


class Block(nn.Module):
    """Attention by 2 heads, then a layer for each place; a fused projection is laid out (heads, 3, features)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout, self.runs = nn.LayerNorm(8), nn.Dropout(dropout), 0
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, 8) -> (n, t, 8)."""
        self.runs += 1
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, -1, 3, 4).permute(3, 0, 2, 1, 4)  # each (n, heads here, t, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, -1)
        x = x + self.dropout(self.project(seen))
        return x + self.down(F.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class Place(nn.Module):
    """A block without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down, self.runs = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8), 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, 8) -> (n, t, 8)."""
        return x + self.down(F.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class Small(leyden.Module):
    """Four numbers are a sequence of two places; blocks, and parameters of its own beside them."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.blocks = nn.Linear(2, 8), nn.ModuleList(Block(dropout) for _ in range(2))
        self.scale, self.last = nn.Parameter(torch.ones(1)), nn.Linear(8, 1)
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.view(-1, 2, 2))
        for block in self.blocks:
            x = block(x) * self.scale
        return self.last(x.mean(1))  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.losses.append(self.trainer.metrics["train_loss_epoch"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", (self(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.02, eps=1e-3)


class Dropping(Small):
    """Draws random numbers in every step."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)


class Skipping(Small):
    """Leaves out the last batch of an epoch, with which a window ends."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 3 else loss


class Counting(Small):
    """Says how many tokens a loss is the mean of."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "tokens": 1 + batch_idx % 2}


class Looking(Small):
    """Calls itself between backward and step."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        with torch.no_grad():
            self(torch.ones(1, 4))


class Along(Small):
    """Numbers become words, a sequence of four; what is between the layers of a block is divided along it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.blocks = nn.Embedding(8, 8), nn.ModuleList(Place() for _ in range(2))
        del self.first, self.scale

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(((x + 2) * 2).clamp(0, 7).long())
        for block in self.blocks:
            x = block(x)
        return self.last(x).mean(1)  # type: ignore[no-any-return]


class Twins(leyden.Module):
    """Two networks and two optimizers by hand, each blind to the other's parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.left, self.right = (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(2))
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        for network, optimizer in zip((self.left, self.right), self.optimizers(), strict=True):
            with optimizer.toggle_model():
                loss = (self.left(x) + self.right(x) - y).square().mean()
                self.manual_backward(0.5 * loss)
                self.manual_backward(0.5 * (network(x) - y).square().mean())
                self.clip_gradients(optimizer, 0.5)
                optimizer.step()
                optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        return [torch.optim.AdamW(one.parameters(), lr=0.02, eps=1e-3) for one in (self.left, self.right)]


class OnMeta(Small):
    """Built without memory; what its own parameter is, it says itself."""

    def __init__(self) -> None:
        with torch.device("meta"):
            super().__init__()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)


class Case:
    """One way to train: a strategy, and what else the Trainer is told."""

    def __init__(self, strategy: Strategy | str, build: Callable[[], Any] = Small, **settings: Any) -> None:
        self.strategy, self.build, self.settings = strategy, build, settings


CASES = {
    "ddp": Case(DDP(gradient_as_bucket_view=True, bucket_cap_mb=1)),
    "fsdp": Case("fsdp"),
    "offload": Case(FSDP(cpu_offload=True, wrap=(nn.Linear, Block), reshard_after_forward=False)),
    "recompute": Case(FSDP(activation_checkpointing=True, wrap=lambda one: isinstance(one, Block))),
    "recompute copies": Case(DDP(activation_checkpointing=Block)),
    "hsdp": Case(FSDP(replicate=2)),
    "value": Case("fsdp", gradient_clip_algorithm="value"),
    "bf16": Case("fsdp", precision="bf16-mixed"),
    "fp16": Case("fsdp", precision="16-mixed"),
    "fp16 copies": Case("ddp", precision="16-mixed"),
    "bf16 copies": Case("ddp", precision="bf16-mixed"),
    "fp64": Case("fsdp", precision="64-true"),
    "hand": Case("fsdp", Twins),
    "meta": Case("fsdp", OnMeta),
    "looks": Case("fsdp", Looking),
    "skips": Case("ddp", Skipping),
    "tokens": Case(TensorParallel(plan=TENSOR_PLAN, size=2), Counting, accumulate_by="tokens"),
    "tensor": Case(TensorParallel(plan=TENSOR_PLAN, size=2)),
    "tensor copies": Case(TensorParallel(plan=TENSOR_PLAN, size=2, fsdp=FSDP(replicate=2))),
    "tensor recompute": Case(TensorParallel(plan=TENSOR_PLAN, size=2, activation_checkpointing=Block)),
    "sequence": Case(TensorParallel(plan=SEQUENCE_PLAN, size=2), Along),
}


class ScaledTwins(Twins):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


class TiedTwins(Twins):
    def __init__(self) -> None:
        super().__init__()
        self.left[2].weight = self.right[2].weight


class Normed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.blocks.append(nn.BatchNorm1d(2))


class Flat(Small):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


REFUSED = {
    "a parameter beside networks by hand": Case("fsdp", ScaledTwins),
    "a parameter of two networks by hand": Case("fsdp", TiedTwins),
    "batch norm": Case("fsdp", Normed),
    "LBFGS": Case("fsdp", Flat, accumulate_grad_batches=1),
    "parts that fit the memory": Case("fsdp", accumulate_grad_batches="auto"),
    "a skipped exchange": Case("fsdp", Skipping),
    "a static graph": Case(DDP(static_graph=True)),
}
CASES |= REFUSED


def train(name: str, devices: int, shares: int, **changes: Any) -> dict[str, Any]:
    """Train by a case, over so many shares of the data; what came of it."""
    case = CASES[name]
    leyden.seed_everything(3 + int(os.environ.get("RANK", "0")))  # the ranks start apart and are brought together
    model = changes.pop("build", case.build)()
    by_hand = not model.automatic_optimization
    settings = {
        "strategy": case.strategy if devices > 1 else "auto",
        "max_epochs": 2,
        "accumulate_grad_batches": 1 if by_hand else 2,
        "gradient_clip_val": None if by_hand else 0.5,
        **case.settings,
        **changes,
    }
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = leyden.Trainer(
        accelerator=os.environ.get("ACCELERATOR", "cpu"),
        devices=devices,
        enable_progress_bar=False,
        log_every_n_steps=1,
        **settings,
    )
    size = GLOBAL_BATCH // shares
    trainer.fit(model, loader(32, size), None if by_hand else loader(13, size), ckpt_path=ckpt_path)
    last = trainer.checkpoint_callback
    assert last is not None
    path = Path(last.last_model_path)
    whole = case.build() if case.build is not OnMeta else Small()
    snapshot = checkpoint.read(path)
    checkpoint.load_weights(whole, snapshot, path)
    held = sum(one.to_local().numel() if hasattr(one, "to_local") else one.numel() for one in model.parameters())
    return {
        "weights": [one.double().flatten().tolist() for one in weights(whole)],
        "losses": model.losses,
        "val_loss": trainer.metrics.get("val_loss", 0.0),
        "held": held,
        "runs": [one.runs for one in getattr(model, "blocks", ())],
        "path": str(path),
        "optimizer": {name: one.double().flatten().tolist() for name, one in snapshot.optimizer.items()},
        "plan": trainer.plan.describe(),
    }


def resume(name: str, devices: int, shares: int) -> dict[str, Any]:
    """Uninterrupted training, and what goes on from the checkpoint of its first step; with dropout."""
    saves = leyden.ModelCheckpoint(every_n_train_steps=1, save_top_k=-1)
    whole = train(name, devices, shares, build=Dropping, callbacks=[saves])
    first = next(Path(whole["path"]).parent.glob("*step=1"))
    rest = train(name, devices, shares, build=Dropping, ckpt_path=first)
    return {"whole": whole, "rest": rest}


def refused() -> dict[str, str]:
    """What is said to those who ask for what cannot work, before anything is trained."""
    said: dict[str, str] = {}
    for name in REFUSED:
        try:
            train(name, devices=2, shares=2)
        except ConfigurationError as error:
            said[name] = str(error)
    return said


def main() -> None:
    devices = int(os.environ["WORLD_SIZE"])
    found: dict[str, Mapping[str, Any]] = {}
    for word in sys.argv[1:]:
        if word == "refused":
            found[word] = refused()
            continue
        kind, _, name = word.rpartition(":")
        strategy = CASES[name].strategy
        shares = devices // (strategy.ranks_per_batch if isinstance(strategy, Strategy) else 1)
        found[word] = resume(name, devices, shares) if kind else train(name, devices, shares)
    Path(os.environ["RESULTS"], f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

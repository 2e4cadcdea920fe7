"""What does strategy="offload" cost in loss, what in memory, and how large a model does it train on one GPU?

python benchmarks/offload.py                   about 10 million parameters on a CPU, beside AdamW in float32 and in bf16
python benchmarks/offload.py --gpu             growing models on one GPU, until one does not fit
python benchmarks/offload.py --gpu --billions 8 --steps 20 --length 4096 --batch-size 8

Byte-level GPTs on the standard library's source. Each training is a process of its own, so that its peak of memory is
its own, and so that one that dies for want of memory ends nothing else. Results go to stdout as a table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden
from leyden.train.offload.budget import DEFAULT_SHARE, bytes_for, largest_model
from leyden.train.offload.lanes import free_on_host
from leyden.train.strategies import Offload, Strategy

BYTES = 256
WARM_UP = 2
KINDS: dict[str, tuple[str, Strategy | str]] = {  # name -> (precision, strategy)
    "AdamW, float32": ("32-true", "auto"),
    "AdamW, bf16 weights rounded to nearest": ("bf16-true", "auto"),
    "offload": ("bf16-true", Offload()),
}


class Block(nn.Module):
    """Attention and a layer for each place, beside the stream they add to; no dropout."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width)."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (n, heads, t, width / heads)
        x = x + self.project(seen.transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))  # type: ignore[no-any-return]


class GPT(leyden.Module):
    """Bytes in, the next byte out. Every part initializes itself, so it can be built on the meta device."""

    def __init__(self, layers: int, width: int, heads: int, length: int, lr: float, steps: int) -> None:
        super().__init__()
        self.lr, self.steps = lr, steps
        self.bytes, self.places = nn.Embedding(BYTES, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES)
        self.losses: list[Tensor] = []
        self.seconds: list[float] = []

    def forward(self, text: Tensor) -> Tensor:
        """(n, t) bytes -> (n, t, 256) logits of the next byte."""
        x = self.bytes(text) + self.places(torch.arange(text.shape[1], device=text.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self._loss(batch[0])
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch[0]))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch[0].is_cuda:
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, betas=(0.9, 0.95), weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps + 1, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, text: Tensor) -> Tensor:
        text = text.long()
        return F.cross_entropy(self(text[:, :-1]).flatten(0, 1).float(), text[:, 1:].flatten())


def windows(length: int, *, validation: bool) -> Tensor:
    """Stretches of the standard library's top-level modules, (n, length + 1); every tenth file is for validation."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = b"".join(file.read_bytes() for index, file in enumerate(files) if (index % 10 == 0) == validation)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).unfold(0, length + 1, length)


def train(args: argparse.Namespace) -> dict[str, Any]:
    """One training, in this process."""
    warnings.filterwarnings("ignore")
    precision, strategy = KINDS[args.kind]
    if args.kind == "offload" and args.device_memory:
        strategy = Offload(device_memory=args.device_memory)
    leyden.seed_everything(args.seed)
    train_set, val_set = windows(args.length, validation=False), windows(args.length, validation=True)[:256]
    loader = DataLoader(TensorDataset(train_set), args.batch_size, shuffle=True, drop_last=True)
    vals = DataLoader(TensorDataset(val_set), args.batch_size)
    before = psutil.Process().memory_info().rss
    with torch.device("meta" if args.gpu else "cpu"):
        model = GPT(args.layers, args.width, args.heads, args.length, args.lr, args.steps)
    trainer = leyden.Trainer(
        max_steps=args.steps,
        accelerator="gpu" if args.gpu else "cpu",
        devices=1,
        precision=precision,
        strategy=strategy,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if args.gpu else None,
        default_root_dir=tempfile.mkdtemp(),
    )
    gradients = watch_gradients(model) if not args.gpu else []
    trainer.fit(model, loader, vals)
    if not args.gpu:
        trainer.validate(model, vals)
    took = [late - early for early, late in zip(model.seconds[WARM_UP - 1 :], model.seconds[WARM_UP:], strict=False)]
    state = trainer.optimizers[0].state.values()
    return {
        "parameters": (count := sum(one.numel() for one in model.parameters())),
        "weight_bytes": sum(one.nbytes for one in model.parameters()) / count,
        "moment_bytes": sum(one.nbytes for entry in state for one in entry.values() if isinstance(one, Tensor)) / count,
        "gradient_bytes": max(gradients, default=math.nan) / count,
        "rss": peak_rss() - before,
        "device": torch.cuda.max_memory_allocated() if args.gpu else 0,
        "losses": [float(one) for one in model.losses],
        "val_loss": trainer.metrics.get("val_loss", math.nan),
        "seconds": statistics.median(took),
    }


def watch_gradients(model: nn.Module) -> list[int]:
    """Bytes of gradients that exist at once, noted whenever one is complete."""
    seen: list[int] = []

    def note(_: Tensor) -> None:
        seen.append(sum(one.grad.nbytes for one in model.parameters() if one.grad is not None))

    for one in model.parameters():
        one.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
    return seen


def peak_rss() -> int:
    """The most resident memory this process has had (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def run(args: argparse.Namespace, **changes: Any) -> dict[str, Any] | None:
    """One training, in a process of its own; None where it died."""
    given = {**vars(args), **changes}
    done = subprocess.run([sys.executable, __file__, "--child", json.dumps(given)], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = {key: value for key, value in result.items() if key != "losses"} | {"curve": curve(result["losses"])}
    print(f"{given['kind']}, seed {given['seed']}: {told}", file=sys.stderr, flush=True)
    return result


def compare(args: argparse.Namespace) -> None:
    """Loss curves and memory on a CPU."""
    kinds = {kind: [run(args, kind=kind, seed=seed) for seed in range(args.seeds)] for kind in KINDS}
    found = {kind: [one for one in results if one] for kind, results in kinds.items()}
    print("\n| training | " + " | ".join(f"loss at {step}" for step in marks(args.steps)) + " | validation |")
    print("| --- |" + " --- |" * (len(marks(args.steps)) + 1))
    for kind, results in found.items():
        for seed, one in enumerate(results):
            print(f"| {kind}, seed {seed} | " + " | ".join(curve(one["losses"])) + f" | {one['val_loss']:.4f} |")
    base = found["AdamW, float32"]
    print(
        "\n| training | validation loss above float32, mean | weights B/p | moments B/p | gradients at once B/p |",
        end="",
    )
    print(" all B/p | peak RSS above start | s/step |")
    print("| --- |" + " --- |" * 7)
    for kind, results in found.items():
        above = statistics.mean(one["val_loss"] - other["val_loss"] for one, other in zip(results, base, strict=True))
        one = results[0]
        parts = [one["weight_bytes"], one["moment_bytes"], one["gradient_bytes"]]
        print(f"| {kind} | {above:+.4f} | " + " | ".join(f"{part:.3f}" for part in (*parts, sum(parts))), end="")
        print(f" | {one['rss'] / 1e6:.0f} MB | {one['seconds']:.2f} |")


def marks(steps: int) -> list[int]:
    return [steps * part // 8 for part in (1, 2, 4, 6, 8)]


def curve(losses: list[float]) -> list[str]:
    """Means of the 20 losses before each mark."""
    return [f"{statistics.mean(losses[max(0, step - 20) : step]):.4f}" for step in marks(len(losses))]


def grow(args: argparse.Namespace) -> None:
    """Larger and larger models on one GPU."""
    device, host = torch.cuda.get_device_properties(0), free_on_host()
    bound = largest_model(DEFAULT_SHARE * device.total_memory, host)
    print(f"{device.name}, {device.total_memory / 2**30:.0f} GiB; host {host / 2**30:.0f} GiB free")
    print(f"by arithmetic, at most {bound / 1e9:.1f} billion parameters\n")
    print("| parameters | layers × width | tokens/s | s/step | device peak | host peak | bytes a parameter | loss |")
    print("| --- |" + " --- |" * 7, flush=True)
    for billions in args.billions:
        layers = max(1, round(billions * 1e9 / (12 * args.width**2)))
        if 12 * layers * args.width**2 > bound:
            print(f"| {billions} billion | {layers} × {args.width} | does not fit by arithmetic | | | | | |")
            break
        one = run(args, kind="offload", layers=layers, seed=0)
        if one is None:
            print(f"| {billions} billion | {layers} × {args.width} | died, see above | | | | | |", flush=True)
            break
        speed = args.batch_size * args.length / one["seconds"]
        print(f"| {one['parameters']:,} | {layers} × {args.width} | {speed:,.0f} | {one['seconds']:.2f} |", end="")
        print(f" {one['device'] / 2**30:.1f} GiB | {one['rss'] / 2**30:.1f} GiB |", end="")
        print(f" {one['weight_bytes'] + one['moment_bytes']:.3f} | {one['losses'][-1]:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure strategy='offload'.")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind on a CPU")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--length", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--billions", type=float, nargs="+", default=[1, 8, 16, 32, 45, 50, 55, 60])
    parser.add_argument("--device-memory", help="what weights may take of the GPU, such as 80GB")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(train(argparse.Namespace(**json.loads(args.child)))))
        return
    defaults = (8, 8192, 64, 2048, 4, 1e-5) if args.gpu else (600, 256, 8, 128, 8, 1e-3)
    for name, value in zip(("steps", "width", "heads", "length", "batch_size", "lr"), defaults, strict=True):
        setattr(args, name, getattr(args, name) or value)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{platform.machine()}, {cores} cores, {torch.get_num_threads()} threads, Python {platform.python_version()},"
    )
    print(f"torch {torch.__version__}; {' '.join(['python', 'benchmarks/offload.py', *sys.argv[1:]])}")
    print(f"arithmetic: {bytes_for(1)} bytes a parameter; 45 billion take {bytes_for(45e9) / 2**30:.0f} GiB\n")
    (grow if args.gpu else compare)(args)


if __name__ == "__main__":
    main()

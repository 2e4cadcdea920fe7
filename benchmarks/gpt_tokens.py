"""How many tokens a second does training GPT-small reach, beside a loop written by hand?

The model of examples/gpt at GPT-2 small's size (12 layers, width 768, 12 heads) on the standard library's source, with
AdamW, clipping by norm and a learning-rate schedule; the hand-written loop does the same with nothing around it. Both
run in one process, in turn, several rounds; the figure is the median over all steps but each run's first two.

    python benchmarks/gpt_tokens.py             on a CPU, minutes
    python benchmarks/gpt_tokens.py --accelerator cuda --batch-size 16 --length 1024 --precision bf16-mixed
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import leyden

WARM_UP = 2
EXAMPLE = Path(__file__).parents[1] / "examples" / "gpt" / "train.py"


class Clock:
    """Seconds from the begin of each step to the begin of the next."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._marks = device, list[float]()

    def tick(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._marks.append(time.perf_counter())

    def steps_s(self) -> list[float]:
        return [after - before for before, after in zip(self._marks, self._marks[1:], strict=False)][WARM_UP:]


def by_hand(model: Any, batches: list[Tensor], clock: Clock, device: torch.device, precision: str) -> None:
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=model.lr, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.lr, total_steps=len(batches), pct_start=0.1)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
    losses = []
    for batch in batches:
        clock.tick()
        with mixed:
            loss = model._loss(batch.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
    torch.stack(losses).tolist()


def by_leyden(model: Any, batches: list[Tensor], clock: Clock, device: torch.device, precision: str) -> None:
    step = type(model).training_step

    class Timed(type(model)):  # type: ignore[misc]
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            clock.tick()
            return step(self, batch, batch_idx)  # type: ignore[no-any-return]

    model.__class__ = Timed
    trainer = leyden.Trainer(
        max_epochs=1,
        accelerator=device.type,
        devices=1,
        precision=precision,
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.accelerator)
    spec = importlib.util.spec_from_file_location("gpt_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    data = example.Source(args.length, args.batch_size, most_bytes=5_000_000)
    data.setup("fit")
    count = args.steps + WARM_UP + 1
    batches = [batch for _, batch in zip(range(count), data.train_dataloader(), strict=False)]
    loops: dict[str, Callable[..., None]] = {"by hand": by_hand, "Leyden": by_leyden}
    seen: dict[str, list[list[float]]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for _ in range(args.rounds):
            for name, loop in loops.items():
                torch.manual_seed(0)
                model = example.GPT(args.layers, args.width, args.width // 64, args.length, 3e-4)
                clock = Clock(device)
                with contextlib.redirect_stdout(io.StringIO()):
                    loop(model, batches, clock, device, args.precision)
                seen[name].append(clock.steps_s())
        os.chdir("/")
    parameters = sum(one.numel() for one in model.parameters())
    where = f"{platform.machine()}, {os.cpu_count()} cores, {device.type}"
    print(f"{where}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in vars(args).items())
    print(f"{parameters:,} parameters; command: python benchmarks/gpt_tokens.py {flags}\n")
    tokens = args.batch_size * args.length
    print("| loop | tokens/s, median step | tokens/s, best step |\n| --- | --- | --- |")
    for name, runs in seen.items():
        steps = [step for run in runs for step in run]
        print(f"| {name} | {tokens / statistics.median(steps):.1f} | {tokens / min(steps):.1f} |")
    rounds = zip(seen["Leyden"], seen["by hand"], strict=True)
    ratio = statistics.median(statistics.median(hand) / statistics.median(mine) for mine, hand in rounds)
    print(f"\nLeyden over by hand, median of {args.rounds} rounds: {ratio:.4f}")


if __name__ == "__main__":
    main()

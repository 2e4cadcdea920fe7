"""What does one training step cost above a bare PyTorch loop?

A tiny model (Linear(32, 2), batch 4, SGD, one thread), so that what remains is the loop itself; one metric logged every
step, and then ten more. Each library runs in the same process, in turn, several rounds; the figure is process CPU time
per step. The first steps of each run warm up and are not counted.

    make bench
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import leyden

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

WARM_UP = 200


class Clock:
    """Process CPU time between the end of the warm-up and the end of the last step."""

    def __init__(self, steps: int) -> None:
        self.steps, self._seen, self._start, self.us_per_step = steps, 0, 0.0, 0.0

    def tick(self) -> None:
        self._seen += 1
        if self._seen == WARM_UP:
            self._start = time.process_time()
        elif self._seen == WARM_UP + self.steps:
            self.us_per_step = (time.process_time() - self._start) / self.steps * 1e6


def batches(steps: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    data = [torch.randn(4, 32, generator=generator) for _ in range(WARM_UP + steps)]
    return DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(32, 2)


def bare(steps: int) -> float:
    clock, model, losses = Clock(steps), net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches(steps):
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        clock.tick()
    return clock.us_per_step


def with_leyden(steps: int, further: int = 0) -> float:
    clock, names = Clock(steps), [f"further/{index}" for index in range(further)]

    class Model(leyden.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            clock.tick()
            loss = self.net(batch).square().mean()
            self.log("loss", loss)
            for name in names:
                self.log(name, loss)
            return loss  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
    trainer.fit(Model(), batches(steps))
    return clock.us_per_step


def with_lightning(steps: int, further: int = 0, package: str = "lightning.pytorch") -> float:
    pl: Any = importlib.import_module(package)
    logger = importlib.import_module(f"{package}.loggers").CSVLogger(".")

    clock, names = Clock(steps), [f"further/{index}" for index in range(further)]

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            clock.tick()
            loss = self.net(batch).square().mean()
            self.log("loss", loss)
            for name in names:
                self.log(name, loss)
            return loss  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=logger,
    )
    trainer.fit(Model(), batches(steps))
    return clock.us_per_step


def with_accelerate(steps: int) -> float:
    from accelerate import Accelerator

    clock, accelerator, losses = Clock(steps), Accelerator(cpu=True), []
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, batches(steps))
    for batch in loader:
        with accelerator.accumulate(model):
            loss = model(batch).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
        clock.tick()
    return clock.us_per_step


LOOPS: dict[str, tuple[str, Callable[[int], float]]] = {
    "bare PyTorch loop": ("torch", bare),
    "Leyden": ("leyden", with_leyden),
    "leyden.lightning": ("leyden", partial(with_lightning, package="leyden.lightning.pytorch")),
    "Accelerate": ("accelerate", with_accelerate),
    "Lightning": ("lightning", with_lightning),
    "Leyden, 10 further logs": ("leyden", partial(with_leyden, further=10)),
    "Lightning, 10 further logs": ("lightning", partial(with_lightning, further=10)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loops = {name: found for name, found in LOOPS.items() if find_spec(found[0])}
    times: dict[str, list[float]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for _ in range(args.rounds):
            for name, (_, loop) in loops.items():
                with contextlib.redirect_stdout(io.StringIO()):
                    times[name].append(loop(args.steps))
        os.chdir("/")
    python = f"Python {platform.python_version()}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {python}, {time.strftime('%Y-%m-%d')}")
    print(", ".join(f"{package} {version(package)}" for package in sorted({package for package, _ in loops.values()})))
    print(f"command: python benchmarks/step_overhead.py --steps {args.steps} --rounds {args.rounds}\n")
    floor = times["bare PyTorch loop"]
    print(
        "| loop | µs/step, least | median | above the bare loop of the same round, median |\n| --- | --- | --- | --- |"
    )
    for name, seen in times.items():
        above = statistics.median(mine - bare for mine, bare in zip(seen, floor, strict=True))
        print(f"| {name} | {min(seen):.1f} | {statistics.median(seen):.1f} | {above:+.1f} |")
    for name in ("Leyden", "Lightning"):
        if name in times:
            pairs = zip(times[f"{name}, 10 further logs"], times[name], strict=True)
            each = statistics.median((more - one) / 10 for more, one in pairs)
            print(f"{name}: {each:.1f} µs for each further self.log, median of the rounds")
    for missing in LOOPS.keys() - loops.keys():
        print(f"{missing} is not installed and was left out: pip install -e '.[bench]'")


if __name__ == "__main__":
    main()

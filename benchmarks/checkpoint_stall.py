"""How long does saving a checkpoint hold up training?

A model of 83 million parameters with Adam (1.0 GB in 32 bits) trains; every few steps a checkpoint is saved. Blocked is
the time the training thread spends in asking for a checkpoint and in waiting for copies before it goes on. Write time
is from the request until the checkpoint is whole and synced. Lost is what the steps from the request to the end of
writing took beyond the median of the steps without a checkpoint: it also holds what the writing thread takes away from
the computation. The ways of saving run in the same process, in turn, several rounds.

    python benchmarks/checkpoint_stall.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.utils.data import DataLoader

import leyden
from leyden.train.checkpoints import checkpoint

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
EVERY, WIDTH, LAYERS = 10, 2880, 10
now = time.perf_counter


@dataclass(kw_only=True)
class Save:
    """One checkpoint: when it was asked for and whole, and how long the training thread stood."""

    asked: float
    blocked_s: float = 0.0
    whole: float = 0.0


@dataclass(kw_only=True)
class Record:
    """When steps began, and the checkpoints."""

    steps: list[float]
    saves: list[Save]

    def lost_s(self, save: Save) -> float:
        """Time lost between the request and the first step that begins after the end of writing."""
        spans = list(zip(self.steps, self.steps[1:], strict=False))
        calm = [b - a for a, b in spans if all(b < one.asked or a > one.whole for one in self.saves)]
        touched = [b - a for a, b in spans if b > save.asked and a < save.whole]
        return sum(touched) - len(touched) * statistics.median(calm)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))


def loader(steps: int, batch: int) -> DataLoader[Any]:
    data = torch.randn(batch, WIDTH, generator=torch.Generator().manual_seed(0))
    return DataLoader([data] * steps, batch_size=None)  # type: ignore[arg-type]


def with_leyden(steps: int, batch: int, folder: Path) -> Record:
    record = Record(steps=[], saves=[])

    class Saves(leyden.ModelCheckpoint):
        def save(self, trainer: leyden.Trainer) -> None:
            record.saves.append(Save(asked=now()))
            super().save(trainer)
            record.saves[-1].blocked_s += now() - record.saves[-1].asked

        def on_train_end(self, trainer: leyden.Trainer, pl_module: leyden.Module) -> None:
            trainer.wait_for_checkpoints()

    class Model(leyden.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            record.steps.append(now())
            return self.net(batch).square().mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-4)

    def write(*args: Any, **kwargs: Any) -> None:
        mine = record.saves[-1]
        original(*args, **kwargs)
        mine.whole = now()

    def settle(*args: Any) -> None:
        began = now()
        wait(*args)
        record.saves[-1].blocked_s += now() - began

    saves = Saves(dirpath=folder, every_n_train_steps=EVERY, every_n_epochs=1000)
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[saves])
    staging = trainer._saver.staging
    original, wait = checkpoint.write, staging.settle
    checkpoint.write, staging.settle = write, settle  # type: ignore[method-assign]
    try:
        trainer.fit(Model(), loader(steps, batch))
    finally:
        checkpoint.write = original
    return record


def bare(steps: int, batch: int, save: Callable[[dict[str, Any], Save], Callable[[], None]]) -> Record:
    """A bare loop; what `save` returns is called before the next optimizer step."""
    record = Record(steps=[], saves=[])
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    settle: Callable[[], None] | None = None
    for count, data in enumerate(loader(steps, batch), start=1):
        record.steps.append(now())
        model(data).square().mean().backward()
        if settle is not None:
            began = now()
            settle()
            record.saves[-1].blocked_s += now() - began
            settle = None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if count % EVERY == 0:
            record.saves.append(Save(asked=now()))
            settle = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, record.saves[-1])
            record.saves[-1].blocked_s = now() - record.saves[-1].asked
    deadline = now() + 120
    while not all(one.whole for one in record.saves) and now() < deadline:
        time.sleep(0.01)
    return record


def with_torch_save(steps: int, batch: int, folder: Path) -> Record:
    def save(state: dict[str, Any], told: Save) -> Callable[[], None]:
        with (folder / "checkpoint.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        told.whole = now()
        return lambda: None

    return bare(steps, batch, save)


def with_dcp(steps: int, batch: int, folder: Path, *, behind: bool) -> Record:
    """`torch.distributed.checkpoint.async_save`; `behind`: copies too are made by another thread."""
    options = StagingOptions(
        use_pinned_memory=False, use_shared_memory=False, use_async_staging=behind, use_non_blocking_copy=False
    )
    stager = DefaultStager(options)

    def save(state: dict[str, Any], told: Save) -> Callable[[], None]:
        def whole(_: Any) -> None:
            told.whole = now()

        answer: Any = async_save(state, checkpoint_id=folder / f"{told.asked}", async_stager=stager)
        done = answer.upload_completion if behind else answer
        done.add_done_callback(whole)
        return answer.staging_completion.result if behind else lambda: None

    record = bare(steps, batch, save)
    stager.close()
    return record


WAYS: dict[str, Callable[[int, int, Path], Record]] = {
    "Leyden": with_leyden,
    "torch.save": with_torch_save,
    "DCP async_save": lambda steps, batch, folder: with_dcp(steps, batch, folder, behind=False),
    "DCP async_save, async staging": lambda steps, batch, folder: with_dcp(steps, batch, folder, behind=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--saves", type=int, default=3, help="per round and way")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records: dict[str, list[Record]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory(dir=".") as place:
        dist.init_process_group("gloo", init_method=f"file://{Path(place).absolute()}/store", rank=0, world_size=1)
        home = Path.cwd()
        os.chdir(place)
        for _ in range(args.rounds):
            for name, way in WAYS.items():
                folder = Path("saved").absolute()
                folder.mkdir()
                with contextlib.redirect_stdout(io.StringIO()):
                    records[name].append(way(EVERY * args.saves + EVERY - 1, args.batch, folder))
                shutil.rmtree(folder)
        dist.destroy_process_group()
        os.chdir(home)
    report(records, args)


def report(records: dict[str, list[Record]], args: argparse.Namespace) -> None:
    python = f"Python {platform.python_version()}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {python}, {time.strftime('%Y-%m-%d')}")
    print(f"torch {torch.__version__}, leyden {leyden.__version__}")
    options = f"--rounds {args.rounds} --saves {args.saves} --batch {args.batch} --threads {args.threads}"
    print(f"command: python benchmarks/checkpoint_stall.py {options}")
    print(f"{LAYERS * WIDTH * (WIDTH + 1) * 12 / 1e9:.2f} GB a checkpoint\n")
    print(
        "| saved by | blocked, ms | write time, s | blocked / write time | largest | first save | lost / write time |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in records.items():
        saves = [one for record in found for one in record.saves]
        writes = [one.whole - one.asked for one in saves]
        shares = [one.blocked_s / write for one, write in zip(saves, writes, strict=True)]
        first = [record.saves[0].blocked_s / (record.saves[0].whole - record.saves[0].asked) for record in found]
        lost = [record.lost_s(one) / (one.whole - one.asked) for record in found for one in record.saves]
        blocked = statistics.median(one.blocked_s for one in saves) * 1000
        cells = [f"{share:.1%}" for share in map(statistics.median, (shares, first, lost))]
        cells.insert(1, f"{max(shares):.1%}")
        print(f"| {name} | {blocked:.1f} | {statistics.median(writes):.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

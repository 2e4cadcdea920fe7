"""Does a checkpoint hold the moment it was asked for, though training goes on while it is copied and written?"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import leyden
from leyden.core.errors import CheckpointError
from leyden.train.checkpoints import checkpoint
from leyden.train.checkpoints.staging import Staging
from leyden.train.checkpoints.tensorfile import Box, Tensors, write_tensors

WIDTH = 256  # a weight has 256 kB, too large to be copied at once


class Wide(leyden.Module):
    """Weights large enough to be copied in the background, and statistics that forward changes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH, bias=False))
        self.in_background: list[bool] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.in_background.append(bool(self.trainer._saver.staging._undo))
        return self.net(batch).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Changes(Wide):
    """A user's hook changes weights before the optimizer does."""

    def on_after_backward(self) -> None:
        for one in self.parameters():
            one.data.mul_(0.5)


class ChangesEarly(Wide):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        for one in self.parameters():
            one.data.mul_(0.5)


class ByHand(Wide):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:  # type: ignore[override]
        for one in self.parameters():
            one.data.mul_(0.5)
        self.manual_backward(super().training_step(batch, batch_idx))
        self.optimizers().step()
        self.optimizers().zero_grad()


class Remembers(leyden.Callback):
    """What each checkpoint has to hold."""

    def __init__(self) -> None:
        self.moments: dict[int, dict[str, Tensor]] = {}

    def on_checkpoint_due(self, trainer: Any, pl_module: Any, epoch_end: bool) -> None:
        self.moments[trainer.global_step] = now = {f"w/{k}": v.clone() for k, v in pl_module.state_dict().items()}
        names = {id(one): name for name, one in pl_module.named_parameters()}
        for optimizer in trainer.optimizers:
            for parameter, state in getattr(optimizer, "optimizer", optimizer).state.items():
                now |= {f"0/{key}/{names[id(parameter)]}": value.clone() for key, value in state.items()}


def batches(count: int = 6) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader([torch.randn(4, WIDTH, generator=generator) for _ in range(count)], batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "behind"), [(Wide, True), (Changes, True), (ChangesEarly, False), (ByHand, False)])
def test_each_checkpoint_holds_its_moment(kind: type[Wide], behind: bool, tmp_path: Path) -> None:
    remembers, saves = Remembers(), leyden.ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    model = kind()
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[remembers, saves])
    trainer.fit(model, batches())
    assert model.in_background == [False] + [behind] * 5
    found = {one.step: checkpoint.read(one.path) for one in checkpoint.committed(tmp_path)}
    assert sorted(found) == sorted(remembers.moments) == [1, 2, 3, 4, 5, 6]
    for step, snapshot in found.items():
        held = {f"w/{name}": value for name, value in snapshot.weights.items()} | dict(snapshot.optimizer)
        assert held.keys() == remembers.moments[step].keys()
        assert all(torch.equal(value, remembers.moments[step][name]) for name, value in held.items())


def test_weights_that_forward_changes_are_noticed_and_waited_for_from_then_on(tmp_path: Path) -> None:
    class Renormed(Wide):
        """Embedding(max_norm=…) shortens rows in place while it looks them up."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(WIDTH, WIDTH, max_norm=0.5)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            # the copies wait until forward has been here: the order that is to be noticed, every time
            loss = self.table(torch.arange(WIDTH)).mean() + super().training_step(batch, batch_idx)
            staging = self.trainer._saver.staging
            if held.locked():
                held.release()
            staging.settle()
            return loss  # type: ignore[no-any-return]

    class Holds(leyden.Callback):
        def on_checkpoint_due(self, trainer: Any, pl_module: Any, epoch_end: bool) -> None:
            if trainer.global_step == 2:
                trainer.wait_for_checkpoints()
                trainer._saver.staging._copying = held
                held.acquire()

    held = threading.Lock()
    saves = leyden.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[Holds(), saves])
    with pytest.warns(UserWarning, match=r"table\.weight was changed before the next optimizer step"):
        trainer.fit(Renormed(), batches())
    assert [one.step for one in checkpoint.committed(tmp_path)] == [4, 6]
    assert trainer._saver.staging.at_once


def test_memory_is_used_again_and_tied_tensors_are_copied_once() -> None:
    staging, shared = Staging(), torch.randn(300, 300)
    places = []
    for _ in range(2):
        tensors = {"one": shared, "other": shared, "view": shared[:2]}
        staging.take(tensors, [shared])
        staging.fill()
        assert tensors["one"] is tensors["other"]
        assert tensors["one"].data_ptr() != shared.data_ptr()
        assert torch.equal(tensors["one"], shared)
        assert torch.equal(tensors["view"], shared[:2])
        places.append(tensors["one"].data_ptr())
        staging.release()
    assert places[0] == places[1]


def test_two_threads_copy_and_both_return_when_all_is_there() -> None:
    staging = Staging()
    live = {str(number): torch.full((200, 200), float(number)) for number in range(50)}
    tensors = dict(live)
    staging.take(tensors, live.values())
    thread = threading.Thread(target=staging.fill)
    thread.start()
    staging.settle()
    copied = {name: float(value[0, 0]) for name, value in tensors.items()}
    thread.join()
    assert copied == {str(number): float(number) for number in range(50)}


def test_a_save_costs_the_loop_little_of_its_time(tmp_path: Path) -> None:
    """40 MB, forward and backward long enough: the loop stands for far less than the writing takes."""

    class Long(leyden.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1800, 1800)
            self.asked, self.stood = 0.0, []  # type: tuple[float, list[float]]

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if self.asked:
                self.stood.append(time.perf_counter() - self.asked)
                self.asked = 0.0
            return self.net(batch).square().mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    class Asks(leyden.Callback):
        def on_checkpoint_due(self, trainer: Any, pl_module: Any, epoch_end: bool) -> None:
            pl_module.asked = time.perf_counter()

    model, saves = Long(), leyden.ModelCheckpoint(tmp_path, every_n_train_steps=3, every_n_epochs=99)
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[Asks(), saves])
    data = torch.randn(128, 1800)
    trainer.fit(model, DataLoader([data] * 10, batch_size=None))  # type: ignore[arg-type]
    began = time.perf_counter()
    trainer.save_checkpoint(tmp_path / "blocking")
    blocking = time.perf_counter() - began
    assert min(model.stood) < 0.5 * blocking  # a bound that holds on a loaded machine; benchmarks/ has the figure


def test_a_file_is_read_by_parts_and_by_others(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    kinds = [torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.uint16, torch.bool]
    whole = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    whole |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 3), "turned": torch.randn(6, 4).t()}
    stamp = write_tensors(tmp_path / "whole", whole | {"tied": whole["turned"]})
    assert stamp["size_bytes"] == (tmp_path / "whole").stat().st_size
    back, others = Tensors([tmp_path / "whole"]), load_file(tmp_path / "whole")
    for name, value in whole.items():
        assert back[name].dtype == value.dtype
        assert str(back[name].tolist()) == str(others[name].tolist()) == str(value.tolist())
    assert torch.equal(back["tied"], whole["turned"])
    assert len(others) == len(whole) == len(back) - 1
    full = torch.randn(7, 4)
    cuts = [(slice(0, 4), slice(0, 4)), (slice(4, 7), slice(0, 1)), (slice(4, 7), slice(1, 4))]
    for number, (rows, columns) in enumerate(cuts):
        piece = full[rows, columns]
        box = Box(shape=(7, 4), offsets=(rows.start, columns.start), sizes=tuple(piece.shape))
        write_tensors(tmp_path / f"part{number}", {"w": piece}, {"w": box})
    parts = Tensors([tmp_path / f"part{number}" for number in range(3)])
    assert torch.equal(parts["w"], full)
    assert torch.equal(parts.part("w", Box(shape=(7, 4), offsets=(2, 0), sizes=(4, 2))), full[2:6, :2])
    with pytest.raises(ValueError, match="parts of w are missing"):
        Tensors([tmp_path / "part0", tmp_path / "part1"])
    with pytest.raises(TypeError, match=r"x is of torch\.complex128"):
        write_tensors(tmp_path / "odd", {"x": torch.zeros(1, dtype=torch.complex128)})


def test_weights_alone(tmp_path: Path) -> None:
    model = Wide()
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    trainer.fit(model, batches())
    trainer.save_checkpoint(tmp_path / "light", weights_only=True)
    assert sorted(one.name for one in (tmp_path / "light").iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "training.pt",
    ]
    loaded = Wide.load_from_checkpoint(tmp_path / "light")
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
    )
    with pytest.raises(CheckpointError, match="saved with weights_only"):
        trainer.fit(model, batches(), ckpt_path=tmp_path / "light")

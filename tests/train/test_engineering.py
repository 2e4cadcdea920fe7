"""Do the Trainer's other switches do what they say: lengths, hooks of batches, reloading, compilation, float8?"""

from __future__ import annotations

import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import ModelSummary, Timer
from tests.train.models import Line, loader, same, seeded, weights


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(
        **{
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "enable_checkpointing": False,
            "max_epochs": 1,
            **settings,
        }
    )


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_time": "2ep", "max_epochs": None}, 16),
        ({"max_time": "5step"}, 5),
        ({"max_time": "00:00:00:00", "max_epochs": None}, 0),
        ({"max_time": timedelta(hours=1)}, 8),
        ({"max_time": {"hours": 1}, "max_epochs": 2}, 16),
    ],
)
def test_training_ends_in_time(settings: dict[str, Any], steps: int) -> None:
    trainer = quiet(**settings)
    trainer.fit(seeded(), loader())
    assert trainer.global_step == steps


def test_no_length_is_an_error() -> None:
    for given in ("soon", "12", {"hour": 1}):
        with pytest.raises(ConfigurationError, match="10ep"):
            quiet(max_time=given)
    with pytest.raises(ConfigurationError, match="max_epochs"):
        Timer("10ep")


class Moved(Line):
    """Writes down what happens to a batch on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.way: list[str] = []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.way.append(f"before {dataloader_idx}")
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.way.append(f"to {device}")
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.way.append("after")
        x, y = batch
        return x * 0, y

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        assert not batch[0].any()
        self.way.append("start")


class Source(leyden.DataModule):
    def __init__(self, scale: float = 1.0) -> None:
        self.save_hyperparameters()
        self.seen = self.exception = None
        self.epochs = 0

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [part * self.hparams.scale for part in batch]

    def train_dataloader(self) -> DataLoader[Any]:
        self.epochs += 1
        return loader()

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["epochs"]

    def on_exception(self, exception: BaseException) -> None:
        self.exception = type(exception)  # type: ignore[assignment]


def test_batches_go_through_the_hooks() -> None:
    model = Moved()
    quiet(limit_train_batches=1, limit_val_batches=1, num_sanity_val_steps=0).fit(model, loader(), [loader(), loader()])
    assert model.way == [
        *["before 0", "to cpu", "after", "start"],
        *["before 0", "to cpu", "after"],
        *["before 1", "to cpu", "after"],
    ]
    model.way.clear()
    quiet(limit_train_batches=1).fit(model, datamodule=Source(scale=2.0))
    assert model.way == ["to cpu", "after", "start"]


def test_a_datamodule_is_told_and_kept(tmp_path: Path) -> None:
    source = Source()
    trainer = quiet(max_epochs=2, reload_dataloaders_every_n_epochs=1)
    trainer.fit(seeded(), datamodule=source)
    assert source.epochs == 2
    trainer.save_checkpoint(tmp_path / "kept")
    again = Source()
    quiet(max_epochs=3).fit(seeded(), datamodule=again, ckpt_path=tmp_path / "kept")
    assert again.seen == 2

    class Failing(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        quiet().fit(Failing(), datamodule=source)
    assert source.exception is ArithmeticError


def test_validation_loaders_are_made_anew() -> None:
    class Growing(Line):
        def __init__(self) -> None:
            super().__init__()
            self.sizes, self.seen = [16, 32], list[int]()

        def val_dataloader(self) -> Any:
            return loader(self.sizes.pop(0))

        def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.seen.append(self.current_epoch)

    model = Growing()
    quiet(max_epochs=2, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0).fit(model, loader())
    assert [model.seen.count(epoch) for epoch in (0, 1)] == [2, 4]


def test_validation_counted_over_epochs() -> None:
    at: list[tuple[int, int]] = []

    class Counted(Line):
        def on_validation_start(self) -> None:
            at.append((self.current_epoch, self.global_step))

    trainer = quiet(max_epochs=3, val_check_interval=10, check_val_every_n_epoch=None, num_sanity_val_steps=0)
    trainer.fit(Counted(), loader(), loader())
    assert at == [(1, 10), (2, 20)]
    with pytest.raises(ConfigurationError, match="counted in batches"):
        quiet(check_val_every_n_epoch=None)


def test_a_module_brings_callbacks_and_makes_its_layers_late() -> None:
    mine, theirs = ModelSummary(max_depth=0), ModelSummary(max_depth=2)

    class Late(Line):
        def __init__(self) -> None:
            super().__init__()
            self.net = None  # type: ignore[assignment]

        def configure_callbacks(self) -> Any:
            return theirs

        def configure_model(self) -> None:
            if self.net is None:
                self.net = nn.Sequential(nn.Linear(4, 1))

    trainer = quiet(callbacks=mine)
    trainer.fit(Late(), loader())
    assert trainer.callbacks == [theirs]
    assert trainer.global_step == 8


def test_anomalies_are_found_where_they_arise() -> None:
    class Bad(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.net(batch[0]) * 0).sqrt().mean()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="nan values"):
            quiet(detect_anomaly=True).fit(Bad(), loader())
    assert any("in training_step" in str(one.message) for one in caught)
    assert not torch.is_anomaly_enabled()


class Deep(leyden.Module):
    """Three equal blocks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(3))
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self(batch).square().mean()
        self.log("loss", loss)
        return loss  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def numbers(width: int = 16) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader([torch.randn(width, generator=generator) for _ in range(32)], batch_size=16)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo looks at it itself
@pytest.mark.parametrize("how", ["blocks", True])
def test_compiled_networks_learn_the_same(how: bool | str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    plain, model = Deep(), Deep()
    quiet().fit(plain, numbers())
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")  # all of compilation but the compiler
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    quiet(compile=how).fit(model, numbers())
    # Equal blocks share a compilation, but for the first: its input needs no gradient.
    assert counter.frame_count == (2 if how == "blocks" else 1)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert same(weights(model), weights(plain))


def test_nothing_to_compile() -> None:
    with pytest.raises(ConfigurationError, match="no ModuleList"):
        quiet(compile="blocks").fit(seeded(), loader())
    with pytest.raises(ConfigurationError, match="compile='all'"):
        quiet(compile="all")


def test_float8_learns_nearly_the_same() -> None:
    pytest.importorskip("torchao")
    plain, coarse = Deep(), Deep()
    quiet(max_epochs=3).fit(plain, numbers())
    before = weights(coarse)
    quiet(max_epochs=3, precision="float8-mixed").fit(coarse, numbers())
    assert {type(one).__name__ for one in coarse.modules() if isinstance(one, nn.Linear)} == {"Float8Linear"}
    assert not same(before, weights(coarse))
    assert not same(weights(plain), weights(coarse))
    for mine, other in zip(weights(coarse), weights(plain), strict=True):
        torch.testing.assert_close(mine, other, atol=0.01, rtol=0.05)
    with pytest.raises(ConfigurationError, match="multiples of 16"):
        quiet(precision="float8-mixed").fit(Deep(width=6), numbers(6))


def test_an_epoch_skipped_at_its_first_batch() -> None:
    class Skipping(Line):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if self.current_epoch == 0 else None

    trainer = quiet(max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(Skipping(), loader(), loader())
    assert (trainer.current_epoch, trainer.global_step) == (2, 8)


def test_predictions_need_not_be_kept() -> None:
    assert len(quiet().predict(seeded(), loader())) == 8
    assert quiet().predict(seeded(), loader(), return_predictions=False) == []


def test_deterministic_may_only_warn() -> None:
    class Asking(Line):
        def on_train_start(self) -> None:
            self.found = (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            )

    for asked, found in ((True, (True, False)), ("warn", (True, True)), (False, (False, False))):
        model = Asking()
        quiet(deterministic=asked).fit(model, loader())
        assert model.found == found
    assert not torch.are_deterministic_algorithms_enabled()

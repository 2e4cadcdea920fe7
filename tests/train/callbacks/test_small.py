"""Do functions as hooks, prediction writers and the checkpoint after an error work?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import BasePredictionWriter, EMAWeightAveraging, LambdaCallback, OnExceptionCheckpoint
from leyden.train.checkpoints import checkpoint
from tests.train.callbacks.runs import Break, named, new, trainer
from tests.train.models import Line, loader


def test_functions_are_hooks() -> None:
    seen: list[str] = []
    first = LambdaCallback(
        on_train_start=lambda trainer, module: seen.append(type(module).__name__),
        on_train_batch_end=lambda trainer, module, outputs, batch, batch_idx: seen.append(f"{batch_idx}"),
        on_fit_end=None,
    )
    second = LambdaCallback(teardown=lambda trainer, module, stage: seen.append(stage))
    trainer(first, second, max_steps=2).fit(new(), loader())
    assert seen == ["Line", "0", "1", "fit"]
    assert isinstance(first, LambdaCallback)
    with pytest.raises(ConfigurationError, match="did you mean 'on_train_end'"):
        LambdaCallback(on_train_ends=print)


class Writes(BasePredictionWriter):
    def __init__(self, interval: str) -> None:
        super().__init__(interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []
        self.indices: list[Any] = []

    def write_on_batch_end(
        self, trainer: Any, module: Any, prediction: Any, indices: Any, batch: Any, batch_idx: int, dataloader_idx: int
    ) -> None:
        assert len(prediction) == len(batch[0])
        self.batches.append((dataloader_idx, batch_idx))
        self.indices.append(indices)

    def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, indices: Any) -> None:
        self.epochs.append(predictions)
        self.all_indices = indices


@pytest.mark.parametrize(
    ("interval", "batches", "epochs"), [("batch", 3, 0), ("epoch", 0, 1), ("batch_and_epoch", 3, 1)]
)
def test_predictions_are_handed_out(interval: str, batches: int, epochs: int) -> None:
    writes = Writes(interval)
    returned = trainer(writes).predict(new(), loader(20, 8))
    assert (len(writes.batches), len(writes.epochs)) == (batches, epochs)
    for one in writes.epochs:
        assert all(torch.equal(a, b) for a, b in zip(one, returned, strict=True))


def test_predictions_of_several_loaders() -> None:
    class Two(Line):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return super().predict_step(batch, batch_idx)

    writes = Writes("batch_and_epoch")
    run = trainer(writes)
    for _ in range(2):
        run.predict(Two(), [loader(8), loader(16)])
    assert writes.batches == [(0, 0), (1, 0), (1, 1)] * 2
    assert [[len(one) for one in epoch] for epoch in writes.epochs] == [[1, 2]] * 2
    assert writes.indices == [[*range(8)], [*range(8)], [*range(8, 16)]] * 2
    assert writes.all_indices == [[[*range(8)]], [[*range(8)], [*range(8, 16)]]]
    run.predict(Two(), loader(8, shuffle=True))
    assert writes.indices[-1] is None
    with pytest.raises(ConfigurationError, match="write_interval='step'"):
        Writes("step")


def test_a_checkpoint_after_an_error_goes_on_exactly(tmp_path: Path) -> None:
    whole, broken, resumed = new(), new(), new(seed=3)
    trainer(EMAWeightAveraging(decay=0.5)).fit(whole, loader())
    saves = OnExceptionCheckpoint(tmp_path / "crashed")
    with pytest.raises(RuntimeError, match="crash"):
        trainer(saves, EMAWeightAveraging(decay=0.5), Break(5)).fit(broken, loader())
    assert checkpoint.check(Path(saves.ckpt_path))["step"] == 5
    trainer(EMAWeightAveraging(decay=0.5)).fit(resumed, loader(), ckpt_path=saves.ckpt_path)
    assert all(torch.equal(one, named(resumed)[name]) for name, one in named(whole).items())


def test_an_error_before_training_or_a_disk_that_refuses_leave_the_error_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    saves = OnExceptionCheckpoint(tmp_path / "file")
    with pytest.raises(RuntimeError, match="crash"):
        trainer(saves, Break(5)).fit(new(), loader())
    assert "was to be written" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="no batch"):
        trainer(OnExceptionCheckpoint(tmp_path / "none")).fit(new(), loader(4, 8, drop_last=True))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigurationError, match="it is empty"):
        OnExceptionCheckpoint(tmp_path, "")

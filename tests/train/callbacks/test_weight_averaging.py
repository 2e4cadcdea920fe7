"""Are the averages right, validated, saved, handed over, and the same after a resume?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import EMAWeightAveraging, WeightAveraging
from leyden.train.checkpoints import checkpoint
from tests.train.callbacks.runs import Normed, named, new, resumes_exactly, saving, trainer
from tests.train.models import Line, loader


class Keeps(leyden.Callback):
    """The weights after each step, and what validation saw."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(named(pl_module))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated.append(named(pl_module))


def ema(steps: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    average = {name: one.clone() for name, one in steps[0].items()}
    for step in steps[1:]:
        for name, one in step.items():
            average[name] = decay * average[name] + (1 - decay) * one if one.is_floating_point() else one
    return average


def close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left
    for name, one in left.items():
        torch.testing.assert_close(one, right[name], msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


def test_validation_and_the_final_model_see_the_average_and_training_does_not() -> None:
    plain, keeps, model = Keeps(), Keeps(), new(Normed)
    trainer(plain).fit(new(Normed), loader(), loader(16))
    trainer(EMAWeightAveraging(decay=0.9), keeps).fit(model, loader(), loader(16))
    assert all(torch.equal(a[n], b[n]) for a, b in zip(plain.trained, keeps.trained, strict=True) for n in a)
    close(keeps.validated[0], ema(keeps.trained[:8], 0.9))
    close(keeps.validated[1], ema(keeps.trained, 0.9))
    close(named(model), ema(keeps.trained, 0.9))
    assert named(model)["net.1.num_batches_tracked"] == 16


def test_when_it_averages() -> None:
    keeps, model = Keeps(), new()
    averaging = EMAWeightAveraging(decay=0.5, update_every_n_steps=3, update_starting_at_step=4)
    trainer(averaging, keeps, max_epochs=1).fit(model, loader(96), loader(16))
    close(named(model), ema([keeps.trained[6], keeps.trained[9]], 0.5))
    late = new()
    trainer(EMAWeightAveraging(update_starting_at_step=100), max_epochs=1).fit(late, loader(96))
    close(named(late), keeps.trained[-1])


def test_buffers_may_be_copied_instead() -> None:
    keeps, model = Keeps(), new(Normed)
    trainer(EMAWeightAveraging(decay=0.9, use_buffers=False), keeps).fit(model, loader())
    assert torch.equal(named(model)["net.1.running_mean"], keeps.trained[-1]["net.1.running_mean"])
    close({"net.1.weight": named(model)["net.1.weight"]}, ema(keeps.trained, 0.9))


def test_every_epoch_equally_and_any_function() -> None:
    class Epochs(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return epoch_idx is not None

    keeps, model = Keeps(), new()
    trainer(Epochs(), keeps, max_epochs=3).fit(model, loader())
    ends = keeps.trained[7::8]
    close(named(model), {name: sum(one[name] for one in ends) / 3 for name in ends[0]})  # type: ignore[misc]
    own = new()
    trainer(Epochs(avg_fn=lambda average, weight, count: weight + 1), keeps, max_epochs=3).fit(own, loader())
    close(named(own), {name: one + 1 for name, one in keeps.trained[-1].items()})


@pytest.mark.parametrize(("start", "crash"), [(0, 5), (7, 8), (0, 17), (7, 5)])
def test_resumed_equals_uninterrupted(start: int, crash: int) -> None:
    def ema() -> EMAWeightAveraging:
        return EMAWeightAveraging(decay=0.8, update_every_n_steps=2, update_starting_at_step=start)

    assert resumes_exactly(ema, crash, Normed)


def test_training_goes_on_from_its_own_weights_after_a_finished_run() -> None:
    whole, first, more = new(), new(), new(seed=3)
    saving(EMAWeightAveraging(decay=0.8), default_root_dir="whole", max_epochs=4).fit(whole, loader())
    saving(EMAWeightAveraging(decay=0.8), default_root_dir="more", max_epochs=2).fit(first, loader())
    again = saving(EMAWeightAveraging(decay=0.8), default_root_dir="more", max_epochs=4)
    again.fit(more, loader(), ckpt_path="last")
    assert all(torch.equal(one, named(more)[name]) for name, one in named(whole).items())


def test_a_checkpoint_holds_what_was_validated() -> None:
    saves = leyden.ModelCheckpoint(monitor="val_loss")
    model = new(lambda: Normed(lr=0.2))
    run = trainer(EMAWeightAveraging(decay=0.7), saves, max_epochs=4)
    run.fit(model, loader(), loader(16))
    [scores] = run.test(model, loader(16), ckpt_path="best")
    assert scores["test_loss"] == pytest.approx(saves.best_model_score, rel=1e-6)


def test_an_error_in_validation_leaves_the_weights_of_training() -> None:
    class Fails(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("crash")

    keeps, model = Keeps(), new(Fails)
    with pytest.raises(RuntimeError, match="crash"):
        trainer(EMAWeightAveraging(decay=0.5), keeps).fit(model, loader(), loader(16))
    assert all(torch.equal(one, keeps.trained[-1][name]) for name, one in named(model).items())


class Tied(Line):
    """A weight under two names, in bfloat16."""

    def __init__(self) -> None:
        super().__init__(lr=1e-3)
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1))
        self.net[2].weight = self.net[0].weight
        self.to(torch.bfloat16)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step([one.bfloat16() for one in batch], batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step([one.bfloat16() for one in batch], batch_idx)


def test_sixteen_bits_are_averaged_in_thirty_two_and_tied_weights_once() -> None:
    keeps, model = Keeps(), new(Tied)
    run = trainer(EMAWeightAveraging(decay=0.999), keeps, max_epochs=10)
    run.fit(model, loader())
    exact = ema([{name: one.float() for name, one in step.items()} for step in keeps.trained], 0.999)
    assert all(torch.equal(one, exact[name].bfloat16()) for name, one in named(model).items())
    saved = checkpoint.read(next(run.checkpoint_dir.iterdir())).weights
    assert saved["net.2.weight"].data_ptr() == saved["net.0.weight"].data_ptr()
    assert resumes_exactly(lambda: EMAWeightAveraging(decay=0.99), 10, Tied)


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="decay=2"):
        EMAWeightAveraging(decay=2.0)
    with pytest.raises(ConfigurationError, match="both say how"):
        WeightAveraging(avg_fn=lambda a, b, n: b, multi_avg_fn=lambda a, b, n: None)

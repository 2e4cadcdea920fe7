"""Does training layer by layer learn what AdamW learns: exactly where nothing is rounded, and as well where it is?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leyden
from leyden.train.checkpoints import checkpoint
from leyden.train.offload import setup
from leyden.train.offload.lanes import Lanes
from leyden.train.offload.weights import units_of
from leyden.train.strategies import Offload
from tests.train.callbacks.runs import resumes_exactly
from tests.train.models import Line, loader
from tests.train.offload.models import GPT, Block, batches, block, same, text, trained, trainer

SMALL = "250kB"  # of 293 kB of float32 weights in GPT: with room for three in flight, four of its five blocks leave
SMALL_16 = "125kB"


def away(model: nn.Module) -> list[str]:
    """Blocks whose home is the host."""
    return [unit.name for unit in setup._settled[model][-1].units if unit.home is not None]


@pytest.mark.parametrize("memory", [None, SMALL], ids=["all stay", "some leave"])
def test_exact_equals_adamw_bit_for_bit(memory: str | None) -> None:
    """Tied, shared, frozen and unused parameters, two groups, a schedule, dropout: movement changes nothing."""
    plain = trained("auto")
    moved = trained(Offload(exact=True, device_memory=memory))
    assert len(away(moved)) == (4 if memory else 0)
    assert plain.losses == moved.losses
    assert same(plain, moved)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_other_models_and_adam(kind: type[torch.optim.Adam]) -> None:
    """A convolutional net with batch norm and weight decay; nothing repeats in it, so it is one unit."""

    class Net(Line):
        def __init__(self) -> None:
            super().__init__()
            layers = [nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 6, 3), nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(12, 1)]
            self.net = nn.Sequential(*layers)

        def configure_optimizers(self) -> Any:
            return kind(self.parameters(), lr=0.01, weight_decay=0.1, foreach=False)

    models = []
    for strategy in ("auto", Offload(exact=True, activation_checkpointing=False)):
        leyden.seed_everything(7)
        models.append(Net())
        trainer(strategy).fit(models[-1], loader())
    assert models[0].losses == models[1].losses
    assert same(*models)


def test_movement_changes_nothing_in_bf16_either() -> None:
    stays, leaves = trained("offload"), trained(Offload(device_memory=SMALL_16))
    assert away(leaves)
    assert {one.dtype for one in stays.parameters()} == {torch.bfloat16}
    assert stays.losses == leaves.losses
    assert same(stays, leaves)


class LateLanes(Lanes):
    """As late as a GPU's may be: what has not been waited for is not there, and what was sent arrives in `finish`."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.under_way: list[tuple[Tensor, Tensor]] = []

    def bring(self, home: Tensor) -> tuple[Tensor, Callable[[], None]]:
        there = torch.full_like(home, 255)  # every number NaN
        return there, lambda: self.arrive(there, home)

    def arrive(self, there: Tensor, home: Tensor) -> None:
        there.copy_(home)

    def send(self, there: Tensor, home: Tensor) -> None:
        home.fill_(255)
        self.under_way.append((there, home))

    def unstage(self, staged: Tensor, rows: Tensor) -> None:
        self.send(staged, rows)

    def finish(self) -> None:
        for there, home in self.under_way:
            home.copy_(there)
        self.under_way.clear()


def test_nothing_relies_on_copies_being_early(monkeypatch: pytest.MonkeyPatch) -> None:
    saves = leyden.ModelCheckpoint(every_n_train_steps=3)
    early = trained(Offload(device_memory=SMALL_16))
    monkeypatch.setattr(setup, "lanes_for", lambda device, slot_bytes: LateLanes(device))
    late = trained(Offload(device_memory=SMALL_16), callbacks=[saves], enable_checkpointing=True)
    assert early.losses == late.losses
    assert same(early, late)
    whole = checkpoint.read(Path(saves.last_model_path))
    assert all(one.float().isfinite().all() for one in whole.weights.values())


@pytest.mark.slow
def test_learns_what_adamw_in_float32_learns() -> None:
    """On real source, losses stay beside AdamW's, and end where they end."""
    curves = []
    for strategy in ("auto", "offload"):
        leyden.seed_everything(0)
        model = GPT(layers=3, width=64, dropout=0.0)
        trainer(strategy, max_steps=100).fit(model, batches(2000, 8))
        curves.append(torch.tensor(model.losses).view(-1, 25).mean(1))
    plain, ours = curves
    assert plain[0] - plain[-1] > 0.7
    assert (plain - ours).abs().max() < 0.005


def test_bytes_a_parameter_and_gradients_at_once() -> None:
    seen: list[int] = []

    class Watched(GPT):
        moments = 0

        def on_fit_start(self) -> None:
            for one in self.parameters():
                if one.requires_grad:
                    one.register_post_accumulate_grad_hook(self.count)  # type: ignore[no-untyped-call]

        def count(self, _: Tensor) -> None:
            seen.append(sum(one.grad.nbytes for one in self.parameters() if one.grad is not None))

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            state = [one for entry in optimizer.state.values() for one in entry.values() if isinstance(one, Tensor)]
            self.moments = sum(one.nbytes for one in state)

    class Wide(Watched):
        def __init__(self) -> None:
            super().__init__(layers=8, width=64)

    model = trained(Offload(), Wide, max_steps=2)
    assert isinstance(model, Watched)
    count = sum(one.numel() for one in model.parameters())
    assert sum(one.nbytes for one in model.parameters()) == 2 * count
    assert model.moments / count == pytest.approx(2.03125, rel=0.03)  # small tensors end inside a block
    assert max(seen) < 2 * count / 4


def test_few_blocks_are_on_the_device_at_once() -> None:
    most = 0

    class Watched(GPT):
        def __init__(self) -> None:
            super().__init__(layers=9)

        def on_fit_start(self) -> None:
            for index in range(9):
                block(self, index).up.register_forward_hook(self.look)

        def look(self, *_: Any) -> None:
            nonlocal most
            units = [unit for unit in setup._settled[self][-1].units if unit.home is not None]
            most = max(most, sum(unit.there is not None or unit.coming is not None for unit in units))

    model = trained(Offload(device_memory=SMALL_16), Watched)
    assert len(away(model)) >= 7
    assert most == 2
    assert all(unit.there is None and unit.coming is None for unit in setup._settled[model][-1].units)


@pytest.mark.parametrize("memory", [None, SMALL_16], ids=["all stay", "some leave"])
def test_killed_and_resumed_ends_with_the_same_bits(memory: str | None) -> None:
    strategy = Offload(device_memory=memory)
    assert resumes_exactly(leyden.Callback, 13, Resumed, batches, strategy=strategy)  # type: ignore[arg-type]


class Resumed(GPT):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """`resumes_exactly` validates on points, not on text."""


def test_goes_on_from_a_run_without_offload() -> None:
    saves = leyden.ModelCheckpoint()
    leyden.seed_everything(7)
    plain = GPT(dropout=0.0)
    trainer("auto", callbacks=[saves], enable_checkpointing=True, max_epochs=2).fit(plain, batches())
    ends = []
    for strategy in ("auto", Offload(exact=True), "offload"):
        model = GPT(dropout=0.0)
        trainer(strategy, max_epochs=4).fit(model, batches(), ckpt_path=saves.last_model_path)
        ends.append(model.losses)
    assert ends[0] == ends[1]
    assert max(abs(a - b) for a, b in zip(ends[0], ends[2], strict=True)) < 0.03


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping(algorithm: str) -> None:
    """By value as always; by norm each block alone, as this loop does it."""

    class ByBlock(GPT):
        def configure_gradient_clipping(self, optimizer: Any, bound: Any = None, algorithm: Any = None) -> None:
            for unit in units_of(self):
                found = [getattr(owner, name) for owner, name in unit.places]
                nn.utils.clip_grad_norm_(found, bound, foreach=True)

    bound: dict[str, Any] = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": algorithm}
    plain = trained("auto", ByBlock if algorithm == "norm" else GPT, **bound)
    ours = trained(Offload(exact=True, clip_each_block=algorithm == "norm"), **bound)
    assert plain.losses == pytest.approx(ours.losses, abs=1e-6)
    assert trained("auto").losses != plain.losses


def test_after_training_the_model_is_only_a_model() -> None:
    model = trained(Offload(device_memory=SMALL_16))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    model.loss(text(8)).backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    again = trainer(Offload(device_memory=SMALL_16))
    first = again.validate(model, batches())[0]["val_loss"]
    assert all(one.is_inference() is False for one in model.parameters())
    assert trainer("auto", precision="bf16-true").validate(model, batches())[0]["val_loss"] == pytest.approx(first)
    assert "forward" not in model.blocks[0].__dict__
    again.fit(model, batches())
    assert len(model.losses) == 32


def test_a_model_without_memory_of_its_own() -> None:
    """Built on the meta device, its parts are filled one after another by their reset_parameters."""
    with torch.device("meta"):
        model = GPT(dropout=0.0)
        model.scale = torch.tensor(1.0, device="cpu")
    trainer(Offload(device_memory=SMALL_16), max_epochs=4).fit(model, batches())
    assert not any(one.is_meta for one in model.parameters())
    assert model.losses[-1] < model.losses[0] / 2
    assert block(model, 1).before_mlp.weight is model.norm.weight


@pytest.mark.filterwarnings("ignore:Scaled.configure_optimizers")  # it says that some are not the Module's own
def test_new_parameters_and_those_of_nobody_are_trained() -> None:
    class Scaled(GPT):
        strange: list[nn.Parameter]

        def loss(self, batch: Tensor) -> Tensor:
            return super().loss(batch) * self.strange[0].exp()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW([*self.parameters(), *self.strange], lr=1e-3, foreach=False)

    models: list[Scaled] = []
    for strategy in ("auto", Offload(exact=True, device_memory=SMALL)):
        leyden.seed_everything(7)
        models.append(Scaled())
        models[-1].strange = [nn.Parameter(torch.zeros(()))]  # no parameter of the module, so it is in a list
        for _ in range(2):
            trainer(strategy, max_epochs=1).fit(models[-1], batches())
            models[-1].blocks[3] = Block(32, 0.0)
    assert same(*models)
    assert models[0].strange[0] == models[1].strange[0] != 0
    assert models[0].losses == models[1].losses


def test_frozen_and_thawed_while_training() -> None:
    class Thaws(GPT):
        def on_train_epoch_start(self) -> None:
            self.blocks[0].requires_grad_(self.trainer.current_epoch == 1)
            self.seen = [one.detach().clone() for one in self.blocks[0].parameters()]

    plain, ours = (trained(one, Thaws, max_epochs=3) for one in ("auto", Offload(exact=True, device_memory=SMALL)))
    assert same(plain, ours)

"""Is a batch trained on right where one forward, one backward and one step are not enough?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.ways import take_rows
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


class Recurrent(leyden.Module):
    """Predicts a sequence from what it has seen of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cell = nn.GRU(1, 4, batch_first=True)
        self.out = nn.Linear(4, 1)
        self.calls: list[tuple[int, int, bool]] = []

    def training_step(self, batch: Any, batch_idx: int, hiddens: Tensor | None = None) -> Any:
        x, y = batch
        self.calls.append((batch_idx, x.shape[1], hiddens is None))
        assert hiddens is None or not hiddens.requires_grad
        seen, hiddens = self.cell(x, hiddens)
        return {"loss": (self.out(seen) - y).square().mean(), "hiddens": hiddens}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def sequences() -> DataLoader[Any]:
    waves = torch.sin(torch.arange(48.0).view(4, 12) / 3)[..., None]
    return DataLoader(list(zip(waves[:, :-1], waves[:, 1:], strict=True)), batch_size=2)  # type: ignore[arg-type]


def test_back_propagation_is_cut_in_time() -> None:
    model, trainer = Recurrent(), quiet(truncated_bptt_steps=4)
    trainer.fit(model, sequences())
    assert model.calls == [(index, length, length == 4 and first) for index in (0, 1) for length, first in CUTS]
    assert trainer.global_step == 6

    twin = Recurrent()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for x, y in sequences():
        hiddens = None
        for part in range(0, 11, 4):
            seen, hiddens = twin.cell(x[:, part : part + 4], hiddens)
            optimizer.zero_grad()
            (twin.out(seen) - y[:, part : part + 4]).square().mean().backward()
            optimizer.step()
            hiddens = hiddens.detach()
    assert same(weights(twin), weights(model))


CUTS = [(4, True), (4, False), (3, False)]


def test_time_is_not_cut_without_a_place_for_its_state() -> None:
    with pytest.raises(ConfigurationError, match="takes no hidden state"):
        quiet(truncated_bptt_steps=2).fit(seeded(), loader())
    with pytest.raises(ConfigurationError, match="every stretch takes a step"):
        quiet(truncated_bptt_steps=2, accumulate_grad_batches=2).fit(Recurrent(), sequences())


class Greedy(Line):
    """Runs out of memory for more than `room` samples at a time, as a small device does."""

    def __init__(self, room: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.room, self.sizes = room, list[int]()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        loss = super().training_step(batch, batch_idx)
        if len(batch[0]) > self.room:
            torch.empty(1 << 60)  # more than any machine has: a real allocation that fails
        return loss


def test_a_batch_too_large_for_the_memory_is_computed_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    leyden.seed_everything(1)
    tight = Greedy(room=3)
    trainer = quiet(accumulate_grad_batches="auto")
    trainer.fit(tight, loader(32, batch_size=8))
    leyden.seed_everything(1)
    roomy = Greedy(room=8)
    plain = quiet()
    plain.fit(roomy, loader(32, batch_size=8))
    assert tight.sizes == [8, 4, *[2] * 4 * 4]
    assert trainer.global_step == plain.global_step == 4
    assert trainer.metrics["train_loss_epoch"] == pytest.approx(plain.metrics["train_loss_epoch"])
    for mine, other in zip(weights(tight), weights(roomy), strict=True):
        torch.testing.assert_close(mine, other)
    assert "out of memory at batch 0: going on with 4 parts a batch" in capsys.readouterr().out


def test_one_sample_too_large_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="allocate memory"):
        quiet(accumulate_grad_batches="auto").fit(Greedy(room=0), loader())


def test_rows_of_nested_batches() -> None:
    batch = {"x": torch.arange(6).view(3, 2), "more": (torch.arange(3), 7, torch.tensor(1.0))}
    part = take_rows(batch, slice(1, 3), 3)
    assert part["x"].tolist() == [[2, 3], [4, 5]]
    assert (part["more"][0].tolist(), part["more"][1], float(part["more"][2])) == ([1, 2], 7, 1.0)


class Words(leyden.Module):
    """The mean of what it is given, over as many tokens as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": (self.weight * batch).mean(), "tokens": torch.tensor(batch.numel())}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_every_token_of_a_window_counts_alike() -> None:
    texts = [torch.full((1,), 6.0), torch.full((5,), 0.0), torch.full((3,), 2.0)]
    for by, expected in (("tokens", [1.0, 2.0]), ("batches", [3.0, 2.0])):
        model = Words()
        trainer = quiet(accumulate_grad_batches=2, accumulate_by=by)
        trainer.fit(model, DataLoader(texts, batch_size=None))  # type: ignore[arg-type]
        assert trainer.global_step == 2
        assert model.weight.item() == pytest.approx(1.0 - sum(expected)), by


def test_tokens_of_a_loader_without_a_length() -> None:
    class Endless(torch.utils.data.IterableDataset[Tensor]):
        def __iter__(self) -> Any:
            return iter([torch.full((1,), 6.0), torch.full((5,), 0.0), torch.full((3,), 2.0)])

    model = Words()
    trainer = quiet(accumulate_grad_batches=2, accumulate_by="tokens")
    trainer.fit(model, DataLoader(Endless(), batch_size=None))
    assert trainer.global_step == 2
    assert model.weight.item() == pytest.approx(-2.0)


def test_tokens_must_be_told_and_ways_are_not_mixed() -> None:
    with pytest.raises(ConfigurationError, match="returned no number of tokens"):
        quiet(accumulate_by="tokens").fit(seeded(), loader())
    with pytest.raises(ConfigurationError, match="do not go together"):
        quiet(accumulate_by="tokens", truncated_bptt_steps=2).fit(Recurrent(), sequences())
    with pytest.raises(ConfigurationError, match="accumulate_by='words'"):
        quiet(accumulate_by="words")

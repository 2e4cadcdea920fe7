"""Is everything that cannot go with strategy="offload" said, with what to do, before it does harm?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train.strategies import Offload
from tests.train.offload.models import GPT, batches, trained, trainer


class ByHand(GPT):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class OwnClipping(GPT):
    def configure_gradient_clipping(self, optimizer: Any, bound: Any = None, algorithm: Any = None) -> None: ...


class Descent(GPT):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Amsgrad(GPT):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), amsgrad=True)


class Twice(GPT):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.loss(batch).backward()  # type: ignore[no-untyped-call]
        return self.loss(batch)


class AddsGroup(GPT):
    def on_train_start(self) -> None:
        self.optimizers().add_param_group({"params": [nn.Parameter(torch.zeros(3))]})


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (GPT, {"precision": "16-mixed"}, r"weights are kept in bf16. Use precision=\"bf16-true\""),
        (GPT, {"precision": "bf16-true", "strategy": Offload(exact=True)}, 'Use precision="32-true"'),
        (GPT, {"compile": True}, "Set compile=False"),
        (GPT, {"accumulate_grad_batches": 2}, "Set accumulate_grad_batches=1 and raise batch_size"),
        (GPT, {"accumulate_grad_batches": "auto"}, "Set accumulate_grad_batches=1"),
        (GPT, {"accumulate_by": "tokens"}, "accumulate_by='tokens'"),
        (GPT, {"gradient_clip_val": 1.0}, r"Use Offload\(clip_each_block=True\)"),
        (GPT, {"strategy": Offload(device_memory="60kB")}, r"Raise Offload\(device_memory=…\)"),
        (GPT, {"strategy": Offload(device_memory="125kB", activation_checkpointing=False)}, "4 of 5 blocks do not fit"),
        (ByHand, {}, "Let the Trainer optimize"),
        (OwnClipping, {}, "no gradients left when it is called"),
        (Descent, {}, "optimizer SGD .* Return one torch.optim.AdamW or Adam"),
        (Amsgrad, {}, "Leave amsgrad=False"),
        (Twice, {}, "Add the losses up"),
        (AddsGroup, {}, "Give configure_optimizers' optimizer every parameter"),
    ],
)
def test_mistakes(kind: type[GPT], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trainer(**{"strategy": "offload", **settings}).fit(kind(), batches())


def test_one_device_only() -> None:
    with pytest.raises(ConfigurationError, match=r"Set devices=1, or use strategy=FSDP\(cpu_offload=True\)"):
        Offload().check(2, "bf16-true")


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    class Breaks(GPT):
        def loss(self, batch: Any) -> Any:
            loss = super().loss(batch)
            return loss * torch.inf if self.trainer.global_step == 3 else loss

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.before = [one.detach().clone() for one in self.parameters()]

    leyden.seed_everything(7)
    model = Breaks()
    with pytest.raises(ConfigurationError, match="the loss is inf; no weight has been changed by it"):
        trainer(Offload(check_loss=True)).fit(model, batches())
    assert len(model.losses) == 4
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), model.before, strict=True))
    assert all(one.isfinite().all() for one in model.parameters())
    assert not all(one.isfinite().all() for one in trained("offload", Breaks, max_steps=4).parameters())


def test_a_state_of_another_form() -> None:
    saves = leyden.ModelCheckpoint()
    trainer("offload", callbacks=[saves], enable_checkpointing=True, max_epochs=1).fit(GPT(), batches())
    with pytest.raises(CheckpointError, match="another form or size"):
        trainer(Offload(exact=True)).fit(GPT(), batches(), ckpt_path=saves.last_model_path)
    with pytest.raises(CheckpointError, match='Use strategy="offload", or load only its weights'):
        trainer("auto").fit(GPT(), batches(), ckpt_path=saves.last_model_path)


def test_a_schedule_that_sees_steps_says_nothing() -> None:
    """torch warns, here an error, where a schedule moves before its optimizer has stepped."""
    model = trained("offload", max_epochs=1)
    assert len(model.losses) == 8

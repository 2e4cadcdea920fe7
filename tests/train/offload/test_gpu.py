"""The same on an NVIDIA GPU: copies on streams of their own, pinned memory. Skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden
from leyden.train.offload import setup
from leyden.train.offload.lanes import CudaLanes
from leyden.train.strategies import Offload
from tests.train.offload.models import GPT, batches, same, trained, trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]
GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}


def test_memory_is_pinned_without_rounding_up() -> None:
    lanes = CudaLanes(torch.device("cuda", 0), 1 << 20)
    memory = lanes.host((1 << 20) + 17)
    assert memory.is_pinned()
    assert memory.shape == ((1 << 20) + 17,)
    assert not memory.any()


def test_copies_arrive_in_order() -> None:
    """Many chunks through three slots, each changed on the device: no copy overtakes the arithmetic."""
    lanes = CudaLanes(torch.device("cuda", 0), 1 << 20)
    rows = lanes.host(64 << 20).view(64, -1)
    for _ in range(3):
        for row in rows:
            staged = lanes.stage(row)
            for _ in range(5):
                staged.add_(1)
            lanes.unstage(staged, row)
        lanes.finish()
    assert (rows == 15).all()


@pytest.mark.parametrize("memory", [None, "125kB"], ids=["all stay", "some leave"])
def test_learns_as_adamw_does(memory: str | None) -> None:
    plain = trained("auto", **GPU)
    moved = trained(Offload(exact=True, device_memory=memory and "250kB"), **GPU)
    assert plain.losses == pytest.approx(moved.losses, abs=1e-3)  # sums on a GPU come in any order
    eight_bit = trained(Offload(device_memory=memory), **GPU)
    assert plain.losses == pytest.approx(eight_bit.losses, abs=0.05)


def test_blocks_that_leave_rest_on_the_host() -> None:
    model = trained(Offload(device_memory="125kB"), **GPU)
    kinds = {unit.name: {one.device.type for one in unit.parameters} for unit in setup._settled[model][-1].units}
    assert [name for name, where in kinds.items() if where == {"cpu"}]
    assert kinds["what is outside of blocks"] == {"cuda"}
    assert "val_loss" in trainer(Offload(device_memory="125kB"), **GPU).validate(model, batches())[0]


def test_resumes_on_the_gpu() -> None:
    saves = leyden.ModelCheckpoint(every_n_train_steps=5, save_top_k=-1)
    strategy = Offload(device_memory="125kB")
    settings = {**GPU, "enable_checkpointing": True, "deterministic": True}
    whole = trained(strategy, callbacks=[saves], **settings)
    resumed = GPT()
    path = next(path for path in saves._kept if path.endswith("step=10"))
    trainer(strategy, **settings).fit(resumed, batches(), ckpt_path=path)
    assert same(whole.cpu(), resumed.cpu())

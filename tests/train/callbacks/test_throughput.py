"""Are the rates those of the clock?"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import ThroughputMonitor
from leyden.train.peak import peak_flops
from tests.train.callbacks.runs import new, record, trainer
from tests.train.models import Line, loader


class Clock(leyden.Callback):
    """A batch takes 0.5 s to compute and 0.25 s to come; a validation batch takes an hour."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def on_train_batch_end(self, *_: Any) -> None:
        self.now += 0.5

    def on_validation_batch_end(self, *_: Any) -> None:
        self.now += 3600.0


class Slow:
    """A loader that lets time pass."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Any:
        for batch in loader():
            self.clock.now += 0.25
            yield batch


def test_rates_over_the_window() -> None:
    clock = Clock()
    monitor = ThroughputMonitor(
        length_fn=lambda batch: batch[0].numel(), available_flops=1e6, flops_per_batch=3e5, window_size=4, clock=clock
    )
    run = trainer(clock, monitor, log_every_n_steps=2)
    run.fit(new(), Slow(clock), loader(16))
    found = record(run)
    last = {name: found[name].values[-1] for name in found if name.startswith("train/")}
    assert last == pytest.approx(
        {
            "train/time": 16 * 0.75,
            "train/batches": 16,
            "train/samples": 128,
            "train/lengths": 512,
            "train/device/batches_per_sec": 4 / 3,
            "train/device/samples_per_sec": 32 / 3,
            "train/device/steps_per_sec": 4 / 3,
            "train/device/items_per_sec": 128 / 3,
            "train/device/flops_per_sec": 4e5,
            "train/device/data_wait": 1 / 3,
            "train/device/mfu": 0.4,
        }
    )
    assert list(found["train/device/mfu"].steps) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert set(found["train/device/samples_per_sec"].values) == {32 / 3}


def test_optimizer_steps_are_not_batches_and_the_module_may_tell_its_flops() -> None:
    class Knows(Line):
        flops_per_batch = 100.0

    clock = Clock()
    run = trainer(clock, ThroughputMonitor(clock=clock), log_every_n_steps=2, accumulate_grad_batches=2)
    run.fit(new(Knows), Slow(clock))
    found = record(run)
    assert found["train/device/steps_per_sec"].values[-1] == pytest.approx(2 / 3)
    assert found["train/device/flops_per_sec"].values[-1] == pytest.approx(400 / 3)
    peak = peak_flops(torch.device("cpu"), "32-true")
    assert ("train/device/mfu" in found) is (peak is not None)
    if peak is not None:
        assert 1e9 < peak < 1e14
        assert found["train/device/mfu"].values[-1] == pytest.approx(400 / 3 / peak)


def test_the_peak_of_a_gpu_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    for name, half, single in (
        ("NVIDIA H100 80GB HBM3", 989e12, 67e12),
        ("NVIDIA H100 PCIe", 756e12, 51e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12),
        ("NVIDIA A10G", 70e12, 31.5e12),
        ("NVIDIA L4", 121e12, 30.3e12),
        ("NVIDIA L40S", 362e12, 91.6e12),
        ("Something new", None, None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)  # no such GPU is here
        assert (peak_flops(device, "bf16-mixed"), peak_flops(device, "32-true")) == (half, single)
    assert peak_flops(torch.device("cpu"), "bf16-mixed") is None


def test_with_the_true_clock() -> None:
    run = trainer(ThroughputMonitor(lambda batch: 1), log_every_n_steps=4)
    run.fit(new(), loader())
    found = record(run)
    assert found["train/samples"].values[-1] == 16
    assert 0 <= found["train/device/data_wait"].values[-1] < 1
    assert found["train/device/samples_per_sec"].values[-1] > 1


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="window_size=0"):
        ThroughputMonitor(window_size=0)

"""Do the callbacks that only look (device statistics, model summary) say what is there?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import DeviceStatsMonitor, GradientNormMonitor, ModelSummary
from leyden.train.callbacks.device_stats import read_stats
from leyden.train.callbacks.model_summary import summarize
from tests.train.callbacks.runs import Normed, new, record, trainer
from tests.train.models import Line, loader

CPU = {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}


def test_the_machine_is_looked_at_every_interval() -> None:
    run = trainer(DeviceStatsMonitor(), log_every_n_steps=4)
    run.fit(new(), loader(), loader(32))
    found = record(run)
    prefix = "DeviceStatsMonitor.on_train_batch_end/"
    assert {name.removeprefix(prefix) for name in found if name.startswith(prefix)} == CPU
    assert list(found[prefix + "cpu_vm_percent"].steps) == [3, 7, 11, 15]
    assert all(0 < value <= 100 for value in found[prefix + "cpu_vm_percent"].values)
    assert "DeviceStatsMonitor.on_validation_batch_end/cpu_percent" in found
    [tested] = run.test(new(), loader(32))
    assert "DeviceStatsMonitor.on_test_batch_end/cpu_percent" in tested


def test_the_machine_may_be_left_out() -> None:
    run = trainer(DeviceStatsMonitor(cpu_stats=False), log_every_n_steps=4)
    run.fit(new(), loader())
    assert not [name for name in record(run) if "DeviceStats" in name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_memory_of_a_gpu() -> None:
    kept = torch.ones(1 << 20, device="cuda")
    stats = read_stats(torch.device("cuda"), cpu_stats=True)
    assert stats["allocated_bytes.all.current"] >= kept.nbytes
    assert stats.keys() >= CPU


def test_a_summary_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = new(Normed)
    model.net[0].requires_grad_(False)
    run = trainer(ModelSummary(max_depth=2))
    run.fit(model, loader())
    out = capsys.readouterr().out
    assert out.count("trainable") == 1
    table = [line.split() for line in out.splitlines() if line.startswith(("Name", "net"))]
    assert table == [
        ["Name", "Type", "Params", "Mode"],
        ["net", "Sequential", "65", "train"],
        ["net.0", "Linear", "40", "train"],
        ["net.1", "BatchNorm1d", "16", "train"],
        ["net.2", "Tanh", "0", "train"],
        ["net.3", "Linear", "9", "train"],
    ]
    assert "25 trainable, 40 frozen, 65 parameters in all, 0.000 MB" in out


def test_depth() -> None:
    assert [part.name for part in summarize(Line(), 1).parts] == ["net"]
    assert [part.name for part in summarize(Line(), -1).parts] == ["net", *(f"net.{n}" for n in range(4))]


def test_nothing_is_printed_at_depth_0(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(ModelSummary(max_depth=0)).fit(new(), loader())
    assert "trainable" not in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="max_depth=-2"):
        ModelSummary(max_depth=-2)


def test_modes_dtypes_tied_and_lazy_parameters() -> None:
    module = nn.ModuleDict({"a": nn.Linear(100, 100, bias=False), "b": nn.Linear(100, 100, bias=False)})
    module["b"].weight = module["a"].weight
    module["b"].eval()
    summary = summarize(module.double())
    assert [(part.params, part.mode) for part in summary.parts] == [(10_000, "train"), (10_000, "eval")]
    assert (summary.trainable, summary.size_mb) == (10_000, 0.08)
    module["c"] = nn.LazyLinear(3)
    lazy = summarize(module)
    assert lazy.parts[-1].params is None
    assert "? are lazy parameters" in str(lazy)


class Images(leyden.Module):
    """3·3·1 multiplications and as many additions for each of 4·6·6 numbers an image, and 144·3 twice."""

    example_input_array: Any = torch.ones(2, 1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.body: Any = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
        self.head = nn.Linear(144, 3)

    def forward(self, images: Any) -> Any:
        return {"scores": self.head(self.body(images)), "images": images}


def test_sizes_and_operations_of_an_example() -> None:
    module, numbers = Images(), torch.get_rng_state()
    before = module.body[1].running_mean.clone()
    summary = summarize(module, 2)
    table = [line.split() for line in str(summary).splitlines()]
    assert table[0] == ["Name", "Type", "Params", "Mode", "In", "Out", "FLOPs"]
    assert ["body.0", "Conv2d", "40", "train", "2×1×8×8", "2×4×6×6", "5.2", "K"] in table
    assert ["head", "Linear", "435", "train", "2×144", "2×3", "1.7", "K"] in table
    assert summary.flops == 2 * (2 * 9 * 4 * 36 + 2 * 144 * 3) == sum(part.flops for part in summarize(module).parts)
    assert "6.9 K floating-point operations forward" in str(summary)
    assert torch.equal(numbers, torch.get_rng_state())
    assert torch.equal(before, module.body[1].running_mean)
    assert all(one.training for one in module.modules())
    module.example_input_array = {"images": torch.ones(1, 1, 8, 8)}
    assert summarize(module).flops == summary.flops // 2


def test_norms_of_gradients_before_they_are_clipped() -> None:
    class Fixed(Line):
        """The gradient of every weight of the last layer is 3, of its bias 4: √(8·9 + 16)."""

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            last: Any = self.net[3]
            return 3 * last.weight.sum() + 4 * last.bias.sum()

    run = trainer(GradientNormMonitor(per_parameter=True), log_every_n_steps=4, gradient_clip_val=0.1, max_epochs=1)
    run.fit(new(Fixed), loader())
    found = record(run)
    assert list(found["grad_norm"].steps) == [3, 7]
    assert list(found["grad_norm"].values) == pytest.approx([88**0.5] * 2)
    assert list(found["grad_norm/net.3.bias"].values) == [4.0, 4.0]
    assert "grad_norm/net.0.weight" not in found

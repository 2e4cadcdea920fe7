"""Do the callbacks that only look (device statistics, model summary) say what is there?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import DeviceStatsMonitor, ModelSummary
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

"""Do profilers count rightly, and does the trace hold what ran?"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train import profilers
from leyden.train.profilers import PyTorchProfiler, SimpleProfiler, memory_snapshot
from tests.train.models import Line, loader


class Clock:
    """Tells the time it is set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


def test_time_of_each_action() -> None:
    clock = Clock()
    profiler = SimpleProfiler(clock=clock)

    def data() -> Iterator[int]:
        for number in range(2):
            clock.pass_s(3)
            yield number

    step = profiler.wrap("training_step", clock.pass_s)
    for number in profiler.iterate("next", data()):
        step(number + 1)
    assert profiler.calls == {"next": 3, "training_step": 2}
    assert profiler.total_s == {"next": 6, "training_step": 3}
    assert profiler.longest_s == {"next": 3, "training_step": 2}
    title, _, *rows = profiler.summary().splitlines()
    assert title == "time of fit: 9.000 s"
    assert [row.split() for row in rows] == [
        ["next", "66.7%", "6.000", "s", "3", "2000.000", "ms", "3000.000", "ms"],
        ["training_step", "33.3%", "3.000", "s", "2", "1500.000", "ms", "2000.000", "ms"],
    ]


def test_an_action_that_raises_is_counted() -> None:
    profiler = SimpleProfiler()
    with pytest.raises(KeyError), profiler.profile("step"):
        raise KeyError
    assert profiler.calls == {"step": 1}


def test_results_are_printed_once_or_written_per_rank(capsys: pytest.CaptureFixture[str]) -> None:
    for rank, filename in ((0, None), (1, None), (0, "times"), (1, "times")):
        profiler = SimpleProfiler(filename=filename)
        profiler.describe()  # nothing has run, nothing is said
        profiler.setup("validate", rank, "run")
        with profiler.profile("step"):
            pass
        profiler.describe()
    assert capsys.readouterr().out.count("time of validate") == 1
    assert sorted(one.name for one in Path("run").iterdir()) == ["validate-times-1.txt", "validate-times.txt"]
    assert "step" in Path("run/validate-times.txt").read_text()


def run(profiler: PyTorchProfiler, steps: int) -> None:
    """As the Trainer runs it: each step has a part of its own."""
    profiler.setup("fit", log_dir="run")
    net = torch.nn.Linear(4, 1)
    for _ in range(steps):
        with profiler.profile("training_step"):
            loss = net(torch.randn(2, 4)).sum()
        with profiler.profile("backward"):
            loss.backward()
    profiler.teardown("fit")


def names(trace: Path) -> list[str]:
    return [one["name"] for one in json.loads(trace.read_text())["traceEvents"] if one.get("cat") == "user_annotation"]


def test_the_trace_holds_the_scheduled_steps() -> None:
    profiler = PyTorchProfiler(activities=[ProfilerActivity.CPU])
    run(profiler, steps=8)
    assert profiler.traces == [Path("run/fit-trace-0.json")]
    found = names(profiler.traces[0])
    assert [one for one in found if one.startswith("ProfilerStep")] == [f"ProfilerStep#{n}" for n in (2, 3, 4)]
    assert (found.count("training_step"), found.count("backward")) == (3, 3)
    assert "aten::addmm" in profiler.summary()


def test_a_run_shorter_than_the_schedule_keeps_what_there_is() -> None:
    profiler = PyTorchProfiler(activities=[ProfilerActivity.CPU], filename="short", sort_by_key="cpu_time_total")
    run(profiler, steps=4)
    assert names(Path("run/fit-short-0.json")).count("training_step") == 2
    profiler.describe()
    assert "addmm" in Path("run/fit-short.txt").read_text()


def test_without_a_schedule_everything_is_recorded() -> None:
    profiler = PyTorchProfiler("traces", activities=[ProfilerActivity.CPU], schedule=None, group_by_input_shapes=True)
    run(profiler, steps=2)
    assert names(profiler.traces[0]).count("training_step") == 2
    assert profiler.traces[0].parent == Path("traces").absolute()
    assert "Input Shapes" in profiler.summary()
    run(profiler, steps=1)  # a second call of the Trainer
    assert len(profiler.traces) == 2


def test_a_table_without_a_trace() -> None:
    profiler = PyTorchProfiler(activities=[ProfilerActivity.CPU], export_to_chrome=False)
    run(profiler, steps=8)
    assert profiler.summary()
    assert not Path("run").exists()


def test_choosing() -> None:
    mine = SimpleProfiler()
    assert profilers.choose(mine) is mine
    assert profilers.choose(None) is None
    assert isinstance(profilers.choose("simple"), SimpleProfiler)
    assert isinstance(profilers.choose("pytorch"), PyTorchProfiler)
    with pytest.raises(ConfigurationError, match="known are 'simple' and 'pytorch'"):
        profilers.choose("advanced")


def test_mistakes() -> None:
    profiler = SimpleProfiler()
    profiler.start("step")
    with pytest.raises(ConfigurationError, match="has not been stopped yet"):
        profiler.start("step")
    with pytest.raises(ConfigurationError, match="no such column"):
        PyTorchProfiler(sort_by_key="coffee")
    for one in (profiler, PyTorchProfiler()):
        with pytest.raises(ConfigurationError, match="never started"):
            one.stop("other")


def out_of_memory(**settings: Any) -> list[str]:
    """The notes on an out-of-memory error that went through `memory_snapshot`."""
    with pytest.raises(torch.OutOfMemoryError) as caught, memory_snapshot("run", **settings):
        raise torch.OutOfMemoryError("CUDA out of memory")
    return getattr(caught.value, "__notes__", [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_without_a_gpu_there_is_no_snapshot() -> None:
    assert out_of_memory(history=True) == []
    assert not Path("run").exists()


def test_a_snapshot_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: {"segments": []})
    (note,) = out_of_memory(rank=3)
    assert "run/memory-3.pickle" in note
    assert pickle.loads(Path("run/memory-3.pickle").read_bytes()) == {"segments": []}
    with pytest.raises(KeyError), memory_snapshot("other"):
        raise KeyError
    assert not Path("other").exists()


def test_a_snapshot_that_fails_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    Path("run").write_text("no folder")
    (note,) = out_of_memory()
    assert "No snapshot" in note


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
def test_a_real_snapshot_knows_who_allocated() -> None:
    def allocate() -> None:
        held.append(torch.zeros(1 << 20, device="cuda"))
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")

    held: list[torch.Tensor] = []
    with pytest.raises(torch.OutOfMemoryError) as caught, memory_snapshot("run", history=True):
        allocate()
    assert "run/memory-0.pickle" in caught.value.__notes__[0]
    blocks = [
        block
        for segment in pickle.loads(Path("run/memory-0.pickle").read_bytes())["segments"]
        for block in segment["blocks"]
    ]
    assert any(block.get("requested_size") == held[0].nbytes and block["frames"] for block in blocks)


def test_the_trainer_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    model = Line()
    trainer = leyden.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, profiler="simple")
    trainer.fit(model, loader(), loader(16))
    printed = capsys.readouterr().out
    for action, count in (("training_step", 16), ("backward", 16), ("optimizer_step", 16), ("validation_step", 6)):
        [line] = [line for line in printed.splitlines() if line.strip(" |").startswith(action)]
        assert str(count) in line
    assert "train_dataloader_next" in printed
    plain = Line()
    leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False).fit(plain, loader())
    assert "training_step" not in capsys.readouterr().out

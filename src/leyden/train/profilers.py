"""Where does the time go, and, when it runs out, the memory?

The Trainer wraps its actions (`wrap`, `iterate`) only when there is a profiler, so that without one no step pays.
Times are the host's: what a GPU still has in its queue when an action ends is not in them; PyTorchProfiler sees both.
"""

from __future__ import annotations

import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import profile, record_function, schedule

from leyden.core.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")
_STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step", "predict": "predict_step"}
_HISTORY_ENTRIES = 100_000  # allocations remembered with their stacks, some 100 MB on the host


class Profiler(ABC):
    """Base of profilers. With a `filename`, results go to `<dirpath>/<stage>-<filename>[-<rank>].txt`.

    Without one they are printed, on rank 0. `dirpath` defaults to the run's folder.
    """

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None) -> None:
        self.dirpath = None if dirpath is None else Path(dirpath).absolute()
        self.filename = filename
        self._stage, self._rank, self._log_dir = "fit", 0, Path.cwd()

    def setup(self, stage: str, rank: int = 0, log_dir: str | Path | None = None) -> None:
        """Before a call of the Trainer: which, on which rank, and the run's folder."""
        self._stage, self._rank = stage, rank
        self._log_dir = Path.cwd() if log_dir is None else Path(log_dir)

    @abstractmethod
    def start(self, action_name: str) -> None:
        """The action begins."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """The action is over."""

    @abstractmethod
    def summary(self) -> str:
        """What has been found, for people; may be empty."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Around an action, also one that raises."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def wrap(self, action_name: str, call: Callable[P, T]) -> Callable[P, T]:
        """The same function, profiled."""

        def profiled(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.profile(action_name):
                return call(*args, **kwargs)

        return profiled

    def iterate(self, action_name: str, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time each is waited for is profiled."""
        iterator, end = iter(items), object()
        while True:
            with self.profile(action_name):
                item: Any = next(iterator, end)
            if item is end:
                return
            yield item

    def describe(self) -> None:
        """Print the summary, or write it to the file."""
        text = self.summary()
        if text and self.filename is not None:
            self._file(".txt").write_text(text + "\n")
        elif text and self._rank == 0:
            print(text)

    def teardown(self, stage: str) -> None:  # noqa: B027  little is left to close
        """After a call of the Trainer, also after an error; `describe` follows."""

    def _file(self, ending: str, default: str = "") -> Path:
        folder = self.dirpath or self._log_dir
        folder.mkdir(parents=True, exist_ok=True)
        name = self.filename or default
        return folder / (f"{self._stage}-{name}" + (f"-{self._rank}" if self._rank else "") + ending)


class SimpleProfiler(Profiler):
    """Seconds and calls of each action, largest first. Actions may lie within others, so shares can exceed 100 %."""

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(dirpath, filename)
        self._clock = clock
        self._running: dict[str, float] = {}
        self._since: float | None = None
        self.calls: dict[str, int] = {}
        self.total_s: dict[str, float] = {}
        self.longest_s: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """The action begins. Raises ConfigurationError if it already runs."""
        if action_name in self._running:
            raise _out_of_turn("started", action_name, "it has not been stopped yet")
        now = self._running[action_name] = self._clock()
        self._since = now if self._since is None else self._since

    def stop(self, action_name: str) -> None:
        """The action is over. Raises ConfigurationError if it was not started."""
        began = self._running.pop(action_name, None)
        if began is None:
            raise _out_of_turn("stopped", action_name, "it was never started")
        took_s = self._clock() - began
        self.calls[action_name] = self.calls.get(action_name, 0) + 1
        self.total_s[action_name] = self.total_s.get(action_name, 0.0) + took_s
        self.longest_s[action_name] = max(self.longest_s.get(action_name, 0.0), took_s)

    def summary(self) -> str:
        """A table: action, share of the time since the first action began, seconds, calls, mean and longest call."""
        if self._since is None or not self.calls:
            return ""
        whole_s = self._clock() - self._since
        width = max(len("action"), *map(len, self.calls))
        lines = [f"{'action':{width}}  {'share':>6}  {'total':>10}  {'calls':>8}  {'mean':>10}  {'longest':>10}"]
        for name, total_s in sorted(self.total_s.items(), key=lambda item: -item[1]):
            share, calls = total_s / whole_s if whole_s else 0.0, self.calls[name]
            lines.append(
                f"{name:{width}}  {share:6.1%}  {total_s:8.3f} s  {calls:8}  {1e3 * total_s / calls:7.3f} ms"
                f"  {1e3 * self.longest_s[name]:7.3f} ms"
            )
        return "\n".join([f"time of {self._stage}: {whole_s:.3f} s", *lines])


class PyTorchProfiler(Profiler):
    """What every operator costs on the CPU and the GPU, by `torch.profiler`, and a trace file for Perfetto.

    By default one step is left out, one warms up and three are recorded, once; `schedule`, `activities` and the rest of
    `kwargs` go to `torch.profiler.profile`. The trace, `<stage>-<filename>[-<rank>]-<n>.json` in `dirpath` (the run's
    folder), opens in chrome://tracing or ui.perfetto.dev. A step is from one `training_step` (or the like) to the next.
    The table has at most `row_limit` rows, by `sort_by_key` (default: the device's own time, or the CPU's).
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        if sort_by_key is not None and not hasattr(FunctionEventAvg(), sort_by_key):
            asked, known = f"sort_by_key={sort_by_key!r}", "cpu_time_total, self_device_time_total, count and the like"
            raise ConfigurationError(asked=asked, found="torch's table has no such column", do=f"Use one of {known}.")
        self._export, self._row_limit = export_to_chrome, row_limit
        self._by_shape, self._sort_by = group_by_input_shapes, sort_by_key
        self._kwargs = {"schedule": schedule(wait=1, warmup=1, active=3, repeat=1), **kwargs}
        self._kwargs.setdefault("record_shapes", group_by_input_shapes)
        self._torch: profile | None = None
        self._open: dict[str, record_function] = {}
        self._begun = False
        self._tables: list[str] = []
        self.traces: list[Path] = []

    def start(self, action_name: str) -> None:
        """Mark the action in the trace; a new step begins with the stage's own step."""
        if self._torch is None:
            self._torch = profile(on_trace_ready=self._keep, **self._kwargs)
            self._torch.start()
        elif self._begun and action_name == _STEPS[self._stage]:
            self._torch.step()
        self._begun = self._begun or action_name == _STEPS[self._stage]
        self._open[action_name] = record_function(action_name)
        self._open[action_name].__enter__()  # type: ignore[no-untyped-call]

    def stop(self, action_name: str) -> None:
        """The mark ends. Raises ConfigurationError if it was not started."""
        mark = self._open.pop(action_name, None)
        if mark is None:
            raise _out_of_turn("stopped", action_name, "it was never started")
        mark.__exit__(None, None, None)

    def teardown(self, stage: str) -> None:
        """Stop profiling; what was being recorded is kept."""
        if self._torch is not None:
            self._torch.stop()
            self._torch, self._begun = None, False

    def summary(self) -> str:
        """A table of operators for each recording."""
        return "\n".join(self._tables)

    def _keep(self, done: profile) -> None:
        on_device = torch.profiler.ProfilerActivity.CUDA in done.activities and torch.cuda.is_available()
        sort_by = self._sort_by or ("self_device_time_total" if on_device else "self_cpu_time_total")
        averages = done.key_averages(group_by_input_shape=self._by_shape)
        self._tables.append(averages.table(sort_by=sort_by, row_limit=self._row_limit))
        if self._export:
            trace = self._file(f"-{len(self.traces)}.json", default="trace")
            done.export_chrome_trace(str(trace))
            self.traces.append(trace)


def choose(profiler: Profiler | str | None) -> Profiler | None:
    """The profiler that is meant by "simple", "pytorch", a Profiler, or None. Raises ConfigurationError otherwise."""
    if profiler is None or isinstance(profiler, Profiler):
        return profiler
    kinds: dict[str, Callable[[], Profiler]] = {"simple": SimpleProfiler, "pytorch": PyTorchProfiler}
    if profiler not in kinds:
        found, do = "known are 'simple' and 'pytorch'", "Use one of these, or a Profiler."
        raise ConfigurationError(asked=f"profiler={profiler!r}", found=found, do=do)
    return kinds[profiler]()


@contextmanager
def memory_snapshot(folder: str | Path, rank: int = 0, history: bool = False) -> Iterator[None]:
    """Around training: on a GPU's out-of-memory error, write `memory-<rank>.pickle` into the folder and name it.

    It opens at pytorch.org/memory_viz. `history=True` also keeps the stack of each of the last 100,000 allocations,
    which costs microseconds each; without it nothing is paid before the error. Does nothing where there is no CUDA.
    """
    recording = history and torch.cuda.is_available()
    if recording:
        torch.cuda.memory._record_memory_history(max_entries=_HISTORY_ENTRIES)
    try:
        yield
    except torch.OutOfMemoryError as error:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            error.add_note(_dump(Path(folder) / f"memory-{rank}.pickle"))
        raise
    finally:
        if recording:
            torch.cuda.memory._record_memory_history(enabled=None)


def _dump(path: Path) -> str:
    """Write the snapshot and say so; the error it explains matters more than any failure here."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(pickle.dumps(torch.cuda.memory._snapshot()))
        draft.replace(path)
    except Exception as error:
        return f"No snapshot of the GPU's memory could be written to {path}: {error}"
    return f"What lay in the GPU's memory: {path}; drop it on https://pytorch.org/memory_viz"


def _out_of_turn(done: str, action_name: str, found: str) -> ConfigurationError:
    do = "Call start and stop in pairs, or use `with profiler.profile(…)`."
    return ConfigurationError(asked=f"action {action_name!r} was {done}", found=found, do=do)

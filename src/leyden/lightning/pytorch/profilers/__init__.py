"""Lightning's profilers, over Leyden's."""

from __future__ import annotations

import cProfile
import io
import pstats
from pathlib import Path
from typing import Any

from leyden.lightning.errors import not_kept
from leyden.train import profilers
from leyden.train.profilers import Profiler as Profiler

__all__ = [
    "AdvancedProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "SimpleProfiler",
    "XLAProfiler",
]


class SimpleProfiler(profilers.SimpleProfiler):
    """Seconds and calls of each action; the table has Leyden's columns whether `extended` or not."""

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None, extended: bool = True) -> None:
        super().__init__(dirpath, filename)


class AdvancedProfiler(Profiler):
    """Every Python function within each action, by cProfile. An action within another counts for the outer one.

    `line_count_restriction`: a share of the functions, or so many. `dump_stats` writes the statistics themselves too,
    for `python -m pstats` and viewers.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        self._restriction, self._dump = line_count_restriction, dump_stats
        self._profiles: dict[str, cProfile.Profile] = {}
        self._running: list[str] = []

    def start(self, action_name: str) -> None:
        """The action begins."""
        if not self._running:  # Python runs one of them at a time
            self._profiles.setdefault(action_name, cProfile.Profile()).enable()
        self._running.append(action_name)

    def stop(self, action_name: str) -> None:
        """The action is over."""
        self._running.pop()
        if not self._running:
            self._profiles[action_name].disable()

    def summary(self) -> str:
        """A table for each action, functions with the most time first."""
        text = []
        for name, profile in self._profiles.items():
            words = io.StringIO()
            stats = pstats.Stats(profile, stream=words).strip_dirs().sort_stats("cumulative")
            stats.print_stats(self._restriction)
            if self._dump:
                stats.dump_stats(self._file(".prof", default=name.replace("/", "-")))
            text.append(f"Profile of {name}:\n{words.getvalue().strip()}")
        return "\n\n".join(text)


class PyTorchProfiler(profilers.PyTorchProfiler):
    """`torch.profiler`; `profiler_kwargs` are its own. `emit_nvtx` is refused."""

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: dict[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        if emit_nvtx:
            raise not_kept(
                "PyTorchProfiler(emit_nvtx=True)", "Run under nsys, and mark steps by torch.cuda.nvtx.range."
            )
        super().__init__(
            dirpath, filename, group_by_input_shapes, export_to_chrome, row_limit, sort_by_key, **profiler_kwargs
        )


class PassThroughProfiler(Profiler):
    """No profiler."""

    def start(self, action_name: str) -> None:
        """Nothing."""

    def stop(self, action_name: str) -> None:
        """Nothing."""

    def summary(self) -> str:
        """Nothing."""
        return ""


class XLAProfiler(PassThroughProfiler):
    """Refused: Leyden does not train on TPUs."""

    def __init__(self, port: int = 9012) -> None:
        raise not_kept("XLAProfiler", 'Use profiler="pytorch".')


def choose(given: Any) -> Any:
    """What the Trainer was given, as Leyden's Trainer takes it."""
    if isinstance(given, PassThroughProfiler):
        return None
    return AdvancedProfiler() if given == "advanced" else given

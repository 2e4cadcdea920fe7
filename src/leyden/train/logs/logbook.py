"""How does `self.log` cost nothing on the hot path?

A call appends to a list; values stay on their device. At the end of a logging interval all of them cross to the host
in one transfer per dtype, every point goes into the run's record, and the epoch's means grow in float64 on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leyden.core.errors import ConfigurationError
from leyden.train.logs import metrics
from leyden.train.logs.reduction import Sums

Sink = Callable[[int, dict[str, float]], None]
_REDUCE = ("mean", "sum", "min", "max")


@dataclass(frozen=True)
class _Settings:
    prog_bar: bool
    logger: bool
    on_step: bool
    on_epoch: bool
    reduce: str


class _Slot:
    """One metric name: its settings, its last values and what the epoch has gathered."""

    __slots__ = ("asked", "gathered", "last", "last_epoch", "last_step", "metric", "name", "settings", "weight")

    def __init__(self, name: str, settings: _Settings, asked: tuple[object, ...]) -> None:
        self.name, self.settings, self.asked = name, settings, asked
        self.last = math.nan
        self.metric: Any = None  # an object that keeps the epoch itself
        self.last_step: float | None = None
        self.last_epoch: float | None = None
        self.gathered: float | None = None
        self.weight = 0.0

    def gather(self, value: float, weight: float) -> None:
        reduce, before = self.settings.reduce, self.gathered
        scaled = value * weight if reduce == "mean" else value
        if before is None:
            self.gathered = scaled
        elif reduce in ("min", "max"):
            self.gathered = (min if reduce == "min" else max)(before, scaled)
        else:
            self.gathered = before + scaled
        self.weight += weight


class LogBook:
    """What the steps of one stage log. `step`, `batch` and its `index` are set by the loop before each step."""

    def __init__(self, *, training: bool, sink: Sink | None) -> None:
        self.in_step = training  # whether a value is logged for its step, where nothing else is said, or for the epoch
        self.sink = sink
        self._slots: dict[str, _Slot] = {}
        self._pending: list[tuple[_Slot, int, Tensor | float, float]] = []
        self.step = self.index = 0
        self.batch: Any = None
        self.loader_suffix = ""

    def add(
        self,
        name: str,
        value: Any,
        prog_bar: bool,
        logger: bool,
        on_step: bool | None,
        on_epoch: bool | None,
        reduce: Any,
        batch_size: int | None,
        add_dataloader_idx: bool,
    ) -> None:
        """One call of `self.log`."""
        if add_dataloader_idx and self.loader_suffix:
            name += self.loader_suffix
        asked = (prog_bar, logger, on_step, on_epoch, reduce)
        slot = self._slots.get(name)
        if slot is None or slot.asked != asked:
            slot = self._open(name, value, asked)
        if isinstance(value, Tensor):
            # A loss is nobody's buffer; a metric without a graph may be a counter that changes in place.
            value = value.detach() if value.requires_grad else value.clone()
        elif slot.metric is not None or not isinstance(value, int | float):
            slot.metric = value
            if not slot.settings.on_step:
                return
            value = metrics.last_of(value, name).clone()
        weight = 1.0
        if slot.settings.on_epoch and slot.metric is None:
            weight = float(batch_size_of(self.batch) if batch_size is None else batch_size)
        self._pending.append((slot, self.step, value, weight))

    def mark(self) -> int:
        """A place that `rewind` can go back to, as long as nothing is flushed between."""
        return len(self._pending)

    def rewind(self, mark: int) -> None:
        """Forget what was logged since: the step it came from is done again."""
        del self._pending[mark:]

    def flush(self) -> None:
        """Bring waiting values to the host and write them to the run's record."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        values = _to_host([value for _, _, value, _ in pending])
        row: dict[str, float] = {}
        row_step = pending[0][1]
        for (slot, step, _, weight), value in zip(pending, values, strict=True):
            slot.last = slot.last_step = value
            if slot.settings.on_epoch and slot.metric is None:
                slot.gather(value, weight)
            if slot.settings.on_step and slot.settings.logger:
                name = slot.name + "_step" if slot.settings.on_epoch else slot.name
                if step != row_step or name in row:
                    self._write(row_step, row)
                    row, row_step = {}, step
                row[name] = value
        self._write(row_step, row)

    def end_epoch(self, step: int, combine: Callable[[Sums], list[Sums]], extra: Mapping[str, float] = {}) -> None:
        """Reduce the epoch's values over all ranks, record them at `step` together with `extra`, and start anew.

        `combine` gives every rank's sums (`Reducer`). Collective: every rank must call it.
        """
        self.flush()
        mine = {slot.name: (slot.gathered, slot.weight) for slot in self._slots.values() if slot.gathered is not None}
        everyone = combine(mine)
        row: dict[str, float] = {}
        for slot in self._slots.values():
            if not slot.settings.on_epoch:
                continue
            slot.gathered, slot.weight = None, 0.0
            for one in everyone:
                if slot.name in one:
                    _merge(slot, *one[slot.name])
            if slot.metric is not None:
                slot.gathered = metrics.finish(slot.metric)
                slot.metric = None  # logged anew in every epoch
                slot.weight = 1.0
            if slot.gathered is None:
                continue
            mean = slot.settings.reduce == "mean"
            slot.last = slot.gathered / (slot.weight or math.nan) if mean else slot.gathered  # NaN: a mean of nothing
            slot.last_epoch = slot.last
            slot.gathered, slot.weight = None, 0.0
            if slot.settings.logger:
                row[slot.name + "_epoch" if slot.settings.on_step else slot.name] = slot.last
        if row:
            self._write(step, {**row, **extra})

    def latest(self) -> dict[str, float]:
        """The last value of every metric, or its epoch's; as `callback_metrics` shows them."""
        self.flush()
        found: dict[str, float | None] = {}
        for slot in self._slots.values():
            found[slot.name] = slot.last
            if slot.settings.on_step and slot.settings.on_epoch:
                found |= {slot.name + "_step": slot.last_step, slot.name + "_epoch": slot.last_epoch}
        return {name: value for name, value in found.items() if value is not None}

    def each_step(self, name: str) -> bool:
        """Whether that metric is logged with a value of its own at every step."""
        slot = self._slots.get(name) or self._slots.get(name.removesuffix("_step"))
        return slot is not None and slot.settings.on_step

    def shown(self) -> dict[str, float]:
        """The values for the progress bar, as of the last transfer."""
        return {slot.name: slot.last for slot in self._slots.values() if slot.settings.prog_bar}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Let the epoch's means go on from a state, though they have been shown meanwhile."""
        for name, (*_, gathered, weight) in state.items():
            self._slots[name].gathered, self._slots[name].weight = gathered, weight

    def state_dict(self) -> dict[str, Any]:
        """What the running epoch has gathered."""
        self.flush()
        return {slot.name: [*slot.asked, slot.last, slot.gathered, slot.weight] for slot in self._slots.values()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on gathering where a checkpoint stood; a second state, of a rank that is gone, adds to the first."""
        for name, (*asked, last, gathered, weight) in state.items():
            slot = self._slots.get(name) or self._open(name, 0.0, tuple(asked))
            slot.last = last
            if gathered is not None:
                _merge(slot, gathered, weight)

    def _write(self, step: int, row: dict[str, float]) -> None:
        if row and self.sink is not None:
            self.sink(step, row)

    def _open(self, name: str, value: object, asked: tuple[object, ...]) -> _Slot:
        prog_bar, logger, on_step, on_epoch, reduce = asked
        if name in self._slots:
            raise ConfigurationError(
                asked=f"self.log({name!r}, …) with settings {_words(asked)}",
                found=f"it was logged before with {_words(self._slots[name].asked)}",
                do="Log a name always with the same settings, or use two names.",
            )
        if reduce not in _REDUCE:
            raise ConfigurationError(
                asked=f"self.log({name!r}, reduce_fx={reduce!r})",
                found=f"known are {', '.join(_REDUCE)}",
                do="Use one of these, or reduce the value yourself before logging it.",
            )
        number = isinstance(value, int | float) or metrics.is_metric(value)
        if isinstance(value, Tensor):
            number = value.numel() == 1
        if not number:
            shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigurationError(asked=f"self.log({name!r}, …)", found=f"it got {shape}", do="Log one number.")
        step = self.in_step if on_step is None else bool(on_step)
        epoch = (not self.in_step) if on_epoch is None else bool(on_epoch)
        settings = _Settings(bool(prog_bar), bool(logger), step, epoch, str(reduce))
        return self._slots.setdefault(name, _Slot(name, settings, asked))


def _merge(slot: _Slot, gathered: float, weight: float) -> None:
    if slot.settings.reduce == "mean":
        slot.gathered = (slot.gathered or 0.0) + gathered
        slot.weight += weight
    else:
        slot.gather(gathered, weight)


def _to_host(values: list[Tensor | float]) -> list[float]:
    host: list[float] = [math.nan] * len(values)
    groups: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, value in enumerate(values):
        if isinstance(value, Tensor):
            groups.setdefault((value.dtype, value.device), []).append(index)
        else:
            host[index] = float(value)
    for indices in groups.values():
        group: list[Any] = [values[index] for index in indices]
        stacked = torch.stack([value if value.ndim == 0 else value.reshape(()) for value in group])
        for index, number in zip(indices, stacked.tolist(), strict=True):
            host[index] = float(number)
    return host


def batch_size_of(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor, wherever it is nested; 1 if there is none."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 1
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    for part in parts:
        if isinstance(part, Tensor | Mapping | list | tuple):
            return batch_size_of(part)
    return 1


def _words(asked: tuple[object, ...]) -> str:
    names = ("prog_bar", "logger", "on_step", "on_epoch", "reduce_fx")
    return ", ".join(f"{name}={value!r}" for name, value in zip(names, asked, strict=True))

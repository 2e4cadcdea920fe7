"""What is training's own, where it goes on from the checkpoint of another job?

A fork with `--set lr=0.01`, and a trial that takes over from a better one (Jaderberg et al. 2017, "Population Based
Training", section 3), keep the other's weights and moments. But what `configure_optimizers` now gives otherwise than
there, they were started to try: learning rates, betas, weight decay, the schedule. A checkpoint tells what was given
where it was written, so that what is the same goes on exactly.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from leyden.train.hparams import plain
from leyden.train.optimizers import Optimization, Schedule

_RATES: Final = frozenset({"lr", "initial_lr", "max_lr", "min_lr"})  # the latter two are OneCycleLR's
_SEEN: Final = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr")  # by ReduceLROnPlateau
_Group = dict[str, Any]


def is_of_another_job(path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the platform had training begin from this checkpoint, which is none of this run's own."""
    begins, own = environ.get("LEYDEN_RESUME_FROM"), environ.get("LEYDEN_CHECKPOINT_DIR")
    return bool(begins) and Path(begins or "") == path and (not own or path.parent != Path(own))


@final
class Given:
    """What `configure_optimizers` has just returned, before anything has moved."""

    def __init__(self, optimization: Optimization) -> None:
        self._optimization = optimization
        self._groups = [[_settings(group) for group in one.param_groups] for one in optimization.optimizers]
        self._fresh = [
            copy.deepcopy(one.scheduler.state_dict()) if isinstance(one.scheduler, LRScheduler) else {}
            for one in optimization.schedules
        ]

    def plain(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {"groups": self._groups, "schedules": [_form(state) for state in self._fresh]}

    def keep(self, then: Mapping[str, Any] | None) -> list[str]:
        """After a checkpoint was taken up, put back what is given now otherwise than `then`; says what, in words.

        A schedule whose rates or form have changed stands where it would, had it been followed from the beginning.
        Rates that no schedule moves, or only a plateau, are multiplied by as much as they were given larger.
        """
        said: list[str] = []
        for number, optimizer in enumerate(self._optimization.optimizers):
            now = self._groups[number]
            old: list[_Group | None] = [*(then["groups"][number] if then else ()), *([None] * len(now))][: len(now)]
            changed = [_changed(optimizer, *pair) for pair in zip(now, old, strict=True)]
            for group, names, new in zip(optimizer.param_groups, changed, now, strict=False):
                for name in names - _RATES:
                    _put(group, name, new[name])
            mine = [at for at, one in enumerate(self._optimization.schedules) if self._moves(one, optimizer)]
            formed = [at for at in mine if then and _form(self._fresh[at]) != then["schedules"][at]]
            if formed or any(names & _RATES for names in changed):
                _scale(optimizer, now, old)
                self._follow(optimizer, now, mine)
            said += [
                *_words(changed, now, old),
                *(type(self._optimization.schedules[at].scheduler).__name__ for at in formed),
            ]
        return list(dict.fromkeys(said))

    def _moves(self, schedule: Schedule, optimizer: Optimizer) -> bool:
        only = len(self._optimization.optimizers) == 1
        return isinstance(schedule.scheduler, LRScheduler) and (only or schedule.scheduler.optimizer is optimizer)

    def _follow(self, optimizer: Optimizer, now: Sequence[_Group], mine: Sequence[int]) -> None:
        """Let schedules begin anew and move to their places; one on a plateau keeps what it has seen."""
        anew: list[tuple[LRScheduler, int]] = []
        for at in mine:
            scheduler, fresh = self._optimization.schedules[at].scheduler, copy.deepcopy(self._fresh[at])
            if isinstance(scheduler, ReduceLROnPlateau):
                fresh |= {name: getattr(scheduler, name) for name in _SEEN}
            else:
                anew.append((scheduler, _place(scheduler.state_dict())))
            scheduler.load_state_dict(fresh)
        if not anew:
            return
        for group, new in zip(optimizer.param_groups, now, strict=False):
            for name in new.keys() & _RATES:
                _put(group, name, new[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would have the optimizer step between
            for scheduler, place in anew:
                for _ in range(place):
                    scheduler.step()


def _settings(group: Mapping[str, Any]) -> _Group:
    """
    >>> _settings({"params": [], "lr": 0.1, "betas": (0.9, 0.99)})
    {'lr': 0.1, 'betas': [0.9, 0.99]}
    """
    found = {name: _number(value) for name, value in group.items() if name != "params"}
    return {name: value for name, value in found.items() if plain(value)}


def _number(value: Any) -> Any:
    """As plain data that can be compared."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, Mapping):  # MultiStepLR counts its milestones
        return [[name, _number(one)] for name, one in value.items()]
    return [_number(one) for one in value] if isinstance(value, tuple | list) else value


def _form(state: Mapping[str, Any]) -> _Group:
    """What makes a schedule what it is, whatever its rates are."""
    parts = {"parts": [_form(one) for one in state["_schedulers"]]} if "_schedulers" in state else {}
    kept = {
        name: _number(value) for name, value in state.items() if name not in {"base_lrs", "_last_lr", "_schedulers"}
    }
    return {name: value for name, value in kept.items() if plain(value)} | parts


def _changed(optimizer: Optimizer, now: _Group, then: _Group | None) -> set[str]:
    """Names of settings that are given otherwise; all of them where nobody knows what was given then."""
    if then is None:
        return {name for name in now if name in optimizer.defaults or name in _RATES}
    return {name for name, value in now.items() if name in then and then[name] != value}


def _put(group: _Group, name: str, value: Any) -> None:
    if isinstance(group.get(name), Tensor):
        group[name].fill_(value)
    else:
        group[name] = tuple(value) if isinstance(value, list) else value


def _scale(optimizer: Optimizer, now: Sequence[_Group], then: Sequence[_Group | None]) -> None:
    """What moved the rates meanwhile, by hand or on a plateau, has moved the new ones alike."""
    for group, new, old in zip(optimizer.param_groups, now, then, strict=False):
        for name in new.keys() & _RATES:
            was, has = (old or {}).get(name), _number(group[name])
            _put(group, name, new[name] * (has / was) if was and has != was else new[name])


def _place(state: Mapping[str, Any]) -> int:
    """How often a schedule has moved."""
    return int(state["last_epoch"]) if "last_epoch" in state else _place(state["_schedulers"][0])


def _words(changed: Sequence[set[str]], now: Sequence[_Group], then: Sequence[_Group | None]) -> Iterator[str]:
    for names, new, old in zip(changed, now, then, strict=True):
        for name in sorted(names - ({"lr"} if "initial_lr" in new else set())):
            yield f"{name.removeprefix('initial_')} {new[name]}{f' (was {old[name]})' if old else ''}"

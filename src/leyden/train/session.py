"""What does one call of fit, validate, test or predict work with?"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback
from leyden.train.logs.logbook import Sink
from leyden.train.module import DataModule, Module, overrides
from leyden.train.plan import Plan
from leyden.train.profilers import Profiler


@dataclass(frozen=True, kw_only=True)
class Session:
    """The module, its data and the plan, for the length of one call."""

    module: Module
    datamodule: DataModule | None
    callbacks: Sequence[Callback]
    plan: Plan
    sink: Sink | None
    profiler: Profiler | None = None

    def loader(self, given: Any, method: str, *, needed: bool = True) -> Any:
        """What was passed, else what the DataModule or the Module makes; None if not needed and nowhere defined."""
        if given is not None:
            return given
        for owner in (self.datamodule, self.module):
            if owner is not None and overrides(owner, method):
                return getattr(owner, method)()
        if not needed:
            return None
        raise ConfigurationError(
            asked=f"a loader for {method.removesuffix('_dataloader')}",
            found=f"none was passed, and neither the DataModule nor {type(self.module).__name__} has {method}",
            do=f"Pass a DataLoader, or define {method}.",
        )


def check_module(module: object, datamodule: object) -> None:
    """Raise ConfigurationError for things that are no Module or DataModule."""
    if not isinstance(module, Module):
        raise ConfigurationError(
            asked=f"a {type(module).__name__} was given to the Trainer",
            found="it is no leyden.Module",
            do="Derive it from leyden.Module instead of torch.nn.Module.",
        )
    if datamodule is not None and not isinstance(datamodule, DataModule):
        raise ConfigurationError(
            asked=f"datamodule={type(datamodule).__name__}",
            found="it is no leyden.DataModule",
            do="Derive it from leyden.DataModule, or pass loaders instead.",
        )


def count_arguments(module: Module, name: str) -> int:
    """How many of (batch, batch_idx, dataloader_idx) a step takes, as its class wrote it.

    >>> class Short(Module):
    ...     def test_step(self, batch): ...
    >>> count_arguments(Short(), "test_step"), count_arguments(Short(), "validation_step")
    (1, 2)
    """
    step = getattr(type(module), name).__get__(module)  # sharding puts wrappers without a signature on the instance
    kinds = [parameter.kind for parameter in inspect.signature(step).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 3
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(3, sum(kind in positional for kind in kinds))

"""How are several loaders drawn from together, or one after the other?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch.utils._pytree as pytree

from leyden.core.errors import ConfigurationError, nearest

_MODES = ("max_size_cycle", "min_size", "max_size", "sequential")


class CombinedLoader:
    """Batches in the containers of the loaders: one from each at a time, or ("sequential") one loader after another.

    "max_size_cycle" begins shorter loaders anew until the longest is done, "max_size" gives None for them then,
    "min_size" ends with the shortest. `iter` gives (batch, index, which loader), as Lightning does; the Trainer takes
    the batches alone. `limits` are batches, one number or one for each loader.
    """

    def __init__(self, iterables: Any, mode: str = "min_size") -> None:
        if mode not in _MODES:
            raise ConfigurationError(
                asked=f"CombinedLoader(mode={mode!r})", found="it is unknown", do=nearest(mode, _MODES)
            )
        self.iterables, self._mode = iterables, mode
        self._flat, self._spec = pytree.tree_flatten(iterables)
        self.limits: Any = None

    @property
    def flattened(self) -> list[Any]:
        """The loaders in a list."""
        return self._flat

    @flattened.setter
    def flattened(self, loaders: list[Any]) -> None:
        self._flat = list(loaders)
        self.iterables = pytree.tree_unflatten(self._flat, self._spec)

    @property
    def sampler(self) -> Any:
        """The samplers, in the same containers."""
        return pytree.tree_map(lambda one: getattr(one, "sampler", None), self.iterables)

    @property
    def batch_sampler(self) -> Any:
        """The batch samplers, in the same containers."""
        return pytree.tree_map(lambda one: getattr(one, "batch_sampler", None), self.iterables)

    def __len__(self) -> int:
        sizes = [min(len(one), limit) for one, limit in zip(self._flat, self._limits(), strict=True)]
        if not sizes:
            return 0
        return int(sum(sizes) if self._mode == "sequential" else (min if self._mode == "min_size" else max)(sizes))

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        if self._mode == "sequential":
            for which, (loader, limit) in enumerate(zip(self._flat, self._limits(), strict=True)):
                for index, batch in enumerate(loader):
                    if index >= limit:
                        break
                    yield batch, index, which
        else:
            for index, batch in enumerate(self.batches()):
                yield batch, index, 0

    def batches(self) -> Iterator[Any]:
        """One batch of each loader at a time, in the containers of the loaders."""
        limits = self._limits()
        iterators = [self._begin(index, limits) for index in range(len(self._flat))]
        done = [False] * len(iterators)
        while True:
            found: list[Any] = []
            for index in range(len(iterators)):
                batch = next(iterators[index], _END)
                if batch is _END:
                    done[index] = True
                    if self._mode == "min_size" or all(done):
                        return
                    if self._mode == "max_size_cycle":
                        iterators[index] = self._begin(index, limits)
                        batch = next(iterators[index], None)
                    else:
                        batch = None
                found.append(batch)
            yield pytree.tree_unflatten(found, self._spec)

    def reset(self) -> None:
        """Nothing: every `iter` begins anew."""

    def state_dict(self) -> dict[str, Any]:
        """The state of the loaders that have one."""
        return {str(index): one.state_dict() for index, one in enumerate(self._flat) if hasattr(one, "state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of the loaders that have one."""
        for index, one in state.items():
            self._flat[int(index)].load_state_dict(one)

    def _begin(self, index: int, limits: list[float]) -> Iterator[Any]:
        limit = limits[index]
        return iter(self._flat[index]) if limit == float("inf") else itertools.islice(self._flat[index], int(limit))

    def _limits(self) -> list[float]:
        given = self.limits
        if given is None:
            return [float("inf")] * len(self._flat)
        return list(given) if isinstance(given, list) else [float(given)] * len(self._flat)


_END = object()

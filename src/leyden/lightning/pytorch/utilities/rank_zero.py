"""How is something done once, not once a rank?"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("leyden.lightning")


class LightningDeprecationWarning(DeprecationWarning):
    """The category of `rank_zero_deprecation`."""


class _RankZeroOnly:
    """The decorator `rank_zero_only`, with the attribute `rank`."""

    @property
    def rank(self) -> int:
        """This process's place, as its launcher told it; 0 without one."""
        return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)

    def __call__(self, fn: Callable[P, T], default: Any = None) -> Callable[P, T | Any]:
        @functools.wraps(fn)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> T | Any:
            return fn(*args, **kwargs) if self.rank == 0 else default

        return wrapped


rank_zero_only = _RankZeroOnly()


@rank_zero_only
def rank_zero_info(message: str, *args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """To the log, once."""
    log.info(message, *args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_debug(message: str, *args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """To the log, once."""
    log.debug(message, *args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_warn(message: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """A warning, once."""
    warnings.warn(message, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_deprecation(message: Any, stacklevel: int = 5, **kwargs: Any) -> None:
    """A warning about something that goes away, once."""
    warnings.warn(message, stacklevel=stacklevel, category=LightningDeprecationWarning, **kwargs)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """The message with the rank in front, where there is one."""
    return message if rank is None else f"[rank: {rank}] {message}"

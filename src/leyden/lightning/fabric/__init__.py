"""The names of `lightning.fabric` that code around a Trainer imports; Fabric's own loop is not kept."""

from __future__ import annotations

from typing import Any

from leyden.lightning.errors import not_kept
from leyden.lightning.pytorch import accelerators as _accelerators
from leyden.lightning.pytorch import plugins as _plugins
from leyden.lightning.pytorch import strategies as _strategies
from leyden.lightning.pytorch import utilities as _utilities
from leyden.lightning.pytorch.utilities import move_data_to_device as move_data_to_device
from leyden.lightning.pytorch.utilities.seed import pl_worker_init_function as pl_worker_init_function
from leyden.lightning.pytorch.utilities.seed import seed_everything as seed_everything

__all__ = ["Fabric", "seed_everything"]


class Fabric:
    """Refused."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise not_kept("Fabric", "Write a LightningModule, with automatic_optimization = False for a loop of your own.")


def is_wrapped(obj: object) -> bool:
    """Whether Fabric wrapped it: never."""
    return False


def __getattr__(name: str) -> Any:
    for home in (_utilities, _plugins, _strategies, _accelerators):
        if not name.startswith("__") and hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

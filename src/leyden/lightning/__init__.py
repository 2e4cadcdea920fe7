"""How does code written for Lightning 2.6 run here? By one import line: `import leyden.lightning as L`.

The names, module paths and arguments are Lightning's; what they do is `leyden.train`'s. Nothing below the core knows of
this folder. Everything is loaded on first use; what is not kept is told by an error that names Leyden's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leyden.lightning.lazy import alias_deep_paths, lazy

__version__ = "2.6.0"
"""Of the Lightning whose names these are; Leyden's own is `leyden.__version__`."""

_HOMES = {
    "Trainer": "leyden.lightning.pytorch.trainer.trainer",
    "LightningDataModule": "leyden.lightning.pytorch.core.datamodule",
    "LightningModule": "leyden.lightning.pytorch.core.module",
    "Callback": "leyden.lightning.pytorch.callbacks",
    "seed_everything": "leyden.lightning.pytorch.utilities.seed",
    "Fabric": "leyden.lightning.fabric",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.lightning.fabric import Fabric as Fabric
    from leyden.lightning.pytorch.callbacks import Callback as Callback
    from leyden.lightning.pytorch.core.datamodule import LightningDataModule as LightningDataModule
    from leyden.lightning.pytorch.core.module import LightningModule as LightningModule
    from leyden.lightning.pytorch.trainer.trainer import Trainer as Trainer
    from leyden.lightning.pytorch.utilities.seed import seed_everything as seed_everything

alias_deep_paths()
__getattr__, __dir__ = lazy(__name__, _HOMES, ["pytorch", "fabric"])

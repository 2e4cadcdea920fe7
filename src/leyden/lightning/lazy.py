"""How are Lightning's many names and paths offered without loading what nobody uses?

`lazy` gives a package names that are loaded on first use. `alias_deep_paths` lets the file-by-file paths that people
import from (`pytorch.callbacks.early_stopping`) lead to the package whose names they are.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ROOT = "leyden.lightning."
# Lightning's paths below packages -> where their names live here
_PLACES = {
    "pytorch.accelerators": "accelerator cpu cuda mps xla",
    "pytorch.callbacks": (
        "batch_size_finder callback checkpoint device_stats_monitor finetuning gradient_accumulation_scheduler "
        "lambda_function lr_finder lr_monitor model_summary on_exception_checkpoint prediction_writer pruning "
        "rich_model_summary spike stochastic_weight_avg throughput_monitor timer weight_averaging progress "
        "progress.progress_bar progress.rich_progress progress.tqdm_progress"
    ),
    "pytorch.core": "hooks optimizer mixins mixins.hparams_mixin",
    "pytorch.loggers": "comet csv_logs litlogger logger mlflow neptune tensorboard utilities wandb",
    "pytorch.plugins": (
        "layer_sync environments io io.async_plugin io.checkpoint_plugin io.torch_plugin io.wrapper io.xla_plugin "
        "precision precision.amp precision.bitsandbytes precision.deepspeed precision.double precision.fsdp "
        "precision.half precision.precision precision.transformer_engine precision.xla"
    ),
    "pytorch.profilers": "advanced base profiler pytorch simple xla",
    "pytorch.strategies": "ddp deepspeed fsdp model_parallel parallel single_device strategy",
    "pytorch.tuner": "batch_size_scaling lr_finder tuning",
    "pytorch.utilities": (
        "combined_loader data enums exceptions grads memory model_helpers model_summary model_summary.model_summary "
        "parsing rank_zero types warnings"
    ),
    "fabric": (
        "utilities utilities.apply_func utilities.cloud_io utilities.data utilities.enums utilities.exceptions "
        "utilities.rank_zero utilities.seed utilities.throughput utilities.types utilities.warnings plugins "
        "plugins.environments plugins.precision accelerators strategies loggers"
    ),
}
_ALIASES = {f"{_ROOT}{home}.{path}": f"{_ROOT}{home}" for home, paths in _PLACES.items() for path in paths.split()}


def lazy(
    module: str, homes: Mapping[str, str], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package: names with the modules they come from, and submodules."""
    inner = set(submodules)

    def get(name: str) -> object:
        if name in inner:
            return importlib.import_module(f"{module}.{name}")
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes, *inner})

    return get, names


class _Aliases(MetaPathFinder, Loader):
    """Makes the modules of `_ALIASES`, each with the names of another."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _ALIASES:
            return None
        return ModuleSpec(fullname, self, is_package=any(one.startswith(f"{fullname}.") for one in _ALIASES))

    def exec_module(self, module: ModuleType) -> None:
        home = importlib.import_module(_ALIASES[module.__name__])
        module.__dict__["__getattr__"] = lambda name: getattr(home, name)
        module.__dict__["__all__"] = list(getattr(home, "__all__", ()))


def alias_deep_paths() -> None:
    """Let imports of Lightning's deep paths be found, once a process."""
    if not any(isinstance(one, _Aliases) for one in sys.meta_path):
        sys.meta_path.append(_Aliases())

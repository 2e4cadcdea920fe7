"""What do people import from `lightning.pytorch.utilities`? Small things around training."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leyden.lightning.errors import MisconfigurationException as MisconfigurationException
from leyden.lightning.pytorch.utilities.combined_loader import CombinedLoader as CombinedLoader
from leyden.lightning.pytorch.utilities.model_summary import ModelSummary as ModelSummary
from leyden.lightning.pytorch.utilities.model_summary import summarize as summarize
from leyden.lightning.pytorch.utilities.rank_zero import LightningDeprecationWarning as LightningDeprecationWarning
from leyden.lightning.pytorch.utilities.rank_zero import rank_prefixed_message as rank_prefixed_message
from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_debug as rank_zero_debug
from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_deprecation as rank_zero_deprecation
from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_info as rank_zero_info
from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_only as rank_zero_only
from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_warn as rank_zero_warn
from leyden.lightning.pytorch.utilities.seed import isolate_rng as isolate_rng
from leyden.lightning.pytorch.utilities.seed import seed_everything as seed_everything
from leyden.train.feeding.loaders import to_device
from leyden.train.hparams import HyperParameters as AttributeDict
from leyden.train.logs.logbook import batch_size_of
from leyden.train.memory import is_out_of_memory
from leyden.train.module import DataModule, Module

__all__ = [
    "AttributeDict",
    "CombinedLoader",
    "GradClipAlgorithmType",
    "LightningEnum",
    "disable_possible_user_warnings",
    "find_shared_parameters",
    "grad_norm",
    "is_picklable",
    "is_shared_filesystem",
    "measure_flops",
    "move_data_to_device",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "set_shared_parameters",
    "suggested_max_num_workers",
]


class LightningEnum(str, Enum):  # noqa: UP042  as in Lightning
    """An enum whose members equal their text, in any case."""

    @classmethod
    def from_str(cls, value: str, source: str = "key") -> LightningEnum | None:
        """The member of this value or name."""
        return next((one for one in cls if value.lower() in (one.value.lower(), one.name.lower())), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.value.lower() == str(getattr(other, "value", other)).lower()

    def __hash__(self) -> int:
        return hash(self.value.lower())


class GradClipAlgorithmType(LightningEnum):
    """How gradients are bounded."""

    VALUE = "value"
    NORM = "norm"

    def __str__(self) -> str:
        return str(self.value)

    @staticmethod
    def supported_type(val: str) -> bool:
        """Whether there is such a way."""
        return val in ("value", "norm")

    @staticmethod
    def supported_types() -> list[str]:
        """All of them."""
        return ["value", "norm"]


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, float]:
    """The norm of each parameter's gradient, and of all together as `grad_<norm_type>_norm_total`."""
    kind = float(norm_type)
    found = {
        f"grad_{kind}_norm{group_separator}{name}": one.grad.detach().norm(kind)
        for name, one in module.named_parameters()
        if one.grad is not None
    }
    if found:
        found[f"grad_{kind}_norm_total"] = torch.stack(list(found.values())).norm(kind)
    return {name: float(value) for name, value in found.items()}


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Tensor], loss_fn: Callable[[Tensor], Tensor] | None = None
) -> int:
    """Floating-point operations of a forward pass, and with `loss_fn` of its backward pass; "meta" tensors do."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        if loss_fn is None:
            forward_fn()
        else:
            loss_fn(forward_fn()).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """Every tensor of nested containers on the device."""
    return to_device(batch, torch.device(device))


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Nested dicts whose tensors have no graph, on the host where asked."""
    if isinstance(in_dict, Mapping):
        return {key: recursive_detach(value, to_cpu) for key, value in in_dict.items()}
    if isinstance(in_dict, Tensor):
        return in_dict.detach().cpu() if to_cpu else in_dict.detach()
    return in_dict


def is_oom_error(exception: BaseException) -> bool:
    """Whether the error says that memory ran out, on a device or the host."""
    return isinstance(exception, Exception) and is_out_of_memory(exception)


def garbage_collection_cuda() -> None:
    """Give back memory nobody uses."""
    from leyden.train.memory import release

    release()


def is_overridden(method_name: str, instance: Any = None, parent: type | None = None) -> bool:
    """Whether the user wrote this method, of a module, a data module or a class of the given parent."""
    if instance is None:
        return False
    if parent is None:
        parent = Module if isinstance(instance, Module) else DataModule if isinstance(instance, DataModule) else None
    mine = getattr(type(instance), method_name, None)
    return mine is not None and mine is not getattr(parent, method_name, None)


def is_picklable(obj: object) -> bool:
    """Whether pickle takes it."""
    try:
        pickle.dumps(obj)
    except Exception:
        return False
    return True


def is_shared_filesystem(strategy: Any, path: str | Path | None = None, timeout: int = 3) -> bool:
    """Whether all ranks see one file system: ranks on one node do; of several nodes it is assumed."""
    return True


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """The names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, one in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(one), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(module: nn.Module, shared_params: list[list[str]]) -> nn.Module:
    """Make the parameters of each group of names one again."""
    for first, *others in shared_params:
        value = module.get_parameter(first)
        for other in others:
            owner, _, name = other.rpartition(".")
            setattr(module.get_submodule(owner), name, value)
    return module


def suggested_max_num_workers(local_world_size: int) -> int:
    """A share of this machine's CPUs for each rank's loader, at least one."""
    import os

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // max(1, local_world_size) - 1)


def extract_batch_size(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor."""
    return batch_size_of(batch)


class PossibleUserWarning(UserWarning):
    """A warning about what may be a mistake."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Show no PossibleUserWarning."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


@contextlib.contextmanager
def suppress_possible_user_warnings() -> Any:
    """Show none inside."""
    with warnings.catch_warnings():
        disable_possible_user_warnings()
        yield


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Whether the module, its hyperparameters or its data module have the attribute."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """The attribute of the last of them that has it; raises AttributeError where none does."""
    if not (found := _holders(model, attribute)):
        raise AttributeError(f"{attribute} is neither in the model nor in its hparams or data module")
    return found[-1][attribute] if isinstance(found[-1], dict) else getattr(found[-1], attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Set the attribute in all of them that have it; raises AttributeError where none does."""
    if not (found := _holders(model, attribute)):
        raise AttributeError(f"{attribute} is neither in the model nor in its hparams or data module")
    for one in found:
        one.__setitem__(attribute, value) if isinstance(one, dict) else setattr(one, attribute, value)


def _holders(model: Any, attribute: str) -> list[Any]:
    trainer = getattr(model, "_trainer", None)
    data = getattr(trainer, "datamodule", None)
    found: list[Any] = [one for one in (model,) if hasattr(one, attribute)]
    found += [one.hparams for one in (model, data) if one is not None and attribute in getattr(one, "hparams", {})]
    return found + [one for one in (data,) if one is not None and hasattr(one, attribute)]


class SIGTERMException(SystemExit):
    """What ends a run that was asked to end; Leyden ends it with exit code 143."""


def __getattr__(name: str) -> Any:
    # Not `from … import types`: that would ask this function for `types` where its import has failed or is under way.
    found = vars(importlib.import_module(f"{__name__}.types")).get(name)
    if found is None or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found

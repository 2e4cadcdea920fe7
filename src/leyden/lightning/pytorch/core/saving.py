"""How are hyperparameters kept and modules loaded under Lightning's rules?"""

from __future__ import annotations

import copy
import inspect
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import yaml

from leyden.train.checkpoints import checkpoint
from leyden.train.hparams import HyperParameters, KeepsHyperParameters, arguments_for, choose, init_arguments

M = TypeVar("M")


class HyperParameterNames(KeepsHyperParameters):
    """`save_hyperparameters` for Lightning's forms: nothing, names, a mapping, a Namespace."""

    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    @property
    def hparams_initial(self) -> HyperParameters:
        """What `save_hyperparameters` kept, before anybody changed it."""
        return HyperParameters(copy.deepcopy(self.__dict__.get("_hparams_initial", {})))

    def remove_ignored_hparams(self, ignore_list: list[str]) -> None:
        """Drop these hyperparameters."""
        for name in ignore_list:
            self.hparams.pop(name, None)

    def keep(self, given: tuple[Any, ...], ignore: str | Iterable[str], frame: FrameType | None) -> None:
        """Keep what was given, or all arguments of the `__init__` that runs in `frame`."""
        left_out = {ignore} if isinstance(ignore, str) else set(ignore)
        words = [one for one in given if isinstance(one, str)]
        whole = [one for one in given if not isinstance(one, str)]
        if words or not given:
            self.hparams.update(choose(init_arguments(self, frame), words, left_out))
        for one in whole:
            items = one if isinstance(one, Mapping) else vars(one)
            self.hparams.update({name: value for name, value in items.items() if name not in left_out})
        self.__dict__["_hparams_initial"] = dict(self.hparams)


def load_module(
    kind: type[M], path: str | Path, map_location: Any, hparams_file: str | Path | None, strict: bool | None, given: Any
) -> M:
    """A module of this class with the weights of a checkpoint, built with its stored hyperparameters and `given`."""
    where = Path(path)
    snapshot = checkpoint.read(where)
    stored = dict(snapshot.training.get("hyper_parameters", {}))
    if hparams_file is not None:
        stored = load_hparams_from_yaml(hparams_file)
    module: Any = build(kind, stored, given)
    module.configure_model()
    extra = snapshot.training.get("extra", {})
    told: dict[str, Any] = {"state_dict": snapshot.weights, "epoch": snapshot.epoch, "global_step": snapshot.step}
    module.on_load_checkpoint(told := {**told, "hyper_parameters": stored, **extra})
    snapshot.weights = told["state_dict"]
    checkpoint.load_weights(module, snapshot, where, strict=module.strict_loading if strict is None else strict)
    return module if map_location is None or callable(map_location) else module.to(map_location)  # type: ignore[no-any-return]


def build(kind: type[M], stored: Mapping[str, Any], given: Mapping[str, Any]) -> M:
    """The class called with what was stored of its arguments, and what was given.

    `save_hyperparameters(conf)` keeps the items of a mapping that is itself an argument: where no stored name is an
    argument and exactly one argument is missing, that one gets all that was stored.
    """
    parameters = inspect.signature(kind).parameters.values()
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    missing = [one.name for one in named if one.default is one.empty and one.name not in given]
    if stored and len(missing) == 1 and not any(one.name in stored for one in named):
        return kind(**{missing[0]: HyperParameters(stored), **given})
    return kind(**arguments_for(kind, stored, given))


def save_hparams_to_yaml(config_yaml: str | Path, hparams: Mapping[str, Any] | Namespace) -> None:
    """Write hyperparameters as YAML."""
    items = dict(hparams) if isinstance(hparams, Mapping) else vars(hparams)
    Path(config_yaml).write_text(yaml.safe_dump(items, sort_keys=False))


def load_hparams_from_yaml(config_yaml: str | Path, use_omegaconf: bool = True) -> dict[str, Any]:
    """Read what `save_hparams_to_yaml` wrote; {} where there is no file."""
    path = Path(config_yaml)
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}

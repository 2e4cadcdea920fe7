"""With which arguments was a Module built? Kept by `save_hyperparameters`, stored in checkpoints as plain data."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

from leyden.core.errors import ConfigurationError, nearest

_PLAIN = (bool, int, float, str, type(None))


class HyperParameters(dict[str, Any]):
    """A dict whose items are attributes too: `self.hparams.lr`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no hyperparameter {name!r}; {nearest(name, self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class KeepsHyperParameters:
    """What a Module and a DataModule share: the arguments they were built with."""

    @property
    def hparams(self) -> HyperParameters:
        """What `save_hyperparameters` kept."""
        if "_hparams" not in self.__dict__:
            self.__dict__["_hparams"] = HyperParameters()
        kept: HyperParameters = self.__dict__["_hparams"]
        return kept

    def save_hyperparameters(self, *names: str | Mapping[str, Any], ignore: str | Iterable[str] = ()) -> None:
        """Keep the arguments of `__init__` in `self.hparams` and in checkpoints; call it in `__init__`.

        All of them, or those named; or the items of a mapping. Raises ConfigurationError for an unknown name.
        """
        given = [one for one in names if isinstance(one, Mapping)]
        words = [one for one in names if isinstance(one, str)]
        frame = inspect.currentframe()
        arguments = init_arguments(self, frame.f_back if frame else None)
        left_out = [ignore] if isinstance(ignore, str) else list(ignore)
        if words or not given:
            self.hparams.update(choose(arguments, words, left_out))
        for one in given:
            self.hparams.update({name: value for name, value in one.items() if name not in left_out})


def init_arguments(owner: object, frame: FrameType | None) -> dict[str, Any]:
    """The arguments of the owner's `__init__` now running in `frame`, and of the subclasses' that called it."""
    found: dict[str, Any] = {}
    while frame is not None and frame.f_code.co_name == "__init__" and _self_of(frame) is owner:
        names = inspect.getargvalues(frame)
        here = {name: names.locals[name] for name in names.args[1:]}
        here.update(names.locals.get(names.keywords, {}) if names.keywords else {})
        found.update(here)  # an outer frame is the subclass: its word counts
        frame = frame.f_back
    return found


def choose(arguments: Mapping[str, Any], names: Iterable[str], ignore: Iterable[str]) -> dict[str, Any]:
    """Those of the names (all where none are given), without those to ignore; raises ConfigurationError for unknown."""
    wanted = list(names) or list(arguments)
    for name in wanted:
        if name not in arguments:
            raise ConfigurationError(
                asked=f"save_hyperparameters({name!r})",
                found="__init__ has no such argument",
                do=f"Check the name: {nearest(name, arguments)}",
            )
    left_out = set(ignore)
    return {name: arguments[name] for name in wanted if name not in left_out}


def plain(value: Any) -> bool:
    """Whether the value is plain data, as a checkpoint can hold without pickle.

    >>> plain({"a": [1, 2.0, None]}), plain(object())
    (True, False)
    """
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(plain(part) for part in value)
    return type(value) in _PLAIN


def arguments_for(kind: type, stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What to build a `kind` with: the stored hyperparameters it takes, and what was given; raises for missing ones."""
    parameters = inspect.signature(kind).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    merged = {name: value for name, value in stored.items() if takes_all or name in parameters} | dict(given)
    for name, parameter in parameters.items():
        positional = parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if positional and parameter.default is inspect.Parameter.empty and name not in merged:
            raise ConfigurationError(
                asked=f"{kind.__name__} from a checkpoint",
                found=f"its argument {name!r} is not stored there",
                do=f"Pass it: load_from_checkpoint(path, {name}=…); only plain data is stored.",
            )
    return merged


def _self_of(frame: FrameType) -> object:
    names = inspect.getargvalues(frame)
    return names.locals.get(names.args[0]) if names.args else None

"""What is a logger, and why can none of them stop training?

A logger is called on rank 0 alone, with one row of numbers at a time. Whatever it raises ends in one warning: Leyden's
own record, written beside it, is the one that counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from leyden.core.errors import ConfigurationError
from leyden.track import facts

Params = Mapping[str, Any] | Namespace
_PATIENCE = 3  # failures in a row: a logger whose server is away may block for minutes a call


class Logger(ABC):
    """Base of loggers; names and meaning are Lightning's."""

    @property
    @abstractmethod
    def name(self) -> str | None:
        """Of the experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """Of the run within the experiment."""

    @property
    def log_dir(self) -> str | None:
        """The folder this logger writes to; None if it writes elsewhere."""
        return None

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record one row at an optimizer step."""

    @abstractmethod
    def log_hyperparams(self, params: Params) -> None:
        """Record what the run was made with."""

    def go_on(self, version: int | str) -> None:  # noqa: B027  not every logger can
        """Training goes on where this version was logged: join it, unless another one was asked for."""

    def save(self) -> None:  # noqa: B027  many loggers have nothing that waits
        """Bring to disk, or send, what waits."""

    def finalize(self, status: str) -> None:
        """The call of fit, validate or test is over: "success" or "failed". Rows may follow in a later call."""
        self.save()


class FolderLogger(Logger):
    """Base of loggers that write to `save_dir/name/version_<n>`.

    `version` is a number, a folder's name, or None for the next number that is free; the folder is made when it is
    first asked for, so that two runs never share one by chance. `prefix` stands before every metric's name.
    """

    def __init__(self, save_dir: str | Path, name: str | None, version: int | str | None, prefix: str) -> None:
        self._root = Path(save_dir).absolute() / (name or "")
        self._name, self._version, self._prefix = name, version, prefix
        self.hparams: dict[str, Any] = {}

    @property
    def name(self) -> str | None:
        """Of the folder the versions stand in."""
        return self._name

    @property
    def version(self) -> int | str:
        """The number of this run, or its folder's name."""
        if self._version is None:
            self._version = _claim_version(self._root)
        return self._version

    @property
    def log_dir(self) -> str:
        """The folder of this run."""
        return str(self._folder())

    def log_hyperparams(self, params: Params) -> None:
        """Keep them in hparams.yaml; later values of a name replace earlier ones."""
        self.hparams.update(as_dict(params))
        text = yaml.safe_dump(_plain(self.hparams), sort_keys=False, allow_unicode=True)
        draft = self._folder() / ".hparams.yaml"
        draft.write_text(text)
        draft.replace(self._folder() / "hparams.yaml")

    def go_on(self, version: int | str) -> None:
        """Into the same folder."""
        self._version = version if self._version is None else self._version

    def _folder(self) -> Path:
        version = self.version
        path = self._root / (version if isinstance(version, str) else f"version_{version}")
        path.mkdir(parents=True, exist_ok=True)
        return path


class FanOut:
    """Hands everything to several loggers; calling it with (step, row) hands them a row of metrics."""

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._failures = dict.fromkeys(loggers, 0)
        self._warned: set[Logger] = set()

    def __call__(self, step: int, row: Mapping[str, float]) -> None:
        self._each(lambda one: one.log_metrics(row, step))

    def log_hyperparams(self, params: Params) -> None:
        """To all of them."""
        self._each(lambda one: one.log_hyperparams(params))

    def save(self) -> None:
        """All of them."""
        self._each(lambda one: one.save())

    def finalize(self, status: str) -> None:
        """All of them."""
        self._each(lambda one: one.finalize(status))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for one, failures in self._failures.items():
            if failures == _PATIENCE:
                continue
            try:
                call(one)
                self._failures[one] = 0
            except Exception as error:
                self._failures[one] += 1
                self._complain(one, error)

    def _complain(self, one: Logger, error: Exception) -> None:
        if one not in self._warned:
            self._warned.add(one)
            why = (str(error) or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"{type(one).__name__} failed: {why}. Training goes on and Leyden's own record is complete; after "
                f"{_PATIENCE} failures in a row this logger is left out.",
                stacklevel=2,
            )


def rejoin(loggers: Sequence[Logger], file: Path, *, resumed: bool) -> Callable[[], None]:
    """Where training goes on, each logger joins what it was before, as the file says. To be called after the first row:
    what is given writes that file."""
    names = [f"{index} {type(one).__name__}" for index, one in enumerate(loggers)]
    known = facts.read(file) if resumed else {}
    for name, one in zip(names, loggers, strict=True):
        if known.get(name) is not None:
            one.go_on(known[name])
    kept = False

    def keep() -> None:
        nonlocal kept
        if not kept:
            kept = True
            with contextlib.suppress(Exception):  # a logger that failed, a full disk: training goes on
                facts.write(file, json.dumps({name: one.version for name, one in zip(names, loggers, strict=True)}))

    return keep


def fan_out(loggers: Iterable[Logger]) -> FanOut:
    """A sink for rows of metrics, `sink(step, row)`, that hands them to every logger and raises nothing of theirs.

    A logger that fails is warned of once, and left out after three failures in a row.
    """
    return FanOut(loggers)


def as_dict(params: Params) -> dict[str, Any]:
    """Hyperparameters as a dict, whether they came as a mapping or from argparse."""
    return dict(vars(params) if isinstance(params, Namespace) else params)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested hyperparameters under one level of names.

    >>> flatten({"lr": 0.1, "net": {"width": 8}})
    {'lr': 0.1, 'net/width': 8}
    """
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Namespace | Mapping) and value:
            flat |= flatten(as_dict(value), f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def prefixed(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The row as plain floats, with the logger's prefix and a dash before each name.

    >>> prefixed({"loss": 1}, "a"), prefixed({"loss": 1}, "")
    ({'a-loss': 1.0}, {'loss': 1.0})
    """
    return {f"{prefix}-{name}" if prefix else name: float(value) for name, value in metrics.items()}


def needs(logger: str, package: str, error: ImportError) -> ConfigurationError:
    """What to say when a logger's package is not there."""
    found = f"{error.name or package} is not installed"
    return ConfigurationError(asked=logger, found=found, do=f"Install it with: pip install {package}")


def _claim_version(root: Path) -> int:
    """Make the folder of the next number, and return the number."""
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(found[1]) for one in root.iterdir() if (found := re.fullmatch(r"version_(\d+)", one.name))]
    number = max(taken, default=-1) + 1
    while True:
        try:
            (root / f"version_{number}").mkdir()
            return number
        except FileExistsError:  # another run was quicker
            number += 1


def _plain(value: Any) -> Any:
    """As YAML can hold it: numbers, text, lists and dicts; everything else by its text."""
    if isinstance(value, Namespace | Mapping):
        return {str(name): _plain(part) for name, part in as_dict(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if type(value) in (bool, int, float, str, type(None)) else str(value)

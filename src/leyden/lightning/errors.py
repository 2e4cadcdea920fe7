"""What is said of the parts of Lightning that are not kept?"""

from __future__ import annotations

from leyden.core.errors import ConfigurationError


class MisconfigurationException(ConfigurationError):  # noqa: N818  Lightning's name
    """The name under which Lightning's users catch what cannot work, and raise it with a text of their own."""

    def __init__(self, *args: object, asked: str = "", found: str = "", do: str = "") -> None:
        super().__init__(asked=asked, found=found, do=do)
        if args:
            self.args = args

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args


class NotAttachedError(ConfigurationError, RuntimeError):
    """A module was asked for its Trainer and has none; Lightning raises RuntimeError."""


def not_kept(asked: str, do: str) -> ConfigurationError:
    """The error of a name that is there so that imports work, and of what can be used instead."""
    return ConfigurationError(asked=asked, found="Leyden has no such thing", do=do)

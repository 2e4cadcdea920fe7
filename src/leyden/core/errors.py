"""How does Leyden say that something went wrong?

Every error says what was asked, what was found and what to do, in that order, and knows the exit code of the
command line that ends with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class LeydenError(Exception):
    """Base of every error a user can cause or mend.

    >>> print(PlacementError(asked="the job asks for 8 GPUs", found="this machine has none", do="Ask for --gpus 0."))
    the job asks for 8 GPUs; this machine has none. Ask for --gpus 0.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *, asked: str, found: str, do: str) -> None:
        super().__init__(f"{asked}; {found}. {do}")
        self.asked, self.found, self.do = asked, found, do

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.asked, self.found, self.do)


def _rebuild(kind: type[LeydenError], asked: str, found: str, do: str) -> LeydenError:
    return kind(asked=asked, found=found, do=do)


class UsageError(LeydenError):
    """The command line or an argument cannot be understood."""

    exit_code = 2


class SpecError(LeydenError):
    """A job's description is not valid."""

    exit_code = 2


class NotFoundError(LeydenError):
    """No such job, run, file or checkpoint."""

    exit_code = 3


class DeniedError(LeydenError):
    """The token does not allow this, or an older attempt tried to write."""

    exit_code = 4


class ConflictError(LeydenError):
    """What was asked does not fit to the state the thing is in."""


class UnreachableError(LeydenError):
    """The server does not answer."""

    exit_code = 5


class PlacementError(LeydenError):
    """No machine known could ever run the job."""


class CaptureError(LeydenError):
    """The working tree cannot be captured."""


class ServerError(LeydenError):
    """The server cannot start, or failed to answer."""


class ConfigurationError(LeydenError):
    """Trainer, Module or DataModule were given something that cannot work."""


class TrainingError(LeydenError):
    """Training can lead nowhere any more."""


class CheckpointError(LeydenError):
    """A checkpoint cannot be written, or is not whole."""


class RankError(LeydenError):
    """Another rank failed, hung, was lost or never arrived."""


class RecordError(LeydenError):
    """The record of a run cannot be read or written."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A half-sentence that names the near word, or lists what is known.

    >>> nearest("pririty", ["priority", "gpus"])
    "did you mean 'priority'?"
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    import difflib  # 2 ms that only a mistake need cost

    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options)}"


def error_from_name(name: str, *, asked: str, found: str, do: str) -> LeydenError:
    """The error class of that name (as sent over HTTP), else a plain LeydenError."""
    kind = {cls.__name__: cls for cls in LeydenError.__subclasses__()}.get(name, LeydenError)
    return kind(asked=asked, found=found, do=do)

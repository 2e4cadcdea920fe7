"""Where in the data is training? A few integers, which are all that a checkpoint holds of a loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from leyden.data.errors import DataError
from leyden.data.plan.base import Order
from leyden.data.plan.keys import digest

VERSION: Final = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The next global batch begins at `position` of `epoch`. Holds for any number of ranks, workers and batch size."""

    seed: int
    epoch: int
    position: int
    fingerprint: int  # of the order, 48 bits

    @staticmethod
    def of(order: Order, *, seed: int, epoch: int, position: int) -> Place:
        """The place in that order."""
        return Place(seed=seed, epoch=epoch, position=position, fingerprint=_short(order.fingerprint()))

    def to_dict(self) -> dict[str, int]:
        """Plain integers, for JSON or torch.save.

        >>> Place(seed=1, epoch=2, position=3, fingerprint=4).to_dict()
        {'version': 1, 'seed': 1, 'epoch': 2, 'position': 3, 'fingerprint': 4}
        """
        return {"version": VERSION} | asdict(self)

    @staticmethod
    def from_dict(state: Mapping[str, Any], order: Order, *, seed: int) -> Place:
        """The place that `to_dict` wrote. Raises DataError where it is none in this order with this seed."""
        version = state.get("version")
        if version != VERSION:
            raise _refused(
                f"the state is of version {version}, this Leyden writes {VERSION}",
                "Use the Leyden that wrote it, or a newer one.",
            )
        try:
            place = Place(**{name: int(state[name]) for name in ("seed", "epoch", "position", "fingerprint")})
        except (KeyError, TypeError, ValueError) as why:
            raise _refused(f"the state is not a loader's ({why!r})", "Give what state_dict() returned.") from None
        if place.seed != seed:
            raise _refused(f"it was written with seed {place.seed}, this loader has {seed}", f"Use seed={place.seed}.")
        if place.fingerprint != _short(order.fingerprint()):
            raise _refused(
                f"it belongs to another order than {order.fingerprint()}",
                "Give the same data, shuffling and window as then, or begin anew without the loader's state.",
            )
        return place


def _refused(found: str, do: str) -> DataError:
    return DataError(asked="a loader was to go on where another stood", found=found, do=do)


def _short(text: str) -> int:
    return int.from_bytes(digest(text)[:6], "little")

"""How do documents of all lengths become items of one length, with little or no padding?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.fit import Fit
from leyden.data.plan.join import Join
from leyden.data.plan.lengths import Lengths
from leyden.data.plan.order import check_order, check_range
from leyden.data.plan.split import Split
from leyden.data.sources.base import Ints


@final
class Packed(Order):
    """Token sequences of `order` packed into items of `length` tokens: {"tokens", "segments", "positions"}.

    method="split": documents in a row, cut every `length` tokens. No token is lost; an epoch's last item is filled up
    with `pad`. method="fit": documents stay whole unless they are longer than `length`; what is free is filled with
    `pad`. `field` is an array of one dimension whose lengths the sources keep; or give `lengths`, an array with the
    length of each sample as stored (then a sample may be the array itself). Documents without tokens never come.
    Raises DataError where lengths are not known or the order cannot be packed so.
    """

    def __init__(
        self,
        order: Order,
        *,
        length: int = 1024,
        field: str = "tokens",
        method: Literal["split", "fit"] = "split",
        lengths: Ints | None = None,
        pad: int = 0,
    ) -> None:
        check_order(order)
        ways: dict[str, type[Split] | type[Fit]] = {"split": Split, "fit": Fit}
        if length < 1 or method not in ways or order.join is not None:
            raise DataError(
                asked=f"items of {length} tokens, packed with method={method!r}, were asked for",
                found="they are packed already" if order.join is not None else "an item has at least one token",
                do='Give length >= 1 and method="split" or "fit", over an order that is not packed.',
            )
        known = Lengths(order.sources, field if lengths is None else lengths)
        if not known.values.any():
            raise DataError(
                asked=f"items of {length} tokens were asked for", found="no sample has any", do="Name another field."
            )
        self.sources, self.repeats = order.sources, order.repeats
        self.join = Join(field=field, length=length, pad=pad)
        self._size = length
        self._way = ways[method](order, known, length)
        self._words = f"{order.fingerprint()}, {length}, {known.name}, {method}"

    def length(self, epoch: int) -> int:
        """Items of the epoch."""
        return self._way.items(epoch)

    def utilisation(self, epoch: int = 0) -> float:
        """The share of an epoch's tokens that are data, not padding."""
        return self._way.tokens(epoch) / (self.length(epoch) * self._size)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Items start:stop, each of one or more pieces."""
        check_range(start, stop, self.length(epoch))
        return self._way.picks(epoch, start, stop)

    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """See Order."""
        return self._way.uses(epoch, position)

    def fingerprint(self) -> str:
        """See Order."""
        return f"Packed({self._words})"

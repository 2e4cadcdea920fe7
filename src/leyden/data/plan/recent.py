"""How are costly parts of an order kept for a while, in an order that threads share and that is sent to workers?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Recent(Generic[T]):
    """The last `size` things made, by key. Pickled empty."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[Hashable, T] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return Recent, (self._size,)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for the key, made now if it is not there any more."""
        kept = self._kept.get(key)
        if kept is None:
            kept = make()
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._size:
                    del self._kept[next(iter(self._kept))]
        return kept

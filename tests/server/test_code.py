"""Are trees that are too large refused while they come in?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from leyden.core.errors import CaptureError
from leyden.core.home import Home
from leyden.server.code import store_code


def test_a_tree_over_the_limit_is_refused_before_all_of_it_came(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b"x" * 1000

    with pytest.raises(CaptureError, match="larger than 10 kB packed"):
        asyncio.run(store_code(home, "0" * 64, chunks(), limit_bytes=10_000))
    assert sent == 11
    assert list(home.code.iterdir()) == []

"""A server for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.conftest import s3
from tests.server.running import Running

__all__ = ["s3"]  # an S3 server behind a proxy, for the tests here too


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for tests that leave nothing in it."""
    one = Running(tmp_path_factory.mktemp("shared") / "home")
    one.start()
    yield one
    one.end()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path / "home")
    one.start()
    yield one
    one.end()

"""A server for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.faults.proxy import Proxy
from tests.data.faults.server import s3_server
from tests.server.running import Running


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


@pytest.fixture(scope="package")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    """A proxy before an S3 server, and the folder of its one bucket, "bucket"."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with s3_server(folder) as port:
        proxy = Proxy(port)
        yield proxy, folder / "bucket"
        proxy.close()

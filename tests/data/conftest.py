"""Servers that several tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.data.tiers import spec
from tests.data.faults.proxy import Proxy
from tests.data.faults.server import s3_server


@pytest.fixture(scope="package")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    """A proxy before an S3 server, and the folder of its one bucket, "bucket"."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with s3_server(folder) as port:
        proxy = Proxy(port)
        yield proxy, folder / "bucket"
        proxy.close()


@pytest.fixture
def store(s3: tuple[Proxy, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Proxy, Path]:
    """The same without faults, named in the environment."""
    s3[0].reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3[0].url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return s3


@pytest.fixture
def ram(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A /dev/shm of the test's own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setattr(spec, "SHM", Path(folder))
        yield Path(folder)

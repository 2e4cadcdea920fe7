"""Does every tier keep the contract: folders, RAM, disk and both, before a folder, memory and a real S3 server?"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from leyden.data.tiers.remote import open_root
from tests.conformance.tier import TierSuite
from tests.data.faults.proxy import Proxy, Whole
from tests.data.tiers.numbered import Numbered


class TestHere(TierSuite):
    def root(self, tmp_path: Path) -> tuple[str, Path]:
        return str(tmp_path / "data"), tmp_path / "data"

    def cache(self, tmp_path: Path) -> list[str] | None:
        return None


@pytest.mark.usefixtures("ram")
class TestRam(TierSuite):
    """Objects in obstore's memory, shards in /dev/shm."""

    def root(self, tmp_path: Path) -> tuple[str, Path]:
        return f"memory://{uuid.uuid4()}", tmp_path

    def cache(self, tmp_path: Path) -> list[str] | None:
        return ["ram:10MB"]

    def put(self, folder: Path, url: str, source: Numbered) -> None:
        root = open_root(url)
        for shard, name in enumerate(source.names):
            root.put(name, source.bytes_of(shard))


class TestDisk(TierSuite):
    """A shared file system behind a local disk: file:// with a cache."""

    def root(self, tmp_path: Path) -> tuple[str, Path]:
        return f"file://{tmp_path}/data", tmp_path / "data"

    def cache(self, tmp_path: Path) -> list[str] | None:
        return [str(tmp_path)]


@pytest.mark.usefixtures("ram")
class TestStack(TierSuite):
    """S3 → disk → RAM, with room for some of the shards in each."""

    @pytest.fixture(autouse=True)
    def _store(self, store: tuple[Proxy, Path]) -> None:
        self.bucket = store[1]

    def root(self, tmp_path: Path) -> tuple[str, Path]:
        name = uuid.uuid4().hex
        return f"s3://bucket/{name}", self.bucket / name

    def cache(self, tmp_path: Path) -> list[str] | None:
        return ["ram:800kB", f"{tmp_path}:800kB"]


class TestStackWithoutRanges(TestStack):
    """A server that answers 200 with everything."""

    @pytest.fixture(autouse=True)
    def _whole(self, store: tuple[Proxy, Path]) -> None:
        store[0].rule = lambda request: Whole()


@pytest.mark.filterwarnings("ignore:no cache tier has room")
class TestUncached(TestStack):
    """No cache at all: just the samples, into memory."""

    def cache(self, tmp_path: Path) -> list[str] | None:
        return ["none"]

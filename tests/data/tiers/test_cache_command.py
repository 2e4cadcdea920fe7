"""What does `leyden data cache` tell and clear?"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from leyden.cli.data_cache import command
from leyden.cli.usage import invoke
from leyden.data.tiers import make_tiers
from leyden.data.tiers.base import Tiers
from tests.conformance.until import until
from tests.data.tiers.numbered import Numbered, answers, ask, check, epoch


@pytest.fixture
def filled(tmp_path: Path, ram: Path) -> tuple[Tiers, Numbered]:
    """Six shards of a shared file system: four in RAM, where there is no more room, the last on the disk."""
    source = Numbered(f"file://{tmp_path}/data")
    source.write(tmp_path / "data")
    tiers = make_tiers([source], cache=["ram:1MB", str(tmp_path)], timeout_s=5)
    tiers.follow(iter(range(6)))
    epoch(tiers, source)
    until(lambda: len(kept(tmp_path, ram)) == 6)
    tiers.follow(iter(()))  # nothing is to come again by itself
    return tiers, source


def kept(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.glob("leyden-cache-*/whole/*")]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert invoke(command, "data cache", [*arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_listing_tells_where_shards_lie_and_who_reads_them(
    filled: tuple[Tiers, Numbered], tmp_path: Path, ram: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers, source = filled
    ask(tiers, 50, {1: [0]})
    answers(tiers, 1)
    shards = said(capsys, "ls")
    assert [shard["name"] for shard in sorted(shards, key=lambda shard: shard["name"])] == list(source.names)
    assert {shard["root"] for shard in shards} == {source.root}
    assert {shard["size_bytes"] for shard in shards} == {240_000}
    assert {Path(shard["cache"]).parent for shard in shards} == {ram, tmp_path}
    assert [shard["used_by"] for shard in shards if shard["name"] == "shard-001.bin"] == [[os.getpid()]]
    assert len(said(capsys, "ls", "--tier", "ram")) == len(kept(ram))
    assert len(said(capsys, "ls", "--tier", str(tmp_path))) == len(kept(tmp_path))
    invoke(command, "data cache", ["ls"])
    out = capsys.readouterr().out
    assert "shard-003.bin" in out
    assert "6 shards, 1.44 MB" in out
    tiers.close()


def test_clearing_takes_what_is_meant_and_readers_keep_theirs(
    filled: tuple[Tiers, Numbered], tmp_path: Path, ram: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers, source = filled
    ask(tiers, 50, {1: [0]})
    found = answers(tiers, 1)[50]
    old = kept(ram)[0]
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert said(capsys, "clear", "--dataset", "s3://other")["shards"] == 0
    assert said(capsys, "clear", "--older", "1h") == {"shards": 1, "freed_bytes": 240_000}
    in_ram = len(kept(ram))
    assert said(capsys, "clear", "--tier", "ram")["shards"] == in_ram
    assert kept(ram) == []
    assert said(capsys, "clear")["shards"] == 5 - in_ram
    assert kept(ram, tmp_path) == []
    assert check(source, {1: [0]}, found) == 1
    assert epoch(tiers, source, start=100) == 72
    tiers.close()
    invoke(command, "data cache", ["clear"])
    assert "cleared" in capsys.readouterr().out
    invoke(command, "data cache", ["ls"])
    assert "No shards are kept on this host." in capsys.readouterr().out

"""Is `cache=` understood, or refused in words that help?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leyden.core.errors import ConfigurationError, SpecError
from leyden.data.tiers import make_tiers
from leyden.data.tiers import spec as specs
from leyden.data.tiers.base import Tiers
from leyden.data.tiers.here import Here
from leyden.data.tiers.remote import open_root
from leyden.data.tiers.spec import default_cache, parse_cache
from tests.data.tiers.numbered import Numbered, answers, ask


@pytest.mark.parametrize(
    ("cache", "found"),
    [
        ("ram:lots", "'lots' is not a size"),
        ("ram:0", "a quota of 0"),
        ("nvme:8GB", "'nvme' is neither 'ram' nor a folder's path"),
        (["/a:1GB", "/a:2GB"], "named twice"),
    ],
)
def test_what_cannot_be_understood_is_refused(cache: str | list[str], found: str) -> None:
    with pytest.raises(SpecError, match="Write it like") as error:
        parse_cache(cache)
    assert found in str(error.value)


def test_a_folder_that_is_not_there_or_not_ones_own_is_refused(tmp_path: Path) -> None:
    source = Numbered("memory://spec")
    with pytest.raises(ConfigurationError, match="no such file or directory"):
        make_tiers([source], cache=str(tmp_path / "missing"))
    (tmp_path / f"leyden-cache-{os.getuid()}").symlink_to("/etc")
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        make_tiers([source], cache=str(tmp_path))


def test_folders_are_read_where_they_are_unless_a_cache_is_named(tmp_path: Path) -> None:
    source = Numbered(str(tmp_path))
    for cache, here in ((None, True), ("none", False), (str(tmp_path), False)):
        tiers = make_tiers([source], cache=cache)
        assert isinstance(tiers, Here) is here
        tiers.close()


def test_ram_that_nobody_asked_for_goes_with_its_last_user(ram: Path) -> None:
    assert [(place.ram, place.folder.parent) for place in default_cache()] == [(True, ram)]
    root = open_root("memory://default")
    source = Numbered("memory://default", shards=1)
    root.put("shard-000.bin", source.bytes_of(0))

    def opened() -> Tiers:
        tiers = make_tiers([source])
        source.locates = False
        ask(tiers, 1, {0: [0]})
        answers(tiers, 1)
        return tiers

    first, second = opened(), opened()
    first.close()
    assert len([*ram.glob("*/whole/*")]) == 1
    second.close()
    assert [*ram.glob("*/whole/*")] == []


def test_where_shared_memory_is_small_a_temporary_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specs, "SHM", tmp_path / "missing")
    assert [(place.ram, place.quota_bytes) for place in default_cache()] == [(False, 8_000_000_000)]

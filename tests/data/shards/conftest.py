"""Nothing of these tests stays in the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all of them: the C shim is compiled into it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_own_cache(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache))

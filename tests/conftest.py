"""Shared by all tests: no test writes outside its own folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from leyden.track import run
from tests.conformance.postgres import Postgres, postgres_cluster


def pytest_configure() -> None:
    """What the programs of the tests inherit: Ctrl-C counts (`pytest &` has it ignored), and torch takes one thread.

    More are of no use to small tensors; while another program has a core, they spin until it is free again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # An example that takes long says that the machine is busy, not that it is wrong.
    settings.register_profile("leyden", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("leyden")


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: the JPEG decoder is compiled into it, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One cluster for all tests that ask for one; each takes a database of its own."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a folder of its own, outside any run and with its own LEYDEN_HOME."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("LEYDEN_HOME", str(tmp_path / "home"))
    for name in ("LEYDEN_RUN_DIR", "LEYDEN_ATTEMPT", "LEYDEN_CHECKPOINT_DIR", "LEYDEN_API_URL", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(run, "_run", None)

"""One cluster for all tests of this folder: two nodes on this machine, with two fake GPUs each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import cluster, why_not


@pytest.fixture(scope="session")
def slurm_environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find it."""
    if why := why_not():
        pytest.skip(why)
    root: Path = tmp_path_factory.mktemp("slurm")
    with cluster(root) as environ:
        yield environ

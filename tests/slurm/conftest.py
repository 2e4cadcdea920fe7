"""One cluster for all tests of this folder: two nodes on this machine, with two fake GPUs each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, cluster, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It runs; a test that ends a daemon starts it again."""
    if why := why_not():
        pytest.skip(why)
    root: Path = tmp_path_factory.mktemp("slurm")
    with cluster(root) as one:
        yield one

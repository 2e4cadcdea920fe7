"""Do the options that a source was opened with reach those who fetch for it, and nobody else?"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.data import MDS, Loader, Parquet, Shards, WebDataset, write_shards
from leyden.data.sources.base import Source
from tests.data.faults.proxy import Proxy
from tests.data.sources.test_mds import MADE


@pytest.mark.parametrize("kind", [Shards, WebDataset, MDS, Parquet])
def test_options_reach_the_store_but_not_the_workers(
    kind: Callable[..., Source], store: tuple[Proxy, Path], ram: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = store[1] / tmp_path.name
    if kind is MDS:
        shutil.copytree(MADE / "plain", folder)
    elif kind is Parquet:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        folder.mkdir()
        parquet.write_table(arrow.table({"item": [*range(8)]}), folder / "a.parquet")
    else:
        write_shards(({"item": i} for i in range(8)), str(folder), samples_per_shard=4, progress=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # the environment says nothing of this store
    source = kind(f"s3://bucket/{tmp_path.name}", storage_options={"endpoint": store[0].url})
    assert store[0].url.encode() not in pickle.dumps(source)
    with Loader(source, batch_size=4, workers=1, kind="process", collate=len) as loader:
        assert sum(loader) == source.counts.sum()

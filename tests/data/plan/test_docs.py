"""Does the code of docs/how-to/streams.md run?"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leyden.data import write_shards

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "streams.md"


def test_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lengths = np.random.default_rng(0).integers(1, 3000, 120)
    for number, name in enumerate(["web", "code"]):
        samples = [{"tokens": np.full(length, number + 1, dtype=np.int32)} for length in lengths]
        write_shards(samples, f"shards/{name}", samples_per_shard=20, workers=0, progress=False)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("batch_size=8", 'batch_size=8, kind="none"'), names)  # no processes to start
    mix, packed, whole, bucketed = (names[name] for name in ("mix", "packed", "whole", "bucketed"))
    for position, share in [(0, 0), (50_176, 0.5), (100_352, 1)]:  # a block of 1,024 counts from its stage
        epoch, at = divmod(position, mix.length(0))
        picks = mix.picks(epoch, at, at + 1024)
        assert abs((picks.shards >= 6).mean() - share) < 0.05
    assert packed.utilisation() > whole.utilisation() > 0.9
    assert bucketed.length(0) == 120
    assert names["endless"].length(0) is None
    with names["padded"] as loader:
        rows = [batch["tokens"].numpy().copy() for batch in loader]
    assert sum((row == 1).sum() for row in rows) == lengths.sum()
    with names["loader"] as loader:
        batch = [batch["tokens"].numpy().copy() for batch in islice(iter(loader), 8)]
    assert np.stack(batch).shape == (8, 8, 1024)
    assert abs(np.mean(batch) - 1.25) < 0.15

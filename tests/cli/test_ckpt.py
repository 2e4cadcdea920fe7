"""Does `leyden ckpt ls` say what goes when, and what stays for what reason?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from leyden.cli import ckpt
from leyden.core.file_views import CheckpointView

ONE = CheckpointView(job="00000q7k2z", name="step=10", epoch=0, step=10, created_at=0.0, size_bytes=100)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (ONE, ("", "")),
        (replace(ONE, goes_at=1000.0 + 3 * 86_400), ("", "in 3d00h")),
        (replace(ONE, goes_at=999.0), ("", "soon")),
        (replace(ONE, pinned=True, stays="pinned", names=["last"]), ("last, pinned", "stays: pinned")),
        (replace(ONE, stays="ab12 began from it"), ("", "stays: ab12 began from it")),
        (replace(ONE, damaged=True, epoch=-1, step=-1), ("damaged", "")),
    ],
)
def test_the_last_columns(view: CheckpointView, said: tuple[str, str]) -> None:
    row = ckpt._row(view, with_job=False, now=1000.0)
    assert (row[-2].text, row[-1].text) == said
    assert "-1" not in [cell.text for cell in row]

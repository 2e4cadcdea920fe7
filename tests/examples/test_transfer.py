"""Does a net that has read print learn handwriting better than one that has read nothing?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.running import figures, run


@pytest.mark.slow
def test_transfer_wins(tmp_path: Path) -> None:
    output = run("transfer", tmp_path, "--smoke")
    [scratch] = figures(r"scratch: reads ([\d.]+)% of handwriting after 10 labelled scans", output)
    [transfer] = figures(r"transfer: reads ([\d.]+)% of handwriting after 10 labelled scans", output)
    assert scratch > 40
    assert transfer > scratch + 4

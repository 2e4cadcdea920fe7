"""Do ranks with different numbers of batches train on equally many, and exactly again after a break?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.launching import Script


@pytest.mark.slow
def test_ranks_stop_together_after_the_shortest(tmp_path: Path) -> None:
    """5 and 7 batches of known number; 6 and 9 of unknown: by themselves, accumulated, sharded, limited, resumed."""
    script = Script(tmp_path, "uneven_script.py")
    script.run_ranks(2)
    first, second = script.told(0), script.told(1)
    assert first["known"][:2] == second["known"][:2] == [10, 10]
    assert first["known"][2] == [
        "2 batches of an epoch are left out: the ranks have [5, 7]. Ranks train on equally many batches, those of the "
        "shortest."
    ]
    assert first["unknown"][:2] == second["unknown"][:2] == [12, 12]
    assert first["unknown"][2][0].startswith("1 of 2 ranks had batches left when the shortest ended")
    assert second["unknown"][2] == []
    assert first["window"][:2] == second["window"][:2] == [4, 12]  # windows of 4 and 2 batches in each epoch
    assert first["window"][2] == second["window"][2]
    assert first["fsdp"] == second["fsdp"] == [4, 12]
    assert first["limit"] == second["limit"] == [8, 8]
    for told in (first, second):
        assert "the training loader has no batch" in told["none"]
        assert told["resumed"] == told["whole"]
        assert told["rest"]
    assert first["whole"] == second["whole"]

"""Does a run end, with every process, when one rank hangs, and does it say which, where and why?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.train.launching import Script, nothing_is_left


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path, "hang_script.py")


@pytest.mark.slow
def test_an_endless_loop_is_shown_and_long_work_is_no_hang(script: Script, tmp_path: Path) -> None:
    """Preparing data, then a step on both ranks, take longer than the time-out; then one rank never comes back."""
    output = script.run("endless", code=1, DEVICES="2", WHO="1", LEYDEN_RANK_TIMEOUT_S="3", BUSY_S="4")
    assert "rank 1 hangs at step 5 (epoch 0, batch 5), while others wait for it" in output
    assert "in turn_in_circles" in output
    assert "rank 0 waited at step 5 (epoch 0, batch 5)" in output
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_a_stopped_rank_is_named_and_ended(script: Script, tmp_path: Path) -> None:
    """One of 4 ranks can give no stack."""
    output = script.run("stop", code=1, DEVICES="4", WHO="2", LEYDEN_RANK_TIMEOUT_S="3", BUSY_S="2")
    assert "rank 2 gives no sign of life" in output
    assert re.search(r"last seen at step [2-5] ", output)  # the last one it told: it rests at 2, and stops at 5
    assert "rank 3 waited at step 5 (epoch 0, batch 5)" in output
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_the_others_do_not_wait_for_a_stopped_first_rank(script: Script, tmp_path: Path) -> None:
    """Rank 0 serves the store and has started rank 1, which ends both."""
    output = script.run("stop", code=-9, DEVICES="2", WHO="0", LEYDEN_RANK_TIMEOUT_S="2")
    assert "2 ranks" in output
    [log] = tmp_path.glob("leyden_runs/*/logs/a1-r1.log")
    assert "rank 0, where the ranks met, has gone or does not answer" in log.read_text()
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_ranks_that_never_arrive_are_named(script: Script) -> None:
    [lonely, *others] = script.start_ranks(
        1, "endless", DEVICES="auto", WHO="1", WORLD_SIZE="3", LEYDEN_MEET_TIMEOUT_S="1"
    )
    output, _ = lonely.communicate(timeout=60)
    assert lonely.returncode == 1
    assert not others
    assert "2 of 3 ranks never arrived: rank 1, 2" in output

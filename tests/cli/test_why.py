"""What does `leyden why` show of a place in line?"""

from __future__ import annotations

import pytest

from leyden.cli.why import page
from leyden.core.wait_views import WhyView
from leyden.jobs.fairness import describe
from leyden.jobs.snapshot import Standing


@pytest.mark.parametrize("standing", ["", describe(50, Standing(times=2.3, points=-12))])
def test_the_place_in_line_says_what_it_comes_from(standing: str) -> None:
    why = WhyView(
        id="0000000001",
        name="digits",
        state="queued",
        code="behind",
        text="waits",
        priority=50,
        needs={"gpus": 1, "cpus": 8},
        position=3,
        waiting=9,
        standing=standing,
        starts_after=-9.0,
        starts_before=0.5,
    )
    shown = page(why, now=0.0).splitlines()
    said = "priority 50, −12 for 2.3 times the fair share" if standing else "priority 50"
    assert f"  in line  number 3 of 9, {said}" in shown
    assert shown[-1] == "  starts   any moment now (estimated)"

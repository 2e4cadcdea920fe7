"""Are looked-up batches those of the order, for any number of ranks?"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from leyden.data.plan import Shuffled
from leyden.data.plan.deal import Deal
from leyden.data.sources import MapStyle
from leyden.data.workers.agenda import agenda


@pytest.mark.parametrize(("batch_size", "size"), [(1, 1), (7, 2), (16, 3), (300, 1), (100, 5)])
def test_each_batch_is_its_part_of_the_order(batch_size: int, size: int) -> None:
    order = Shuffled(MapStyle(range(1003)), seed=1)
    seen: dict[int, list[int]] = {0: [], 1: []}
    for rank in range(size):
        deal = Deal(batch_size=batch_size, rank=rank, size=size)
        count = 2 * (deal.batches(1003, 0) or 0)
        for work in islice(agenda(order, deal, 0, 0), count):
            picks = order.picks(work.epoch, work.start, work.stop)
            np.testing.assert_array_equal(work.picks.samples, picks.samples)
            np.testing.assert_array_equal(work.picks.shards, picks.shards)
            seen[work.epoch] += work.picks.samples.tolist()
        assert work.is_last
        assert next(islice(agenda(order, deal, 1, work.start), 1, None)).epoch == 2
    assert sorted(seen[0]) == sorted(seen[1]) == [*range(1003)]

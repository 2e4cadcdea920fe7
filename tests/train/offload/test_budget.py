"""Do the weights that stay on the device fit, and is room left for those that do not?"""

from __future__ import annotations

from pathlib import Path

import pytest

from leyden.core.errors import ConfigurationError
from leyden.train.offload.budget import IN_FLIGHT, bytes_for, check_host, largest_model, place
from leyden.train.offload.lanes import free_on_host


def test_the_goal_fits() -> None:
    """45 billion parameters on a GPU of 141 GB (131 GiB) and a host of 128 GiB, 18 GiB of both for everything else."""
    assert bytes_for(45e9) / 2**30 == pytest.approx(168.9, abs=0.1)
    assert largest_model(121 * 2**30, 120 * 2**30) > 45e9
    assert all(place([int(2 * 44e9 / 80)] * 80, rest=int(2e9), budget=0.75 * 141e9))


def test_what_does_not_fit_goes_and_is_spread_evenly() -> None:
    blocks, budget = [100] * 40, 2_000
    stays = place(blocks, rest=200, budget=budget)
    assert sum(stays) == (budget - 200 - IN_FLIGHT * 100) // 100
    for part in range(0, 40, 10):
        assert 3 <= sum(stays[part : part + 10]) <= 5


def test_blocks_of_different_sizes() -> None:
    stays = place([10, 500] * 5, rest=10, budget=2_000)  # 1,500 are for three of the large ones in flight
    assert stays == (True, False) * 5


def test_a_host_too_small() -> None:
    check_host(bytes_for(30e9), 128e9)
    with pytest.raises(ConfigurationError, match=r"181 GB of host memory .* 128 GB are free"):
        check_host(bytes_for(45e9), 128e9)


def test_a_container_may_leave_less_than_the_machine_has(tmp_path: Path) -> None:
    machine = free_on_host(tmp_path)
    for name, words in (
        ("memory.max", "max"),
        ("memory.current", "3000000"),
        ("memory.stat", "anon 1\nfile 1000000\n"),
    ):
        (tmp_path / name).write_text(words)
    assert free_on_host(tmp_path) == pytest.approx(machine, rel=0.2)
    (tmp_path / "memory.max").write_text("5000000\n")
    assert free_on_host(tmp_path) == 3_000_000


@pytest.mark.parametrize(("blocks", "rest", "budget"), [([10] * 4, 20, 49), ([], 20, 19)])
def test_too_little_room(blocks: list[int], rest: int, budget: int) -> None:
    with pytest.raises(ConfigurationError, match=r"Raise Offload\(device_memory=…\)"):
        place(blocks, rest, budget)

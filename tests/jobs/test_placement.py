"""How big are jobs that did not say, and which are refused?"""

from __future__ import annotations

import pytest

from leyden.core.errors import PlacementError, SpecError
from leyden.core.job import Resources, make_job
from leyden.engines.base import Gpu, Machine
from leyden.jobs.placement import refuse_impossible, settle

GB = 1_000_000_000
PLAIN = Machine(node="n", cpus=2, memory_bytes=24 * GB)
EIGHT = Machine(
    node="n",
    cpus=64,
    memory_bytes=512 * GB,
    gpus=tuple(Gpu(index=number, name="NVIDIA A100-SXM4-80GB", memory_bytes=85 * GB) for number in range(8)),
)


@pytest.mark.parametrize(
    ("machine", "wanted", "gpus", "cpus", "ranks"),
    [
        (PLAIN, Resources(), 0, 2, 1),
        (PLAIN, Resources(cpus=1), 0, 1, 1),
        (PLAIN, Resources(ranks=2), 0, 2, 2),
        (EIGHT, Resources(), 1, 8, 1),
        (EIGHT, Resources(gpus=4), 4, 32, 4),
        (EIGHT, Resources(gpus=0), 0, 8, 1),
        (EIGHT, Resources(gpus=2, ranks=1, cpus=3), 2, 3, 1),
        (EIGHT, Resources(share=4), 1, 2, 1),
        (EIGHT, Resources(gpus=1, share=64), 1, 1, 1),
        (EIGHT, Resources(share=4, cpus=3), 1, 3, 1),
        (PLAIN, Resources(share=2), 0, 1, 1),
        (PLAIN, Resources(share=4), 0, 1, 1),
    ],
)
def test_default_sizes(machine: Machine, wanted: Resources, gpus: int, cpus: int, ranks: int) -> None:
    size = settle(wanted, machine)
    assert (size.gpus, size.cpus, size.ranks) == (gpus, cpus, ranks)
    refuse_impossible(size, machine)


@pytest.mark.parametrize(
    ("machine", "wanted", "message"),
    [
        (
            PLAIN,
            Resources(gpus=8),
            "the job asks for 8 GPUs; this machine has no GPU (2 CPUs, 24 GB). "
            "Ask for --gpus 0, or submit it to a machine with GPUs.",
        ),
        (
            EIGHT,
            Resources(gpus=1, gpu_model="H100"),
            "the job asks for 1 GPU (H100); this machine has 8 × NVIDIA A100-SXM4-80GB 85 GB (64 CPUs, 512 GB). "
            "Ask for --gpus 0, or for another kind.",
        ),
        (EIGHT, Resources(gpus=1, gpu_memory_bytes=141 * GB), "the job asks for 1 GPU (≥ 141 GB)"),
        (
            PLAIN,
            Resources(gpus=1, share=4),
            "the job asks for 1/4 of a GPU; this machine has no GPU (2 CPUs, 24 GB). Ask for --gpus 0",
        ),
        (EIGHT, Resources(gpus=9), "Ask for --gpus 8 or fewer."),
        (
            PLAIN,
            Resources(cpus=3),
            "the job asks for 3 CPUs; this machine has no GPU (2 CPUs, 24 GB). Ask for --cpus 2",
        ),
    ],
)
def test_what_can_never_fit_is_refused_in_words(machine: Machine, wanted: Resources, message: str) -> None:
    with pytest.raises(PlacementError) as caught:
        refuse_impossible(settle(wanted, machine), machine)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"gpus": 2}, "it asks for 2 GPUs"),
        ({"gpus": "1..4"}, "it asks for 1 to 4 GPUs"),
        ({"gpus": 0}, "it asks for 0 GPUs"),
        ({"ranks": 2}, "it asks for 2 ranks"),
        ({"gpus": 1, "ranks": 1}, ""),
        ({"gpus": "A100"}, ""),
    ],
)
def test_a_part_is_of_one_gpu_and_for_one_rank(keys: dict[str, object], found: str) -> None:
    fields = {"command": ["true"], "share": 4, **keys}
    if not found:
        assert make_job(fields).resources.share == 4
        return
    with pytest.raises(SpecError) as caught:
        make_job(fields)
    asked = "the job takes one part of a GPU that is split in 4"
    assert str(caught.value) == f"{asked}; {found}. Ask for one GPU and one rank, or leave share out."

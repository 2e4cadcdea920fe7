"""Which GPUs are given away?"""

from __future__ import annotations

import pytest

from leyden.core.errors import UsageError
from leyden.engines.gpus import machine_gpus, nvidia_gpus
from leyden.engines.local import LocalEngine


def test_hidden_gpus_are_not_given_away() -> None:
    assert nvidia_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_visible_gpus_are_those_of_the_driver() -> None:
    gpus = nvidia_gpus({})
    if not gpus:
        pytest.skip("no NVIDIA GPU here")
    assert nvidia_gpus({"CUDA_VISIBLE_DEVICES": str(gpus[-1].index)}) == gpus[-1:]
    assert all(gpu.name and gpu.memory_bytes > 1 << 30 for gpu in gpus)


def test_fake_gpus_are_as_many_as_asked_for() -> None:
    gpus = machine_gpus({"LEYDEN_FAKE_GPUS": "3", "CUDA_VISIBLE_DEVICES": ""})
    assert [(gpu.device, gpu.name) for gpu in gpus] == [(f"gpu:{index}", "Fake GPU") for index in range(3)]
    assert machine_gpus({"LEYDEN_FAKE_GPUS": "", "CUDA_VISIBLE_DEVICES": ""}) == ()
    with pytest.raises(UsageError, match="no number"):
        machine_gpus({"LEYDEN_FAKE_GPUS": "many"})


def test_a_machine_with_fake_gpus_has_a_cpu_for_each() -> None:
    machine = LocalEngine({"LEYDEN_FAKE_GPUS": "500"}).inventory()
    assert (len(machine.gpus), machine.cpus) == (500, 500)

"""Which GPUs are given away?"""

from __future__ import annotations

import pytest

from leyden.engines.gpus import nvidia_gpus


def test_hidden_gpus_are_not_given_away() -> None:
    assert nvidia_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_visible_gpus_are_those_of_the_driver() -> None:
    gpus = nvidia_gpus({})
    if not gpus:
        pytest.skip("no NVIDIA GPU here")
    assert nvidia_gpus({"CUDA_VISIBLE_DEVICES": str(gpus[-1].index)}) == gpus[-1:]
    assert all(gpu.name and gpu.memory_bytes > 1 << 30 for gpu in gpus)

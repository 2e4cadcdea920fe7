"""Does stochastic rounding keep what bf16 can hold, and is it right on average?"""

from __future__ import annotations

import torch
from torch import Tensor

from leyden.train.offload.rounding import random_16_bits, round_stochastically


def draw(values: Tensor, seed: int = 0) -> Tensor:
    return round_stochastically(values, torch.Generator().manual_seed(seed))


def test_what_bf16_can_hold_is_kept() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    values = every[~every.isnan()]  # zeros of both signs, subnormal numbers and infinities among them
    assert torch.equal(draw(values.float()).view(torch.int16), values.view(torch.int16))


def test_not_a_number_stays_so() -> None:
    patterns = torch.tensor([0x7FC00000, 0x7FFFFFFF, 0x7F800001, -1, -0x7FFFFF], dtype=torch.int32)
    assert draw(patterns.view(torch.float32).repeat(1000)).isnan().all()


def test_it_is_unbiased_and_takes_a_neighbour() -> None:
    for value in (1.003, -1.003, 0.1, 3e-39, 12345.678):
        exact = torch.tensor(value)
        low = (exact.view(torch.int32) & -0x10000).view(torch.float32)
        high = ((exact.view(torch.int32) & -0x10000) + 0x10000).view(torch.float32)
        drawn = draw(exact.repeat(200_000)).double()
        assert set(drawn.tolist()) == {low.item(), high.item()}
        share = ((exact - low) / (high - low)).item()
        deviation = abs((drawn == high.item()).double().mean().item() - share)
        assert deviation < 5 * (share * (1 - share) / 200_000) ** 0.5


def test_small_updates_add_up() -> None:
    """A thousand steps of 1e-4 from 1, where bf16's own step is 0.0078: rounding to nearest never leaves 1."""
    generator = torch.Generator().manual_seed(0)
    weight = nearest = torch.ones(1000, dtype=torch.bfloat16)
    for _ in range(1000):
        weight = round_stochastically(weight.float() + 1e-4, generator)
        nearest = (nearest.float() + 1e-4).bfloat16()
    assert nearest.float().mean() == 1.0
    assert abs(weight.float().mean().item() - 1.1) < 0.005


def test_the_generator_decides() -> None:
    values = torch.randn(10_001)
    generator = torch.Generator().manual_seed(3)
    first = round_stochastically(values, generator)
    state = generator.get_state()
    second = round_stochastically(values, generator)
    assert not torch.equal(first, second)
    generator.set_state(state)
    assert torch.equal(round_stochastically(values, generator), second)


def test_random_bits_are_uniform() -> None:
    bits = random_16_bits(400_001, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert bits.shape == (400_001,)
    assert (int(bits.min()), int(bits.max())) == (0, 65535)
    for bit in range(16):
        assert abs((bits >> bit & 1).double().mean().item() - 0.5) < 0.004

"""Are 8-bit moments as near to the true ones as their code books allow?"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leyden.train.offload.moments import BLOCK, CodeBook, EightBit, Exact, signed_entries, unsigned_entries

CPU = torch.device("cpu")


def over_decades(rows: int, seed: int = 0) -> Tensor:
    """Numbers of both signs whose magnitudes spread over ten decades."""
    generator = torch.Generator().manual_seed(seed)
    magnitude = 10 ** (-10 * torch.rand(rows, BLOCK, generator=generator))
    return magnitude * torch.randn(rows, BLOCK, generator=generator).sign()


def keep(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    moments = EightBit.on(CPU)
    rows = torch.zeros(len(first), moments.row_bytes, dtype=torch.uint8)
    moments.write(rows, first, second)
    return moments.read(rows)


@pytest.mark.parametrize("entries", [signed_entries(), unsigned_entries()], ids=["signed", "unsigned"])
def test_code_books(entries: Tensor) -> None:
    assert entries.shape == (256,)
    assert (entries.diff() > 0).all()
    assert entries[-1] == 1
    assert 0 in entries
    assert entries[entries > 0][0] < 1e-6
    if entries[0] < 0:
        assert torch.equal(entries[:127], -entries[128:255].flip(0))


@pytest.mark.parametrize("entries", [signed_entries(), unsigned_entries()], ids=["signed", "unsigned"])
def test_every_number_gets_its_nearest_entry(entries: Tensor) -> None:
    middles = (entries[1:] + entries[:-1]) / 2
    values = torch.cat([over_decades(100).view(-1), torch.linspace(-1, 1, 20_001), entries, middles])
    chosen = CodeBook(entries, CPU).encode(values)
    distance = (values[:, None].double() - entries.double()).abs()
    excess = distance.gather(1, chosen.long()[:, None])[:, 0] - distance.amin(1)
    assert (excess <= 2e-7 * values.abs()).all()  # a border between entries is itself a rounded float32


def test_errors_stay_within_half_a_cell() -> None:
    first, second = over_decades(200), over_decades(200, seed=1).abs()
    kept = keep(first, second)
    for true, got, finest in ((first, kept[0], 1), (second, kept[1], 2)):
        scale = true.abs().amax(1, keepdim=True)
        share, error = true.abs() / scale, (true - got).abs() / scale
        for decade in range(7):
            top = 10.0 ** (decade - 6)
            inside = (share > top / 10) & (share <= top)
            # At the border of two decades the nearest entry may be in the next one, whose cells are five times as wide.
            assert error[inside].max() <= 0.45 * top / (finest << decade) * (1.0001 if decade == 6 else 2.75)
        assert error[share < 1e-7].max() < 6e-7


def test_the_largest_is_exact_and_zeroed_memory_is_zero() -> None:
    first = torch.randn(50, BLOCK)
    first[:, 0] = 7.25  # the code book holds 1, but not -1
    got, _ = keep(first, first.square())
    assert (got[:, 0] == 7.25).all()
    moments = EightBit.on(CPU)
    for values in (
        keep(torch.zeros(2, BLOCK), torch.zeros(2, BLOCK)),
        moments.read(torch.zeros(2, 520, dtype=torch.uint8)),
    ):
        assert not torch.stack(values).any()


def test_a_second_moment_never_becomes_zero() -> None:
    second = torch.full((1, BLOCK), 1e-30)
    second[0, :2] = torch.tensor([1.0, 0.0])
    _, got = keep(torch.zeros(1, BLOCK), second)
    assert got[0, 0] == 1
    assert got[0, 1] == 0
    assert (got[0, 2:] > 0).all()


def test_not_a_number_is_not_hidden() -> None:
    first = torch.ones(2, BLOCK)
    first[0, 5] = torch.nan
    got, _ = keep(first, torch.ones(2, BLOCK))
    assert got[0].isnan().all()
    assert torch.equal(got[1], torch.ones(BLOCK))


def test_exact_keeps_everything() -> None:
    moments, first, second = Exact(), over_decades(3), over_decades(3, seed=1).abs()
    rows = torch.zeros(3, moments.row_bytes, dtype=torch.uint8)
    moments.write(rows, first, second)
    assert torch.equal(torch.stack(moments.read(rows)), torch.stack([first, second]))

"""Does the return grow, and does a run that was broken off go on with the same carts?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examples.ppo.train import PPO, Play, push

from leyden.track.read import read_run
from tests.examples.running import figures, run


def test_an_upright_pole_falls_unless_it_is_balanced() -> None:
    state = torch.tensor([[0.0, 0.0, 0.05, 0.0]])
    after, fell = push(state, torch.tensor([1]))
    assert not fell
    # By hand: whole = 10 / 1.1; turning = (9.8 sin 0.05 - cos 0.05 · whole) / (0.5 (4/3 - 0.1 cos² 0.05 / 1.1))
    assert after[0, 3].item() == pytest.approx(0.02 * -13.82, rel=2e-3)
    assert after[0, 1].item() == pytest.approx(0.02 * (10 / 1.1 + 0.05 * 13.82 / 1.1), rel=2e-3)
    for _ in range(100):
        state, fell = push(state, torch.tensor([0]))
        if fell:
            break
    assert fell


def test_a_rollout_is_handed_out_as_often_as_asked() -> None:
    torch.manual_seed(0)
    play = Play(PPO(carts=4, width=8, lr=0.001, discount=0.99, trace=0.95, clip=0.2), steps=16, passes=3, batch_size=16)
    batches = list(play)
    assert len(batches) == len(play) == 12
    seen = torch.cat([batch.state for batch in batches[:4]])
    assert len(torch.unique(seen, dim=0)) == 64
    assert play.model.ages.max() <= 16


@pytest.mark.slow
def test_the_return_grows_and_a_resume_changes_nothing(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    before, best = figures(r"stays up for (\d+) steps before training, for (\d+) of 500", run("ppo", whole, "--smoke"))
    assert before < 60
    assert best > 200
    run("ppo", parts, "--max-epochs", "3")
    run("ppo", parts, "--smoke", "--ckpt-path", "last")
    records = [next(one.glob("leyden_runs/*/run.json")).parent for one in (whole, parts)]
    returns = [list(read_run(record)["return"].values) for record in records]
    assert returns[0] == returns[1]

"""PPO learns to balance a pole on a cart: reinforcement learning in the same loop as everything else.

An epoch is one iteration of PPO (Schulman et al. 2017): the training loader lets the policy act, weighs what it did,
and hands that out in minibatches, a few times over. Validation plays whole episodes: a "batch" is where they start.

python train.py                                 solved within a minute on one core
python train.py --ckpt-path last                goes on where the newest run stopped, carts and all
leyden run examples/ppo/train.py                as a job
python train.py --smoke                         seconds: does the return grow?
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import leyden

LIMIT = 500  # steps, then an episode has succeeded


def push(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """Carts (n, 4) of [place, speed, angle, angle's speed], pushed left (0) or right (1), 20 ms later; and who fell.

    The equations of Barto, Sutton & Anderson 1983 (appendix) without friction; SI units, angles in radians.
    """
    gravity, cart, pole, half_length, newtons, dt = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    place, speed, angle, turn = state.unbind(1)
    force = newtons * (2.0 * action - 1.0)
    sine, cosine = angle.sin(), angle.cos()
    whole = (force + pole * half_length * turn**2 * sine) / (cart + pole)
    turning = (gravity * sine - cosine * whole) / (half_length * (4 / 3 - pole * cosine**2 / (cart + pole)))
    pushing = whole - pole * half_length * turning * cosine / (cart + pole)
    after = torch.stack([place + dt * speed, speed + dt * pushing, angle + dt * turn, turn + dt * turning], dim=1)
    fell = (after[:, 0].abs() > 2.4) | (after[:, 2].abs() > math.radians(12))
    return after, fell


def starts(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Carts (count, 4) almost at rest, almost upright."""
    return torch.rand(count, 4, generator=generator) * 0.1 - 0.05


def pick(log_odds: Tensor, action: Tensor) -> Tensor:
    """(n, actions) and (n,) -> (n,): those of the actions taken."""
    return log_odds.gather(1, action[:, None])[:, 0]


class Played(NamedTuple):
    """What the policy did, and how well that went; n steps."""

    state: Tensor  # (n, 4)
    action: Tensor  # (n,)
    log_odds: Tensor  # (n,) of the action, when it was taken
    advantage: Tensor  # (n,) how much better it went than the critic thought
    worth: Tensor  # (n,) what the critic should have thought


class PPO(leyden.Module):
    """Policy and critic, and the carts they play with; these are buffers: a resumed run finds them where they were."""

    def __init__(self, carts: int, width: int, lr: float, discount: float, trace: float, clip: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.discount, self.trace, self.clip = lr, discount, trace, clip
        self.policy, self.critic = (
            nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, answers))
            for answers in (2, 1)
        )
        self.carts: Tensor
        self.ages: Tensor
        self.register_buffer("carts", starts(carts))
        self.register_buffer("ages", torch.zeros(carts, dtype=torch.int64))  # steps since their episodes began

    def forward(self, state: Tensor) -> Tensor:
        """(n, 4) carts -> (n,) the better push."""
        return self.policy(state).argmax(1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def play(self, steps: int) -> Played:
        """Every cart for so many steps, from where it stands."""
        moves = [self._move() for _ in range(steps)]
        state, action, log_odds, value, surprise, over = (torch.stack(one) for one in zip(*moves, strict=True))
        advantage, later = torch.empty_like(surprise), torch.zeros_like(surprise[0])  # (steps, carts), (carts,)
        for t in reversed(range(steps)):  # generalized advantage estimation, Schulman et al. 2016, equation 16
            advantage[t] = later = surprise[t] + self.discount * self.trace * later * ~over[t]
        return Played(*(one.flatten(0, 1) for one in (state, action, log_odds, advantage, advantage + value)))

    def _move(self) -> tuple[Tensor, ...]:
        """One push of every cart, worth 1; what fell, or has come to the limit, starts anew."""
        state, value = self.carts.clone(), self.critic(self.carts)[:, 0]
        log_odds = F.log_softmax(self.policy(state), dim=1)
        action = torch.multinomial(log_odds.exp(), 1)[:, 0]
        after, fell = push(state, action)
        surprise = 1 + self.discount * self.critic(after)[:, 0] * ~fell - value
        self.ages += 1
        over = fell | (self.ages == LIMIT)  # who came to the limit would have gone on: only who fell is worth nothing
        self.carts.copy_(torch.where(over[:, None], starts(len(state)).to(state.device), after))
        self.ages *= ~over
        return state, action, pick(log_odds, action), value, surprise, over

    def training_step(self, batch: Played, batch_idx: int) -> Tensor:
        log_odds = F.log_softmax(self.policy(batch.state), dim=1)
        ratio = (pick(log_odds, batch.action) - batch.log_odds).exp()
        advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * advantage, clipped * advantage).mean()  # Schulman et al. 2017, equation 7
        error = (self.critic(batch.state)[:, 0] - batch.worth).square().mean()
        entropy = -(log_odds.exp() * log_odds).sum(1).mean()
        self.log_dict({"gain": gain, "critic_error": error, "entropy": entropy})
        loss: Tensor = -gain + 0.5 * error - 0.01 * entropy
        return loss

    def endure(self, state: Tensor) -> Tensor:
        """(n, 4) carts -> (n,) how many steps their poles stay up with the better push each time, 500 at most."""
        lasted, up = torch.zeros(len(state), device=state.device), torch.ones(len(state), device=state.device)
        for _ in range(LIMIT):
            state, fell = push(state, self(state))
            lasted += up
            up *= ~fell
        return lasted

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("return", self.endure(batch[0]).mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, eps=1e-5)


class Play(IterableDataset[Played]):
    """One iteration: so many steps of every cart, handed out `passes` times in minibatches, shuffled."""

    def __init__(self, model: PPO, steps: int, passes: int, batch_size: int) -> None:
        self.model, self.steps, self.passes, self.batch_size = model, steps, passes, batch_size

    def __len__(self) -> int:
        return self.passes * (self.steps * len(self.model.carts) // self.batch_size)

    def __iter__(self) -> Iterator[Played]:
        played = self.model.play(self.steps)
        for _ in range(self.passes):
            for some in torch.randperm(len(played.action)).chunk(len(self) // self.passes):
                yield Played(*(one[some] for one in played))


def main() -> None:
    parser = argparse.ArgumentParser(description="Balance a pole.")
    parser.add_argument("--carts", type=int, default=32, help="played with side by side")
    parser.add_argument("--steps", type=int, default=128, help="of each cart in an iteration")
    parser.add_argument("--passes", type=int, default=4, help="times that an iteration's steps are learnt from")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--discount", type=float, default=0.99)
    parser.add_argument("--trace", type=float, default=0.95, help="the lambda of generalized advantage estimation")
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--max-epochs", type=int, default=100, help="iterations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--smoke", action="store_true", help="few iterations, to see that it learns")
    args = parser.parse_args()
    if args.smoke:
        args.max_epochs = 10

    leyden.seed_everything(args.seed)
    model = PPO(args.carts, args.width, args.lr, args.discount, args.trace, args.clip)
    play = DataLoader(Play(model, args.steps, args.passes, args.batch_size), batch_size=None)
    beginnings = starts(100, torch.Generator().manual_seed(1))
    before = model.endure(beginnings).mean()
    solved = leyden.EarlyStopping("return", mode="max", patience=args.max_epochs, stopping_threshold=LIMIT - 0.5)
    trainer = leyden.Trainer(
        max_epochs=args.max_epochs,
        devices=1,  # ranks would share the carts: rank 0's buffers go to all of them
        gradient_clip_val=0.5,
        callbacks=[leyden.ModelCheckpoint(monitor="return", mode="max"), solved],
    )
    trainer.fit(model, play, DataLoader(TensorDataset(beginnings), 100), ckpt_path=args.ckpt_path)
    best = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    print(
        f"the pole stays up for {before:.0f} steps before training, for {best:.0f} of {LIMIT} "
        f"at best in {trainer.current_epoch} iterations"
    )


if __name__ == "__main__":
    main()

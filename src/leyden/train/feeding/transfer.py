"""How does a batch come to the device? Moved whole, or as the hooks of a DataModule or Module say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leyden.train.feeding.loaders import mover
from leyden.train.hooks import TransferHooks

if TYPE_CHECKING:
    from leyden.train.session import Session

Move = Callable[[Any], Any]


def mover_for(session: Session, dataloader_idx: int = 0) -> Move | None:
    """What brings the batches of one loader to the device; None where there is nothing to do."""
    plan = session.plan
    before, between, after = (
        _override(session, name)
        for name in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    )
    plain = mover(plan.device, plan.dtype)
    if not (before or between or after):
        return plain

    def move(batch: Any) -> Any:
        if before:
            batch = before(batch, dataloader_idx)
        if between:
            batch = between(batch, plan.device, dataloader_idx)
        elif plain:
            batch = plain(batch)
        return after(batch, dataloader_idx) if after else batch

    return move


def _override(session: Session, name: str) -> Callable[..., Any] | None:
    for owner in (session.datamodule, session.module):
        if owner is not None and getattr(type(owner), name) is not getattr(TransferHooks, name):
            found: Callable[..., Any] = getattr(owner, name)
            return found
    return None

"""What ends a run when a rank fails, hangs or is lost, and how does everybody learn which one, where, and why?

Two threads in every rank, nothing on the path of a step. One talks to the store the ranks met at: it tells this rank's
place ("step 5 …") and how many collectives it has begun, and hears whether there is trouble. The other judges: a rank
that has stood in one collective for LEYDEN_RANK_TIMEOUT_S (300 s) while another has begun fewer is kept waiting by
that other. Long validations, hooks or writes begin no collective and are no reason, as long as nobody waits for them.

In trouble every rank leaves its last words, an error or the stack of its main thread; the lowest rank that still
speaks prints all of them; then all end. Who leaves no word was killed, stopped, lost with its node, or is stuck in
native code that holds Python's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from leyden.core.errors import RankError

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer

_GRACE_S = 5.0  # for last words to arrive, and for a main thread to end by itself
_FRAMES = 12  # of a stack, innermost
_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


class Beat(NamedTuple):
    """What a rank tells now and then."""

    tick: int
    collectives: int
    place: str


class Words(NamedTuple):
    """The last words of a rank: `cause` says "failed", "waits" or "stack"; the text is a traceback."""

    cause: str
    place: str
    text: str


class Watch:
    """This rank's watch over itself and the others; one a process, from meeting to leaving."""

    def __init__(self, rank: int, size: int, store: Store, *, timeout_s: float) -> None:
        self.rank, self.size, self.timeout_s = rank, size, timeout_s
        self.poll_s = min(1.0 + size / 100, timeout_s / 5)  # two small messages a rank and poll: rank 0 serves them all
        self._grace_s = min(_GRACE_S, timeout_s)
        self._store = store.clone()  # type: ignore[attr-defined]  # a connection of our own: collectives wait on the first
        self._trainer: Trainer | None = None
        self._over = threading.Event()
        self._explained = threading.Event()
        self._trouble = threading.Event()
        self._tick = self._silent = 0
        self._lost: Exception | None = None
        self._main = threading.get_ident()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """From now on."""
        for work in (self._talk, self._judge):
            thread = threading.Thread(target=work, name=f"leyden{work.__name__}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """The ranks part; nobody is to be ended any more.

        A thread that comes back from the store while the interpreter goes down takes the process with it (SIGABRT).
        """
        self._over.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_GRACE_S)

    def follow(self, trainer: Trainer | None) -> None:
        """Whose place to tell: the Trainer whose call runs, None between calls."""
        self._trainer = trainer

    def explain(self, error: BaseException) -> RankError | None:
        """Tell the others of an error that leaves a call; what to raise instead where another rank is its cause."""
        mine = not (isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST))
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(Exception):
            self._speak(Words("failed" if mine else "waits", self._place(), text))
        self._explained.set()
        if mine:
            return None
        found, _ = self._report() if self._lost is None else self._alone()
        return RankError(asked=f"{self.size} ranks ran together", found=found, do=_DO)

    # The two threads --------------------------------------------------------------------------------------------------

    def _talk(self) -> None:
        try:
            while not self._over.wait(self.poll_s):
                self._tick += 1
                beat = Beat(self._tick, _count_collectives(), self._place())
                self._store.set(f"beat/{self.rank}", json.dumps(beat))
                if self._store.check(["trouble"]):
                    self._trouble.set()
                self._silent = 0
        except Exception as error:
            self._lost = error

    def _judge(self) -> None:
        """Polls are counted rather than seconds: a laptop that slept, or a job that was stopped, has not waited."""
        last, waited = self._state(), 0
        while not self._over.wait(self.poll_s):
            self._silent += 1
            waited = waited + 1 if (now := self._state()) == last else 0
            last = now
            if self._trouble.is_set():
                return self._end(self._report, self._grace_s)
            silent = self._silent * self.poll_s > self.timeout_s
            if self._trainer is not None and (self._lost is not None or silent):
                return self._end(self._alone, 0.0 if silent else self._grace_s)
            if self._lost is None and waited * self.poll_s >= self.timeout_s and self._is_kept_waiting():
                with contextlib.suppress(Exception):
                    self._speak(Words("waits", self._place(), ""))
                return self._end(self._report, 0.0)
        return None

    def _state(self) -> tuple[int, str]:
        return _count_collectives(), self._place()

    def _is_kept_waiting(self) -> bool:
        with contextlib.suppress(Exception):
            mine = _count_collectives()
            return any(beat.collectives < mine for beat in self._beats().values())
        return False

    def _end(self, describe: Callable[[], tuple[str, bool]], grace_s: float) -> None:
        """Give the main thread some time to end with an error of its own, then end the process."""
        if describe == self._report:  # else the store would not answer
            with contextlib.suppress(Exception):
                if not self._store.check([f"words/{self.rank}"]):
                    self._speak(Words("stack", self._place(), self._stack()))
        text, is_speaker = describe()
        if self._explained.wait(grace_s) or self._over.is_set():
            return
        said = text if is_speaker else "the output of the first rank says why"
        print(f"leyden: rank {self.rank} ends: {said}", file=sys.stderr, flush=True)
        stays = [work() for work in _before_end]
        if not any(stays):
            os._exit(1)

    # What is said -----------------------------------------------------------------------------------------------------

    def _speak(self, words: Words) -> None:
        self._store.set(f"words/{self.rank}", json.dumps(words))
        self._store.set("trouble", str(self.rank))

    def _beats(self) -> dict[int, Beat]:
        ranks = [rank for rank in range(self.size) if self._store.check([f"beat/{rank}"])]
        return {rank: Beat(*json.loads(self._store.get(f"beat/{rank}"))) for rank in ranks}

    def _report(self) -> tuple[str, bool]:
        """Last words of all, once all have spoken or the time for it is over; and whether to print them here."""
        deadline, words = time.monotonic() + self._grace_s, dict[int, Words]()
        try:
            while time.monotonic() < deadline and len(words) < self.size:
                time.sleep(self.poll_s / 5)
                for rank in set(range(self.size)) - set(words):
                    if self._store.check([f"words/{rank}"]):
                        words[rank] = Words(*json.loads(self._store.get(f"words/{rank}")))
            return describe(self.size, words, self._beats()), self.rank == min(words, default=self.rank)
        except Exception:
            return self._alone()

    def _alone(self) -> tuple[str, bool]:
        lost = "rank 0, where the ranks met, has gone or does not answer"
        return f"{lost}; rank {self.rank} was at {self._place()}:\n{self._stack()}", True

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._main)
        return "".join(traceback.format_stack(frame)[-_FRAMES:]) if frame else ""

    def _place(self) -> str:
        trainer = self._trainer
        if trainer is None:
            return "no call of the Trainer"
        place = f"step {trainer.global_step} (epoch {trainer.current_epoch})"
        fit, book = trainer._fit, getattr(trainer.model, "_book", None)
        if fit is not None and book is fit.book:
            return f"step {trainer.global_step} (epoch {trainer.current_epoch}, batch {fit.batch})"
        return place if book is None else f"{place}, batch {book.step} of an evaluation"


_DO = "Mend what that rank shows; LEYDEN_RANK_TIMEOUT_S sets how long ranks wait for each other."


def describe(size: int, words: dict[int, Words], beats: dict[int, Beat]) -> str:
    """Which ranks are the cause, with their last words; then one line for each of the others.

    >>> beats = {0: Beat(9, 21, "step 5"), 1: Beat(9, 20, "step 5")}
    >>> print(describe(2, {0: Words("waits", "step 5", "")}, beats))
    rank 1 gives no sign of life (killed, stopped, lost with its node, or stuck in native code); last seen at step 5
    rank 0 waited at step 5
    """
    fewest = min((beat.collectives for beat in beats.values()), default=0)
    most = max((beat.collectives for beat in beats.values()), default=0)
    failed = any(one.cause == "failed" for one in words.values())
    causes, others = [], []
    for rank in range(size):
        place = beats[rank].place if rank in beats else "its start"
        if rank not in words:
            causes.append(
                f"rank {rank} gives no sign of life (killed, stopped, lost with its node, or stuck in native code); "
                f"last seen at {place}"
            )
        elif words[rank].cause == "failed":
            causes.append(f"rank {rank} failed at {words[rank].place}:\n{words[rank].text}")
        elif rank in beats and beats[rank].collectives == fewest < most and not failed:
            causes.append(f"rank {rank} hangs at {words[rank].place}, while others wait for it:\n{words[rank].text}")
        else:
            others.append(f"rank {rank} waited at {words[rank].place}")
    return "\n".join(one.rstrip() for one in causes + others[:8])


def _count_collectives() -> int:
    """How many this rank has begun, so far as the group counts them: not all builds and backends do."""
    try:
        return int(dist.group.WORLD._get_sequence_number_for_group())  # type: ignore[union-attr]
    except Exception:
        return 0


_watch: Watch | None = None
_before_end: list[Callable[[], bool]] = []


def before_end(work: Callable[[], bool]) -> None:
    """Have this done before the watch ends the process; True keeps the process, as a notebook is kept."""
    if work not in _before_end:
        _before_end.append(work)


def start(rank: int, size: int, store: Store, *, timeout_s: float) -> None:
    """Watch over this process's world, until `stop`."""
    global _watch  # noqa: PLW0603  one world a process
    _watch = Watch(rank, size, store, timeout_s=timeout_s)
    _watch.start()


def stop() -> None:
    """End the watch, if there is one."""
    global _watch  # noqa: PLW0603
    if _watch is not None:
        _watch.stop()
    _watch = None


def follow(trainer: Trainer | None) -> None:
    """Tell the place of the Trainer whose call runs; None between calls."""
    if _watch is not None:
        _watch.follow(trainer)


def explain(error: BaseException | None) -> RankError | None:
    """Tell the other ranks of an error that leaves a call; what to raise instead where another rank is its cause."""
    if _watch is None or error is None:
        return None
    return _watch.explain(error)

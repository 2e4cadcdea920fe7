"""Which batch is next, and what is being done for those after it?

A job is one batch on its way: its bytes are asked of the tiers, a worker makes it, the caller gets it, in order. There
is no thread: all moves on within `next`, which hands out work for the time until it is called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Final, final

import numpy as np

from leyden.core.errors import LeydenError
from leyden.data.errors import DataError
from leyden.data.plan.base import Picks
from leyden.data.sources.base import Ints
from leyden.data.tiers.base import Local, Tiers
from leyden.data.workers.crew import Crew
from leyden.data.workers.messages import Answer, Task, Work
from leyden.data.workers.pool import Lost
from leyden.data.workers.ring import Bytes, Slots

_ASKED: Final = 24  # batches whose bytes are asked for, at least: the more, the less a slow request matters
_DEATHS: Final = 3  # of workers, over the same batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A batch, as arrays over `data`, and what it cost."""

    work: Work
    data: Bytes
    answer: Answer
    waited_s: float
    fetch_s: float  # of `waited_s`, until its bytes were on this host


@dataclass(slots=True)
class _Job:
    work: Work
    wanted: dict[int, Ints]
    ticket: int = -1
    files: dict[int, Local] | None = None
    ready_at: float = 0.0
    is_sent: bool = False
    task: Task | None = None  # once it is made
    answer: Answer | None = None
    error: LeydenError | None = None
    deaths: int = 0
    last_chance: bool = False


@final
class Stream:
    """Batches of a plan, in order, made ahead of time."""

    def __init__(
        self,
        *,
        tiers: Tiers,
        crew: Crew,
        slots: Slots,
        timeout_s: float,
        name: Callable[[Task, int], str],
    ) -> None:
        self._tiers, self._crew, self._pool, self._slots = tiers, crew, crew.pool, slots
        self._timeout_s, self._name = timeout_s, name
        self._is_awaited = False
        self._plan: Iterator[Work] = iter(())
        self._jobs: dict[int, _Job] = {}  # in order
        self._head = self._next = 0
        self._tickets: dict[int, int] = {}  # number of job
        self._ticket = 0
        crew.pool.watch(tiers.fileno())

    def begin(self, plan: Iterator[Work], shards: Iterator[int]) -> None:
        """From now on these batches; `shards` is the order in which shards will be used. Former work is dropped."""
        self._tiers.drop()
        self._tickets.clear()
        for job in self._jobs.values():
            if job.task is not None:
                self._slots.give(job.task.slot)
        self._jobs.clear()
        self._plan, self._head = plan, self._next
        self._tiers.follow(shards)
        self._plan_ahead()

    def has_next(self) -> bool:
        """Whether the next batch is made already."""
        head = self._jobs.get(self._head)
        return head is not None and head.answer is not None

    def next(self) -> Made:
        """The next batch of a plan that has no end.

        Raises what went wrong with it, and DataError after `timeout_s` in which nothing moved.
        """
        began = moved = perf_counter()
        self._plan_ahead()
        head = self._jobs[self._head]
        self._is_awaited = True
        self._move(0)
        while head.answer is None and head.error is None:
            left = moved + self._timeout_s - perf_counter()
            if left <= 0:
                raise self._explain(head)
            if self._move(left):
                moved = perf_counter()
        self._is_awaited = False
        return self._hand_out(head, began)

    def _hand_out(self, job: _Job, began: float) -> Made:
        if job.error is not None:
            raise job.error
        assert job.answer is not None
        assert job.task is not None
        del self._jobs[self._head]
        self._head += 1
        data = self._slots.hand_out(job.task.slot, job.answer.size)
        self._dispatch()
        now = perf_counter()
        fetch_s = min(max(job.ready_at - began, 0.0), now - began)
        return Made(work=job.work, data=data, answer=job.answer, waited_s=now - began, fetch_s=fetch_s)

    def _plan_ahead(self) -> None:
        ahead = self._crew.ahead
        asked = max(_ASKED, 2 * ahead)
        if self._next >= self._head + asked - ahead // 2:  # several at once cost little more than one
            return
        while self._next < self._head + asked:
            try:
                work = next(self._plan)
            except LeydenError as error:  # raised when it is its turn
                self._jobs[self._next] = _Job(_NOTHING, {}, error=error)
            except StopIteration:  # after such an error
                return
            else:
                self._jobs[self._next] = job = _Job(work, _by_shard(work.picks))
                self._ask(self._next, job)
            self._next += 1

    def _ask(self, number: int, job: _Job) -> None:
        self._ticket += 1
        job.ticket = self._ticket
        self._tickets[self._ticket] = number
        self._tiers.ask(self._ticket, job.wanted)

    def _move(self, timeout_s: float) -> bool:
        """Take in what is there, waiting for it at most so long, and send what can be sent. Whether anything came."""
        made, lost = self._pool.wait(timeout_s)
        for task, answer in made:
            self._made(task, answer)
        for each in lost:
            self._bury(each)
        came = self._arrived() or bool(made)
        if not self.has_next():  # else `_hand_out` does it
            self._dispatch()
        return came

    def _arrived(self) -> bool:
        answers = self._tiers.answers()
        for ticket, found in answers:
            job = self._jobs.get(self._tickets.get(ticket, -1))
            if job is None:
                continue
            if isinstance(found, LeydenError):
                job.error = found
            else:
                job.files, job.ready_at = found, perf_counter()
        return bool(answers)

    def _dispatch(self) -> None:
        for number in range(self._head, min(self._head + self._crew.ahead, self._next)):
            job = self._jobs[number]
            if job.is_sent or job.files is None or job.error is not None:
                continue
            worker = self._pool.room(is_awaited=self._is_awaited and number == self._head)
            if worker is None:
                return
            job.is_sent = True
            slot = self._slots.take()
            task = Task.of(job.work, number=number, slot=slot, files=job.files, last_chance=job.last_chance)
            worker.send(task)

    def _made(self, task: Task, answer: Answer) -> None:
        job = self._jobs.get(task.number)
        if answer.error is None:
            self._crew.saw(answer)
        if job is None or answer.error is not None:
            self._slots.give(task.slot)
        if job is None:
            return
        del self._tickets[job.ticket]
        self._tiers.done(job.ticket)
        if answer.corrupt is not None and not job.last_chance:
            job.last_chance = not self._tiers.discard(answer.corrupt, task.files[answer.corrupt][0])
            job.files, job.is_sent = None, False
            self._ask(task.number, job)
        elif answer.error is not None:
            job.error = answer.error
            if answer.trace:
                job.error.add_note(answer.trace)
        else:
            job.answer, job.task = answer, task

    def _bury(self, lost: Lost) -> None:
        """A dead worker's tasks are done again, by others, in other slots or these: it writes no more."""
        for task in lost.tasks:
            self._slots.give(task.slot)
            job = self._jobs.get(task.number)
            if job is None:
                continue
            job.is_sent = False
            job.deaths += task.number == lost.at
            if job.deaths >= _DEATHS:
                job.error = DataError(
                    asked=f"{self._name(task, lost.row)} was asked for",
                    found=f"{job.deaths} workers died over its batch, the last one: {lost.why}",
                    do="Look at this sample and at what the transform does with it in C; see also the memory left.",
                )

    def _explain(self, head: _Job) -> DataError:
        """What has been waited for."""
        asked = f"a batch of epoch {head.work.epoch} was asked for"
        if head.files is None:
            why = self._tiers.why() or "the bytes have not come"
            return DataError(asked=asked, found=f"{why} for {self._timeout_s:.0f} s", do="Look at the storage.")
        words = []
        for worker in self._pool.workers:
            doing = worker.doing()
            if doing is not None:
                words.append(
                    f"{worker.name()} has been at {self._name(doing[0], doing[1].row)} for {doing[1].since_s:.0f} s"
                )
            else:
                words.append(f"{worker.name()} is {'idle' if worker.is_ready else 'still starting'}")
        return DataError(
            asked=asked,
            found=f"nothing has moved for {self._timeout_s:.0f} s: {'; '.join(words)}",
            do="Look at what the transform does with this sample, or give a larger timeout_s.",
        )


def _by_shard(picks: Picks) -> dict[int, Ints]:
    """The samples wanted of each shard, in their order."""
    found: dict[int, list[int]] = {}
    for shard, sample in zip(picks.shards.tolist(), picks.samples.tolist(), strict=True):
        found.setdefault(shard, []).append(sample)
    return {shard: np.array(samples) for shard, samples in found.items()}


_NOTHING: Final = Work(
    epoch=0, start=0, stop=0, after=0, is_last=False, picks=Picks(np.empty(0, np.int64), np.empty(0, np.int64))
)

"""A world for random lives of jobs: processes that exist in memory only, a server that can crash between two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

from sqlalchemy import Connection

from leyden.engines.base import AttemptRef, Ending, Engine, Launch, Life, Machine, Outcome, Sighting
from leyden.jobs.store import Store

T = TypeVar("T")


class Crash(BaseException):
    """The server dies here."""


@final
@dataclass
class Fuse:
    """Burns down with every call of the store and the engine."""

    left: int | None = None

    def around(self, effect: Callable[[], T]) -> T:
        """Crash instead of the effect, or right after it, where the fuse ends there."""
        self._burn()
        result = effect()
        self._burn()
        return result

    def _burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Crash


@final
@dataclass
class Fused:
    """A store as the Keeper knows it, with a fuse on every write."""

    store: Store
    fuse: Fuse

    def read(self, work: Callable[[Connection], T]) -> T:
        return self.store.read(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        return self.fuse.around(lambda: self.store.write(work))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        return self.fuse.around(lambda: self.store.submit(work))


@dataclass
class Attempt:
    """What the world knows of one attempt."""

    uid: str
    fence: int
    devices: tuple[str, ...]
    alive: bool = False
    closed: bool = False  # it can never start any more
    started_at: float | None = None
    asked: str = ""  # "stop" or "save"
    outcome: Outcome | None = None
    leftovers: int = 0  # times that its processes outlive a kill


@final
@dataclass
class World(Engine):
    """Outlives every server. Who is where is decided by the test."""

    machine: Machine
    fuse: Fuse = field(default_factory=Fuse)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    hidden: bool = False  # nothing can be looked at just now
    broken: bool = False  # nothing can be launched just now
    known: dict[str, Attempt] = field(default_factory=dict)  # prepared, by engine_ref

    def inventory(self) -> Machine:
        return self.machine

    def launch(self, launch: Launch) -> None:
        self.fuse.around(lambda: self._launch(launch))

    def _launch(self, launch: Launch) -> None:
        if self.broken:
            raise OSError("no space left on device")
        if launch.engine_ref in self.attempts:  # running, over, or closed before it began
            return
        self.attempts[launch.engine_ref] = one = self.known[launch.engine_ref]
        one.alive = True

    def poll(self, refs: Sequence[AttemptRef]) -> dict[str, Sighting]:
        if self.hidden:
            return {}
        return {ref.engine_ref: self._seen(ref.engine_ref) for ref in refs}

    def _seen(self, ref: str) -> Sighting:
        one = self.attempts.get(ref)
        if one is None:
            return Sighting(life=Life.UNKNOWN)
        life = Life.ALIVE if one.alive else Life.GONE
        return Sighting(life=life, pid=7 if one.started_at else None, started_at=one.started_at, outcome=one.outcome)

    def stop(self, ref: AttemptRef, grace_s: float, *, save: bool = False) -> None:
        assert grace_s > 0
        if one := self.attempts.get(ref.engine_ref):
            one.asked = "save" if save and one.asked != "stop" else "stop"

    def release(self, ref: AttemptRef) -> bool:
        one = self.attempts.setdefault(ref.engine_ref, Attempt(uid="", fence=0, devices=(), closed=True))
        if one.leftovers:
            one.leftovers -= 1
            return False
        one.alive = False
        return True

    def prepare(self, job: Any, attempt: Any) -> Launch:
        """What the Keeper asks for before a launch."""
        self.known[attempt.engine_ref] = Attempt(uid=attempt.uid, fence=attempt.fence, devices=attempt.devices)
        return Launch(
            engine_ref=attempt.engine_ref, job_id=job.id, number=attempt.number, uid=attempt.uid, fence=attempt.fence,
            token="", api_url="", argv=("true",), run_dir="/", environ={}, vars={},
        )  # fmt: skip

    def running(self) -> list[Attempt]:
        """Those with processes."""
        return [one for one in self.attempts.values() if one.alive]

    def busy(self) -> list[str]:
        """The device of every process, left over or not."""
        return [device for one in self.attempts.values() if one.alive or one.leftovers for device in one.devices]

    @staticmethod
    def end(one: Attempt, kind: Ending, at: float) -> None:
        """The worker writes its outcome once every process has ended."""
        one.alive = False
        code = {Ending.SUCCEEDED: 0, Ending.FAILED: 1, Ending.REQUEUE: 75}.get(kind)
        one.outcome = Outcome(kind=kind, message=f"it {kind}", ended_at=at, started_at=one.started_at, exit_code=code)

"""What belongs to one running server? The one place where the store and an engine are wired together."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from leyden.core.home import Home
from leyden.engines.base import Machine
from leyden.engines.gpus import FAKE_GPUS
from leyden.engines.local import LocalEngine
from leyden.jobs.failpoint import Failpoint
from leyden.jobs.keeper import Keeper
from leyden.jobs.placement import Size
from leyden.jobs.rows import all_attempts
from leyden.jobs.snapshot import Decisions, Snapshot
from leyden.jobs.store import Store
from leyden.jobs.transition import Changed
from leyden.server.changes import Changes
from leyden.server.files.keeping import Files
from leyden.server.launching import Launching
from leyden.server.prices import Prices
from leyden.server.settings import LOCAL, Settings
from leyden.server.sweeps.sweeper import Sweeper
from leyden.server.tokens import Tokens
from leyden.server.tracking.archive import Archive
from leyden.server.tracking.tracker import Tracker

PASS_EVERY_S = 1.0


@final
class KeeperThread(threading.Thread):
    """Makes passes: once a second, and at once when woken."""

    def __init__(self, step: Callable[[], bool]) -> None:
        super().__init__(name="keeper", daemon=True)
        self._step = step
        self._wake = threading.Event()
        self._closed = threading.Event()

    def wake(self) -> None:
        """Something happened that a pass should look at."""
        self._wake.set()

    def close(self) -> None:
        """End after the pass that runs."""
        self._closed.set()
        self._wake.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Until closed."""
        again = True
        while not self._closed.is_set():
            if not again:
                self._wake.wait(PASS_EVERY_S)
            self._wake.clear()  # before looking: what happens from here on asks for another pass
            try:
                again = self._step()
            except Exception:  # e.g. the disk is full: the next pass may find it mended
                traceback.print_exc()
                again = False


@final
@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything requests need."""

    home: Home
    store: Store
    machine: Machine
    tokens: Tokens
    changes: Changes
    keeper: KeeperThread
    prices: Prices
    settings: Settings
    files: Files  # that jobs leave
    tracker: Tracker  # of runs
    sweeper: Sweeper  # of sweeps
    warm: Callable[[], int]  # how many preloaded processes stand ready
    last_pass: Callable[[], tuple[Snapshot, Decisions] | None]  # of the scheduler
    clock: Callable[[], float]
    started_at: float = field(default_factory=time.time)

    @classmethod
    def open(
        cls,
        home: Home,
        *,
        url: str,
        stop_grace_s: float,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Services:
        """Open the store and know the machine; nothing runs yet."""
        settings = settings or Settings()
        fake = {FAKE_GPUS: str(settings.fake_gpus)} if settings.fake_gpus else {}
        changes, tokens, engine = Changes(), Tokens(home), LocalEngine({**os.environ, **fake}, plain=True)
        where = home.database if settings.database == LOCAL else settings.database
        failpoint = Failpoint.parse(os.environ.get("LEYDEN_FAILPOINT", ""))
        sweeper = Sweeper()

        def committed(changed: Changed) -> None:
            changes.ring(changed)
            sweeper.wake(changed)

        store = Store(where, on_commit=committed, failpoint=failpoint)
        machine = engine.inventory()
        prices = Prices(gpu_hour=settings.price_gpu_hour, cpu_hour=settings.price_cpu_hour)
        launching = Launching(
            home=home,
            url=url,
            tokens=tokens,
            stop_grace_s=stop_grace_s,
            prices=prices,
            attempts=lambda job_id: store.read(lambda connection: all_attempts(connection, job_id)),
            trial=sweeper.launch_of,
        )
        files = Files.open(home, store, settings, clock)
        archive = Archive(home.runs, files.blobs, files.busy)
        keeper = Keeper(
            store=store,
            engine=engine,
            machine=machine,
            runs=home.runs,
            prepare=launching.prepare,
            clock=clock,
            stop_grace_s=stop_grace_s,
        )
        return cls(
            home=home,
            store=store,
            machine=machine,
            tokens=tokens,
            changes=changes,
            keeper=KeeperThread(keeper.step),
            prices=prices,
            settings=settings,
            files=files,
            tracker=Tracker(home, store, prices, clock, lambda: changes.commits, archive),
            sweeper=sweeper,
            warm=lambda: engine.standing,
            last_pass=lambda: keeper.last,
            clock=clock,
        )

    @property
    def token(self) -> str:
        """What clients of the owner show."""
        return self.tokens.server

    def room(self, size: Size) -> int:
        """How many jobs of that size the machine runs at a time."""
        if size.gpus:
            return max(1, sum(size.takes(gpu) for gpu in self.machine.gpus) * size.share // size.gpus)
        return max(1, self.machine.cpus // size.cpus)

    def start(self) -> None:
        """Begin to make passes. Call it on the event loop."""
        self.changes.attach()
        self.sweeper.open(self)
        self.keeper.start()
        self.files.keeping.start()
        self.tracker.start()

    def close(self) -> None:
        """Let go of everything; jobs go on."""
        self.keeper.close()
        self.sweeper.close()
        self.files.keeping.close()
        self.tracker.close()
        self.store.close()

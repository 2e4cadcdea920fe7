"""How do attempts run on the machine the server runs on?

One worker process an attempt, in its own session, so that it outlives the server. All state lies in the attempt's
folder; kept in memory are only the workers started by this server, some of which must be reaped, and its nurseries.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

import psutil

from leyden.engines import record
from leyden.engines.base import AttemptRef, Engine, Launch, Life, Machine, Sighting
from leyden.engines.gpus import FAKE_GPUS, machine_gpus
from leyden.engines.leftovers import kill_leftovers
from leyden.engines.nursery import ANSWER_S, Nurseries, worker_environ

FORCE_AFTER_S = 3.0  # beyond the grace: the worker needs a moment to kill and to write the outcome


@final
class LocalEngine(Engine):
    """Runs attempts as processes of this machine."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,  # how long a preloaded process is waited for
        *,
        plain: bool = False,  # whether workers of all kinds of jobs are to be forked, too
    ) -> None:
        self._environ = environ
        self._monotonic = monotonic
        self._nurseries = Nurseries(environ, monotonic, answer_s, plain=plain)
        self._children: dict[str, subprocess.Popen[bytes] | _Born] = {}
        self._stop_since: dict[str, float] = {}

    def inventory(self) -> Machine:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = machine_gpus(self._environ)
        if self._environ.get(FAKE_GPUS):
            cpus = max(cpus, len(gpus))  # it is GPUs that jobs are to wait for, also on a laptop with two CPUs
        memory_bytes = psutil.virtual_memory().total
        return Machine(node=socket.gethostname(), cpus=cpus, memory_bytes=memory_bytes, gpus=gpus)

    def close(self) -> None:
        """End what stands ready for the next jobs; what runs goes on. The end of the server's process does the same."""
        self._nurseries.close()

    def warm(self, launch: Launch) -> bool:
        """Whether such an attempt would be forked if it were launched now."""
        return self._nurseries.ready(launch)

    @property
    def standing(self) -> int:
        """How many preloaded processes stand ready; from any thread."""
        return self._nurseries.standing

    def launch(self, launch: Launch) -> None:
        if launch.engine_ref in self._children or record.read_worker(launch.folder):
            return
        record.write_launch(replace(launch, fake_gpus=bool(self._environ.get(FAKE_GPUS))))
        if worker := self._nurseries.bear(launch):
            self._children[launch.engine_ref] = _Born(worker)
            return
        with (launch.folder / record.LOG).open("ab") as log:
            self._children[launch.engine_ref] = subprocess.Popen(
                [sys.executable, "-P", "-m", "leyden.worker", str(launch.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",  # or it would keep the folder the server was started in from being unmounted
                env=worker_environ(self._environ),
            )

    def poll(self, refs: Sequence[AttemptRef]) -> dict[str, Sighting]:
        seen: dict[str, Sighting] = {}
        for ref in refs:
            try:
                seen[ref.engine_ref] = self._sight(ref)
            except (OSError, ValueError, KeyError, TypeError):  # e.g. somebody edited worker.json
                traceback.print_exc()
        return seen

    def stop(self, ref: AttemptRef, grace_s: float, *, save: bool = False) -> None:
        since = self._stop_since.setdefault(ref.engine_ref, self._monotonic())
        force = self._monotonic() - since > grace_s + FORCE_AFTER_S
        if pid := self._worker_pid(ref):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if force else record.SAVE if save else signal.SIGTERM)

    def release(self, ref: AttemptRef) -> bool:
        if not record.read_worker(ref.folder):
            record.claim(ref.folder, None)  # a worker that was started but has not yet claimed finds it closed
        if self._worker_pid(ref):
            return False
        clean = record.read_outcome(ref.folder) or kill_leftovers(record.read_worker(ref.folder), ref.engine_ref)
        if not clean:
            return False
        self._children.pop(ref.engine_ref, None)
        self._nurseries.forget(ref.engine_ref)
        self._stop_since.pop(ref.engine_ref, None)
        return True

    def _sight(self, ref: AttemptRef) -> Sighting:
        alive = self._worker_pid(ref) is not None  # asked first: a worker that ends in between has left its outcome
        file, outcome = record.read_worker(ref.folder), record.read_outcome(ref.folder)
        if not file and not alive and ref.engine_ref not in self._children:
            return Sighting(life=Life.UNKNOWN)
        if alive and file and file.ranks:
            self._nurseries.look(ref.engine_ref, ref.folder, file.ranks[0].pid)
        return Sighting(
            life=Life.ALIVE if alive else Life.GONE,
            pid=file.ranks[0].pid if file and file.ranks else None,
            started_at=file.started_at if file else None,
            doing=file.doing if file else "",
            outcome=outcome,
        )

    def _worker_pid(self, ref: AttemptRef) -> int | None:
        """The pid of the attempt's worker if it lives."""
        child = self._children.get(ref.engine_ref)
        if child and child.poll() is None:
            return child.pid
        file = record.read_worker(ref.folder)
        return file.worker.pid if file and file.worker and record.lives(file.worker) else None


@final
class _Born:
    """A worker that a nursery bore: not this process's child, so known by when it was born."""

    def __init__(self, process: record.Process) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """None while it lives."""
        return None if record.lives(self._process) else 0

"""How does a worker come to run within milliseconds? It is forked off a process that has imported all beforehand.

Such a process, a nursery, has torch imported too, so that ranks can be forked as well, and belongs to one interpreter
and one set of inborn variables. A plain one bears workers alone, for all other jobs: their ranks are new programs. It
comes with the third launch, as starting a worker anew costs 70 ms of CPU. Nurseries hang on a socket of the server and
end with it; what they bore goes on. Nothing depends on them: whoever gets no answer starts a worker the slow way, and
where both start after all, the claim on worker.json lets one go on.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import final

import psutil

from leyden.engines import record
from leyden.engines.base import Launch
from leyden.engines.inborn import THREADS, inborn

ANSWER_S = 0.05  # a fork takes 5 ms; who does not answer by then is passed over
STUCK_S = 300.0  # from there on it never will: importing torch from a cold network disk may take a minute
MOST = 2  # nurseries at a time; each holds some 150 MB, the plain one beside them 20
PLAIN_AFTER = 3  # launches: most servers of one person start a job or two and then idle
SPARE_BYTES = 2 << 30  # free memory below which none is started
ROOM = 2048  # for titles, which are written over the command line
REF_ROOM = 128  # for the attempt's reference, written into the environment that others see
LOOKS = 60  # at a rank, a second apart, whether it has imported torch
Key = tuple[str, frozenset[tuple[str, str]]]


@final
class Nurseries:
    """Those of one server; one thread only, but for `standing`."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,
        *,
        plain: bool = False,
    ) -> None:
        self._environ, self._monotonic, self._answer_s = environ, monotonic, answer_s
        self._plain: _Nursery | None = None
        self._until_plain = PLAIN_AFTER if plain and sys.platform == "linux" else -1
        self._open: dict[Key, _Nursery] = {}  # the one used last comes last
        self._barren: set[Key] = set()  # interpreters that cannot: no Leyden there, or another one
        self._looks: dict[str, int] = {}

    def bear(self, launch: Launch) -> record.Process | None:
        """A worker for the attempt, whose attempt.json is there; None where it must be started the slow way."""
        pid = None
        if launch.warm and (nursery := self._open.pop(_key(launch), None)):
            self._open[_key(launch)] = nursery
            pid = nursery.bear(launch.folder, within_s=self._answer_s)
        if not pid and self._plain:
            pid = self._plain.bear(launch.folder, within_s=self._answer_s)
        self._sweep()
        return record.Process(pid=pid, birth=record.birth(pid) or "") if pid else None

    def look(self, engine_ref: str, folder: Path, rank: int) -> None:
        """Where this running rank, a process id, has imported torch, have a nursery for the next job of its kind."""
        looks = self._looks.setdefault(engine_ref, 0)
        if looks >= LOOKS or sys.platform != "linux":
            return
        self._looks[engine_ref] = LOOKS if (found := _has_torch(rank)) else looks + 1
        if found:
            self._want(record.read_launch(folder), rank)

    def forget(self, engine_ref: str) -> None:
        """The attempt is over: a time to prepare for the next ones."""
        self._looks.pop(engine_ref, None)
        self._until_plain -= self._until_plain > 0
        if not self._until_plain and not self._plain and _room():
            environ = {**worker_environ(self._environ)}
            self._plain = _Nursery(sys.executable, environ, self._monotonic, module="leyden.worker.plain")

    def _want(self, launch: Launch, rank: int) -> None:
        key = _key(launch)
        self._sweep()
        if not launch.warm or key in self._open or key in self._barren:
            return
        python, environ = _started_with(rank)
        if python != launch.argv[0] or not _room():
            return
        while len(self._open) >= MOST:
            self._open.pop(next(iter(self._open))).close()
        self._open[key] = _Nursery(python, _mixed(self._environ, environ), self._monotonic)

    def ready(self, launch: Launch) -> bool:
        """Whether one could bear this job now."""
        nursery = self._open.get(_key(launch))
        return nursery is not None and nursery.ready()

    @property
    def standing(self) -> int:
        """How many have imported all."""
        return sum(one.greeted and not one.over for one in [*self._open.values()])

    def close(self) -> None:
        """End all of them."""
        while self._open:
            self._open.popitem()[1].close()
        if self._plain:
            self._plain.close()
            self._plain = None

    def _sweep(self) -> None:
        for key, nursery in list(self._open.items()):
            nursery.ready()  # hears what it has to say
            if nursery.over:
                nursery.close()
                del self._open[key]
                if nursery.barren:
                    self._barren.add(key)
        if self._plain and not self._plain.ready() and self._plain.over:
            self._plain.close()
            self._until_plain = -1 if self._plain.barren else 0
            self._plain = None


@final
class _Nursery:
    """One such process, and what it still has to answer."""

    def __init__(
        self,
        python: str,
        environ: Mapping[str, str],
        monotonic: Callable[[], float],
        module: str = "leyden.worker.nursery",
    ) -> None:
        self._monotonic, self._since, self._owes, self.greeted = monotonic, monotonic(), 1, False
        self.over = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps messages apart
        with theirs:
            self._process = subprocess.Popen(
                [python, "-m", module, str(theirs.fileno()), "-" * ROOM],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what it says of itself goes to the server's log
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
                env=environ,
            )

    @property
    def barren(self) -> bool:
        """Whether it ended without ever having been able to."""
        return self.over and not self.greeted

    def ready(self) -> bool:
        """Whether it has imported all and answered all it was asked."""
        while self._owes and not self.over and self._hear(0.0):
            pass
        if self._owes and self._monotonic() - self._since > STUCK_S:
            self.over = True
        return not self._owes and not self.over

    def bear(self, folder: Path, *, within_s: float) -> int | None:
        """The process id of a worker for that attempt; None where there is no answer in time."""
        if not self.ready():
            return None
        try:
            self._socket.send(os.fsencode(folder), socket.MSG_DONTWAIT)
        except OSError:
            self.over = True
            return None
        self._owes, self._since = 1, self._monotonic()
        answer = self._hear(within_s) or {}
        if refused := answer.get("refused"):
            print(f"a preloaded process ends: {refused}", file=sys.stderr)
            self.over = True
        return int(str(answer["pid"])) if "pid" in answer else None

    def close(self) -> None:
        """End it; workers that it bore go on."""
        self._socket.close()
        if code := self._process.poll():
            print(f"a preloaded process has ended with code {code}", file=sys.stderr)
        self._process.kill()
        self._process.wait()

    def _hear(self, timeout_s: float) -> dict[str, object] | None:
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.over = True
            return None
        self._owes -= 1
        answer: dict[str, object] = json.loads(data)
        if "version" in answer:
            self.greeted = answer["version"] == version("leyden")
            self.over = not self.greeted
        return answer


def _room() -> bool:
    return psutil.virtual_memory().available >= SPARE_BYTES


def _key(launch: Launch) -> Key:
    return launch.argv[0], frozenset(inborn({**launch.environ, **launch.vars}).items())


def worker_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker sees: the server's environment, but no words that are meant for a rank."""
    return {key: value for key, value in environ.items() if not key.startswith("LEYDEN_")}


def _mixed(server: Mapping[str, str], rank: Mapping[str, str]) -> dict[str, str]:
    """For a nursery: a worker's environment, but with what is inborn in ranks of that kind."""
    others = {key: value for key, value in worker_environ(server).items() if key not in {*inborn(server), *THREADS}}
    threads = {key: rank[key] for key in ("OMP_NUM_THREADS",) if key in rank}
    # OpenBLAS would start its threads when it is loaded; a rank has it start them later.
    return {**others, **inborn(rank), **threads, "OPENBLAS_NUM_THREADS": "1", record.REF_VARIABLE: "-" * REF_ROOM}


def _started_with(pid: int) -> tuple[str, dict[str, str]]:
    """The program and the environment of a process, as they were when it was started."""
    try:
        program = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0])
        words = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    except OSError:  # it is gone
        return "", {}
    return program, {key: value for key, is_there, value in (word.partition("=") for word in words) if is_there}


def _has_torch(pid: int) -> bool:
    try:
        return "/libtorch_python" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False

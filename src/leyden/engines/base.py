"""What must a place that runs attempts be able to do?

Five methods. The caller gives every attempt a unique `engine_ref` and a folder, both on record before the engine is
called; whatever the engine must remember it keeps in that folder, so that a restarted server finds everything again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU: `index` counts in PCI order over all GPUs of the node."""

    index: int
    name: str
    memory_bytes: int

    @property
    def device(self) -> str:
        """Its name in leases."""
        return f"gpu:{self.index}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one node has."""

    node: str
    cpus: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AttemptRef:
    """The engine's handle of one attempt."""

    engine_ref: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One attempt to be started: what attempt.json says, mode 600 as it holds the environment and a token."""

    engine_ref: str
    job_id: str
    number: int
    uid: str
    fence: int
    token: str
    api_url: str  # "" where the worker cannot reach the server, which then reads its files
    argv: tuple[str, ...]
    run_dir: str
    code: str = ""  # path of the captured tree's tar.gz, "" where the job runs in place
    cwd: str = ""  # relative to the captured tree; absolute where there is none
    submit_dir: str = ""
    environ: Mapping[str, str]
    vars: Mapping[str, str]
    env: str = "inherit"  # see leyden.core.environment
    envs: str = ""  # folder in which environments are kept
    python: str = ""  # the interpreter that the job was submitted for
    script: str = ""  # relative to cwd, "" where the job runs a command
    gpus: tuple[int, ...] = ()
    given_gpus: bool = False  # which ones is for the place to say: the worker finds them in CUDA_VISIBLE_DEVICES
    fake_gpus: bool = False  # they are only numbers, to try the platform with
    gpu_shared: bool = False  # others may have parts of its GPU
    cpus: int = 1
    ranks: int = 1
    distributed: bool = False  # whether ranks see torchrun's variables
    time_s: float | None = None
    cost_limit: float | None = None  # what all attempts of the job may cost …
    budget_s: float | None = None  # … and how long this one takes to reach that
    idle_s: float | None = None  # stopped when no GPU of it did anything for that long
    stall_s: float | None = None  # ended, as not the program's fault, after so long without progress
    stop_grace_s: float = 10.0
    save_signal: str = "TERM"  # what ranks are sent when they are to save a checkpoint and end
    save_grace_s: float = 30.0
    term_saves: bool = False  # the worker gets SIGTERM from the place, which wants the room: save, go on later
    resume_from: str = ""  # newest checkpoint of the attempts before, "" where there is none
    budget: str = ""  # how far a trial may train, in all: "epoch:3" or "step:300"; "" where nobody pauses it
    objective: str = ""  # the metric that its sweep compares trials by
    warm: bool = True  # whether it may be forked off a process that has torch imported already

    @property
    def folder(self) -> Path:
        """Where this attempt's files lie."""
        return attempt_folder(Path(self.run_dir), self.number)

    @property
    def ref(self) -> AttemptRef:
        """The handle to ask about it later."""
        return AttemptRef(engine_ref=self.engine_ref, folder=self.folder)


class Ending(StrEnum):
    """How an attempt can end; most have a final state of the same name."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    REQUEUE = "requeue"  # the program exited with 75: it wants to be started again
    PAUSED = "paused"  # the program stopped at a rung, its checkpoint saved
    INFRA = "infra"  # not the program's fault: the worker died, the code could not be unpacked


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended. `exit_code` is that of the first rank that failed, 128+n after signal n."""

    kind: Ending
    message: str
    ended_at: float
    started_at: float | None = None  # when the ranks were started, if they were
    exit_code: int | None = None


class Life(StrEnum):
    """What an engine can say of an attempt."""

    UNKNOWN = "unknown"  # never launched, as far as the engine can tell
    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What the engine saw. With an outcome every process of the attempt has ended, whatever `life` says."""

    life: Life
    pid: int | None = None  # of rank 0, once it runs
    started_at: float | None = None  # when the ranks were started
    doing: str = ""  # what it does before that, if it takes long
    outcome: Outcome | None = None


class Engine(ABC):
    """A place that runs attempts."""

    @abstractmethod
    def inventory(self) -> Machine:
        """What there is to give away."""

    @abstractmethod
    def launch(self, launch: Launch) -> None:
        """Start the attempt; a second call with the same `engine_ref` does nothing. Raises OSError."""

    @abstractmethod
    def poll(self, refs: Sequence[AttemptRef]) -> dict[str, Sighting]:
        """What is known of each, by `engine_ref`; one that cannot be looked at just now is left out."""

    @abstractmethod
    def stop(self, ref: AttemptRef, grace_s: float, *, save: bool = False) -> None:
        """Ask the attempt to end and return at once; called again until it is gone, force follows by itself.

        `save`: it is to go on later, so its ranks get the signal and the grace that the launch names for that.
        """

    @abstractmethod
    def release(self, ref: AttemptRef) -> bool:
        """Kill what an ended attempt left behind; True once nothing of it runs, nor can ever start."""


def attempt_folder(run_dir: Path, number: int) -> Path:
    """The folder of attempt `number` within the run's."""
    return run_dir / "attempts" / f"a{number}"

"""What is asked of Slurm, in which words, and what do its answers mean?

Its text commands, with fields and separator named by us: their JSON has changed with each release. A command that fails
or does not answer says nothing about any job, so it raises; an answer without a job says little, so engine.py asks on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

SEPARATOR: Final = "\x1f"
TOKEN: Final = "leyden:"  # how a comment of ours begins
ANSWER_S: Final = 30.0
# States after which Slurm itself will do nothing more with a job: REQUEUED, SPECIAL_EXIT and the like are no such ones.
FINAL: Final = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
_AWAY: Final = ("down", "drain", "unk", "fail")  # how the states of nodes begin that take no jobs


class SlurmError(OSError):
    """Slurm refused, or did not answer; what it said."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A line of squeue."""

    id: str
    state: str
    reason: str  # Slurm's own, e.g. "Resources" or "QOSMaxGRESPerUser"
    comment: str
    nodes: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing of it will run again."""
        return self.state in FINAL


@final
class Slurm:
    """One cluster, by the commands that are installed here. `environ` says which, as SLURM_CONF does."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, answer_s: float = ANSWER_S) -> None:
        self._environ, self._answer_s = environ, answer_s

    def submit(self, options: Sequence[str], script: str, comment: str) -> str:
        """The new job's id. Raises SlurmError; a submit that did not answer may have been taken all the same."""
        words = ["sbatch", "--parsable", f"--comment={comment}", *options]
        return self._ask(words, script).strip().partition(";")[0]

    def queue(self) -> list[Seen]:
        """All of the user's jobs that Slurm remembers: that wait, that run, and for some minutes those that ended."""
        form = SEPARATOR.join(("%i", "%T", "%r", "%N", "%k"))
        lines = self._ask(["squeue", "--me", "--noheader", "--states=all", f"--format={form}"]).splitlines()
        found = []
        for line in lines:
            fields = line.split(SEPARATOR, 4)
            if len(fields) == 5:  # else a message among the lines
                job, state, reason, nodes, comment = fields
                found.append(Seen(id=job, state=state, reason=reason, nodes=nodes, comment=comment))
        return found

    def signal(self, job: str, name: str) -> None:
        """Send the signal to the batch script alone, which is our worker. Raises SlurmError."""
        self._ask(["scancel", "--batch", f"--signal={name}", job])

    def cancel(self, job: str) -> None:
        """End it, wherever it is; one that has ended stays as it is. Raises SlurmError."""
        self._ask(["scancel", job])

    def nodes(self) -> list[tuple[str, int, int, int]]:
        """Name, CPUs, bytes of memory and GPUs of each node that may run jobs. Raises SlurmError."""
        found = {}
        form = SEPARATOR.join(("%N", "%c", "%m", "%G", "%t"))
        for line in self._ask(["sinfo", "--noheader", "--Node", f"--format={form}"]).splitlines():
            name, cpus, megabytes, gres, state = line.split(SEPARATOR)
            if not state.startswith(_AWAY):
                found[name] = (name, int(cpus), int(megabytes) << 20, _gpus(gres))  # one of several partitions: again
        return sorted(found.values())

    def _ask(self, words: Sequence[str], text: str | None = None) -> str:
        try:
            done = subprocess.run(
                words, input=text or "", env=dict(self._environ), text=True, capture_output=True,
                timeout=self._answer_s, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise SlurmError(f"{words[0]} is not installed here") from None
        except subprocess.TimeoutExpired:
            raise SlurmError(f"{words[0]} gave no answer within {self._answer_s:g} s") from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise SlurmError(f"{words[0]}: {said}")
        return done.stdout


def _gpus(gres: str) -> int:
    """How many GPUs a node's generic resources have.

    >>> _gpus("gpu:a100:4(S:0-1),shard:8"), _gpus("gpu:2"), _gpus("(null)")
    (4, 2, 0)
    """
    counts = [one.partition("(")[0].split(":") for one in gres.split(",")]
    return sum(int(words[-1]) for words in counts if words[0] == "gpu" and words[-1].isdigit())

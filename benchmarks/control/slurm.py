"""How is Slurm measured beside Leyden? A real one of one node on this machine, set to react as fast as it can.

No accounting database, no cgroups, no prolog; the scheduler without the pauses it makes by default (batch_sched_delay,
sched_min_interval), its backfill every second, which is the least. A batch job is not started by its submit, but by the
next of these passes: within a second, where the defaults take two to three.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import final

from benchmarks.control.common import until

_CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
SlurmctldDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=10
KillWait=5
MaxJobCount=50000
MaxArraySize=20001
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
PriorityType=priority/multifactor
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus}
PartitionName=main Nodes=n1 Default=YES DefaultTime=60 MaxTime=1-0 State=UP
"""
_PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel")


def why_not() -> str:
    """Why no Slurm can run here; empty where it can."""
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "Slurm's daemons want root"
    return "" if socket.gethostbyname(socket.gethostname()).startswith("127.") else "the host's name is not loopback"


@final
class Slurm:
    """A cluster that runs: one node of so many CPUs, whether the machine has them or not."""

    def __init__(self, root: Path, cpus: int) -> None:
        self.root = root
        self._cpus = cpus
        self.environ = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
        self.port = _free_port()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Until its node is idle."""
        root = self.root
        for folder in ("state", "n1"):
            (root / folder).mkdir()
        (root / "munge.key").write_bytes(os.urandom(1024))
        (root / "munge.key").chmod(0o600)
        places = {"root": root, "host": socket.gethostname(), "port": self.port, "node_port": _free_port()}
        (root / "slurm.conf").write_text(_CONFIG.format(cpus=self._cpus, **places))
        files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._start(
            "munged", "--foreground", "--force", *(f"--{name}={root}/munge.{end}" for name, end in files.items())
        )
        until(lambda: (root / "munge.sock").exists() and self.answers("munge", "-n", "-S", f"{root}/munge.sock"))
        self.start_controller()
        self._start("slurmd", "-D", "-N", "n1")
        until(lambda: self.ask("sinfo", "-h", "-N", "-t", "idle"), pause_s=0.1)

    def start_controller(self) -> None:
        """Also after `kill_controller`."""
        self._start("slurmctld", "-D")

    def kill_controller(self) -> None:
        """SIGKILL."""
        one = self._daemons.pop("slurmctld")
        one.send_signal(signal.SIGKILL)
        one.wait()

    def ask(self, *words: str) -> str:
        """What a command of Slurm's prints; empty where it fails."""
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def answers(self, *words: str) -> bool:
        """Whether the command succeeds."""
        return subprocess.run(words, env=self.environ, capture_output=True, check=False).returncode == 0

    def submit(self, *options: str, command: str = "exec true") -> str:
        """By sbatch, one CPU; the job's id."""
        found = self.ask("sbatch", "--parsable", "-c1", "--output=/dev/null", *options, self.script(command))
        assert found.isdigit(), f"sbatch said {found!r}"
        return found

    def script(self, command: str) -> str:
        """A file with it."""
        path = self.root / f"job{abs(hash(command))}.sh"
        if not path.exists():
            path.write_text(f"#!/bin/sh\n{command}\n")
        return str(path)

    def queue(self) -> dict[str, str]:
        """Job → state, of all that wait or run."""
        return dict(line.split() for line in self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines())

    def emptied(self, *, pause_s: float = 0.05) -> None:
        """Wait until nothing waits or runs."""
        until(lambda: self.answers("squeue") and not self.ask("squeue", "-h"), pause_s=pause_s, deadline_s=180)

    def allocated_at(self, job: str) -> float:
        """When the controller says that it gave the job its node, to the millisecond."""
        told = re.compile(rf"^\[(\S+)\] .*(?:Allocate|Started) JobId={job}\b", re.MULTILINE)
        until(lambda: told.search((self.root / "slurmctld.log").read_text()), deadline_s=10)
        found = told.search((self.root / "slurmctld.log").read_text())
        assert found
        return datetime.fromisoformat(found[1]).timestamp()

    def stop(self) -> None:
        """Its jobs too."""
        if len(self._daemons) == 3:  # a job that still runs would outlive its daemons
            self.ask("scancel", "--user=root")
            self.emptied()
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            daemon.wait()

    def _start(self, *command: str) -> None:
        with (self.root / "daemons.log").open("ab") as log:
            self._daemons[command[0]] = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)


@contextmanager
def cluster(cpus: int = os.cpu_count() or 1) -> Iterator[Slurm | None]:
    """None, and a line that says why, where Slurm is not installed."""
    if why := why_not():
        print(f"without Slurm: {why}", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="leyden-slurm-") as folder:
        Path(folder).chmod(0o755)
        one = Slurm(Path(folder), cpus)
        try:
            one.start()
            yield one
        finally:
            one.stop()


def version() -> str:
    """As it calls itself."""
    return subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=False).stdout.strip()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

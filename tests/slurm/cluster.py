"""A real Slurm of two nodes on this machine, for tests: munged, slurmctld and a slurmd a node, on loopback, as root.

Each node has 8 CPUs and 2 GPUs, which are numbers only; jobs of the partition `urgent` preempt those of `spot`.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.train.launching import free_port

NODES = ("n1", "n2")
_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmdTimeout=5
SlurmctldTimeout=5
MessageTimeout=3
KillWait=5
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=8 RealMemory=1000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=8 RealMemory=1000 Gres=gpu:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n1,n2 Default=YES DefaultTime=5 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=spot Nodes=n1,n2 PriorityTier=1 State=UP
PartitionName=urgent Nodes=n1,n2 PriorityTier=10 State=UP
"""


def why_not() -> str:
    """Why no cluster can run here; empty where it can."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "Slurm's daemons want root"
    return "" if socket.gethostbyname(socket.gethostname()).startswith("127.") else "the host's name is not loopback"


class Cluster:
    """Its daemons by name: munged, slurmctld, n1, n2. `environ` is where sbatch and srun find it."""

    def __init__(self, root: Path) -> None:
        self.root, self._config = root, root / "slurm.conf"
        self.environ = {**os.environ, "SLURM_CONF": str(self._config)}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        (root / "state").mkdir()
        (root / "munge.key").write_bytes(os.urandom(1024))
        (root / "munge.key").chmod(0o600)
        for node in NODES:
            (root / node).mkdir()
        for number in range(2):  # Slurm hands out the numbers of devices only: this one is /dev/null
            os.mknod(root / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (root / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={root}/nvidia[0-1]\n")
        ports = {name: free_port() for name in ("port", "port1", "port2")}
        self._config.write_text(_CONFIG.format(root=root, host=socket.gethostname(), **ports))

    def start(self, name: str) -> None:
        """Have that daemon run."""
        config, root = str(self._config), self.root
        if name == "munged":
            ends = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            command = ["munged", "--foreground", "--force"]
            command += [f"--{option}={root}/munge.{end}" for option, end in ends.items()]
        elif name == "slurmctld":
            command = ["slurmctld", "-D", "-f", config]
        else:
            command = ["slurmd", "-D", "-N", name, "-f", config]
        with (root / "daemons.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """As a loss of power ends it; what it has started goes on."""
        self._daemons[name].kill()
        self._daemons.pop(name).wait()

    def wait_for(self, *command: str) -> None:
        """Until the command succeeds."""
        deadline = time.monotonic() + 90
        while subprocess.run(command, env=self.environ, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.root / "daemons.log").read_text()
            time.sleep(0.1)

    def wait_until_idle(self) -> None:
        """Until both nodes may take jobs."""
        self.wait_for("sh", "-c", 'test "$(sinfo -h -N -p main -t idle | wc -l)" = 2')

    def close(self) -> None:
        """End all; a job that still runs would outlive its daemons."""
        if len(self._daemons) == 4:
            subprocess.run(["scancel", "--user=root"], env=self.environ, check=False)
            self.wait_for("sh", "-c", 'test -z "$(squeue -h)"')
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            daemon.wait()


@contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """One that runs; it ends with the block."""
    one = Cluster(root)
    try:
        one.start("munged")
        one.wait_for("munge", "-n", "-S", str(root / "munge.sock"))
        for name in ("slurmctld", *NODES):
            one.start(name)
        one.wait_until_idle()
        yield one
    finally:
        one.close()

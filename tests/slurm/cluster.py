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


@contextmanager
def cluster(root: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and srun find the cluster; all daemons end with the block."""
    config, daemons = root / "slurm.conf", list[subprocess.Popen[bytes]]()
    (root / "state").mkdir()
    (root / "munge.key").write_bytes(os.urandom(1024))
    (root / "munge.key").chmod(0o600)
    ports = {name: free_port() for name in ("port", "port1", "port2")}
    for number in range(2):  # such a file must be a device's for Slurm to hand its number out: this one is /dev/null
        os.mknod(root / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (root / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={root}/nvidia[0-1]\n")
    config.write_text(_CONFIG.format(root=root, host=socket.gethostname(), **ports))
    environ = {**os.environ, "SLURM_CONF": str(config)}

    def start(*command: str) -> None:
        with (root / "daemons.log").open("ab") as log:
            daemons.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log))

    names = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    ends = ("munge.key", "munge.sock", "munge.pid", "munge.log", "munge.seed")
    try:
        start("munged", "--foreground", "--force", *(f"--{a}={root / b}" for a, b in zip(names, ends, strict=True)))
        _await(environ, root, "munge", "-n", "-S", str(root / "munge.sock"))
        start("slurmctld", "-D", "-f", str(config))
        for node in ("n1", "n2"):
            (root / node).mkdir()
            start("slurmd", "-D", "-N", node, "-f", str(config))
        _await(environ, root, "sh", "-c", 'test "$(sinfo -h -N -p main -t idle | wc -l)" = 2')
        yield environ
    finally:
        if len(daemons) == 4:  # a job that still runs would outlive its daemons
            subprocess.run(["scancel", "--user=root"], env=environ, check=False)
            _await(environ, root, "sh", "-c", 'test -z "$(squeue -h)"')
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def _await(environ: dict[str, str], root: Path, *command: str) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run(command, env=environ, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, (root / "daemons.log").read_text()
        time.sleep(0.1)

"""Which rank is this task of an `srun` step, and where do the ranks meet?

Slurm gives nearly the same variables to a batch script, a `salloc` shell and a task of srun; only the last is a launch.
What tells them apart are the step's own variables: SLURM_STEP_NUM_TASKS exists in steps alone. The job's name says
nothing (a job named "interactive" may well be launched by srun), nor does SLURM_NTASKS, which a batch script has too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIRST_PORT, _PORTS = 10_000, 20_000  # below the ports that Linux gives to clients, 32768 and up


def is_launch(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether srun started this process as one of several ranks.

    `terminal`: whether a person types into its standard input, as in a shell of `srun -n 2 --pty bash`, whose other
    tasks never come. A nested srun inherits SLURM_PTY_PORT, but no terminal.

    >>> is_launch({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, terminal=False)  # a batch script
    False
    >>> is_launch({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, terminal=True)
    True
    >>> is_launch({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PTY_PORT": "4000"}, terminal=True)
    False
    """
    several = "SLURM_PROCID" in environ and int(environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1
    return several and not (terminal and "SLURM_PTY_PORT" in environ)


def launcher_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would say to this task of a step; MASTER_ADDR and MASTER_PORT that the user has set stay.

    >>> step = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_STEP_NODELIST": "n[09-10]"}
    >>> task = {"SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_JOB_ID": "77"}
    >>> found = launcher_variables(step | task)
    >>> [found[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")]
    ['2', '3', '0', '1', '1']
    >>> found["MASTER_ADDR"], found["MASTER_PORT"]
    ('n09', '10077')
    """
    node = int(environ.get("SLURM_NODEID", "0"))
    counts = expand_counts(environ.get("SLURM_STEP_TASKS_PER_NODE", environ["SLURM_STEP_NUM_TASKS"]))
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    job, step = int(environ.get("SLURM_JOB_ID", "0")), int(environ.get("SLURM_STEP_ID") or 0)
    return {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": str(counts[min(node, len(counts) - 1)]),
        "NODE_RANK": str(node),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or expand_nodes(nodes)[0],
        # Steps of one job that run side by side are kept apart, and so are neighbours in an array.
        "MASTER_PORT": environ.get("MASTER_PORT") or str(_FIRST_PORT + (job + 101 * step) % _PORTS),
    }


def expand_nodes(nodes: str) -> list[str]:
    """The names in a node list.

    >>> expand_nodes("node[01-03,7],login")
    ['node01', 'node02', 'node03', 'node7', 'login']
    >>> expand_nodes("rack[1-2]-n[08,10]")
    ['rack1-n08', 'rack1-n10', 'rack2-n08', 'rack2-n10']
    """
    return [name for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes) for name in _expand(part)]


def expand_counts(counts: str) -> list[int]:
    """Tasks of each node.

    >>> expand_counts("2(x3),1")
    [2, 2, 2, 1]
    """
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in parts for _ in range(int(times or 1))]


def _expand(name: str) -> list[str]:
    match = re.match(r"([^\[]*)\[([^\]]*)\](.*)", name)
    if match is None:
        return [name]
    head, ranges, tail = match.groups()
    numbers: list[str] = []
    for one in ranges.split(","):
        first, _, last = one.partition("-")
        numbers += [f"{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)]
    return [head + number + rest for number in numbers for rest in _expand(tail)]

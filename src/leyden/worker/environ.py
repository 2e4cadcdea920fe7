"""Which variables does a rank see, and in which folder does it start?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from leyden.engines.base import Launch
from leyden.engines.record import REF_VARIABLE

# What a shell inside another job or torchrun would pass on; a rank that believed it would wait for peers for ever.
_STALE = frozenset(
    {
        *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "CUDA_VISIBLE_DEVICES"),
        *("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS"),
    }
)
_STALE_PREFIXES = ("LEYDEN_", "TORCHELASTIC_")
_KEPT = "LEYDEN_HOME"  # says where the user keeps things, not which job this is


def rank_environ(launch: Launch, ends_at: float | None) -> list[dict[str, str]]:
    """The environment of each rank: the submitter's, the job's own variables, then what only the platform knows.

    `ends_at`: when it must have ended, in seconds since 1970.
    """
    submitted = {
        key: value
        for key, value in launch.environ.items()
        if key == _KEPT or (key not in _STALE and not key.startswith(_STALE_PREFIXES))
    }
    threads = str(max(1, launch.cpus // launch.ranks))
    common = {
        "OMP_NUM_THREADS": threads,
        **submitted,
        **launch.vars,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash leaves stacks in the log, and so does a rank that hangs: stall.py
        # The numbers of leases are NVML's, which counts in PCI order; CUDA by itself counts fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if launch.given_gpus
        else ",".join(str(index) for index in launch.gpus),
        **_leyden(launch, ends_at),
    }
    if not launch.distributed:
        return [common]
    port = str(_free_port())
    return [
        {
            **common,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": str(launch.ranks),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(launch.ranks),
            "NODE_RANK": "0",
        }
        for rank in range(launch.ranks)
    ]


def working_folder(launch: Launch) -> Path:
    """Where ranks start: inside the unpacked tree, or in the folder the job was submitted from."""
    return Path(launch.run_dir) / "code" / launch.cwd if launch.code else Path(launch.cwd)


def _leyden(launch: Launch, ends_at: float | None) -> dict[str, str]:
    deadline = {} if ends_at is None else {"LEYDEN_DEADLINE": f"{ends_at:.3f}"}
    given = {
        "LEYDEN_RESUME_FROM": launch.resume_from,
        "LEYDEN_TRIAL_BUDGET": launch.budget,
        "LEYDEN_TRIAL_METRIC": launch.objective,
    }
    return {
        "LEYDEN_JOB_ID": launch.job_id,
        "LEYDEN_ATTEMPT": str(launch.number),
        "LEYDEN_FENCE": str(launch.fence),
        "LEYDEN_RUN_DIR": launch.run_dir,
        "LEYDEN_CHECKPOINT_DIR": os.path.join(launch.run_dir, "checkpoints"),  # noqa: PTH118
        "LEYDEN_API_URL": launch.api_url,
        "LEYDEN_TOKEN": launch.token,
        "LEYDEN_SUBMIT_DIR": launch.submit_dir,
        REF_VARIABLE: launch.engine_ref,
        **deadline,
        **{name: value for name, value in given.items() if value},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

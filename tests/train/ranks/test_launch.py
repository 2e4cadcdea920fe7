"""Do ranks start where they should: under Slurm, in a notebook, on several nodes, and nowhere else?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from leyden.core.errors import ConfigurationError
from leyden.train.plan import adopt_world
from leyden.train.ranks.world import World
from tests.conformance.until import until
from tests.slurm.cluster import cluster, why_not
from tests.train.launching import ROOT, Script

# What Slurm 22.05 gives, seen on a real cluster: a batch script of 4 tasks on 2 nodes, and a task of its srun.
BATCH = {
    "SLURM_JOB_ID": "31",
    "SLURM_JOB_NAME": "interactive",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "0",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
STEP = {
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
TASK = BATCH | STEP | {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
SHELL = BATCH | STEP | {"SLURM_PTY_PORT": "38529"}


def test_only_a_task_of_several_is_a_launch() -> None:
    """Not a batch script, a salloc shell or a shell of srun --pty; the job's name does not matter."""
    world = World.from_environ(TASK, terminal=False)
    assert world == World(rank=3, size=4, local_rank=1, local_size=2, launcher="srun")
    assert World.from_environ(BATCH, terminal=False) is None
    salloc = {name: value for name, value in BATCH.items() if name not in ("SLURM_PROCID", "SLURM_LOCALID")}
    assert World.from_environ(salloc, terminal=True) is None
    assert World.from_environ(SHELL, terminal=True) is None
    assert World.from_environ(SHELL, terminal=False) is not None  # a srun inside of that shell
    assert World.from_environ(TASK | {"SLURM_STEP_NUM_TASKS": "1"}, terminal=False) is None
    torchrun = TASK | {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert World.from_environ(torchrun) == World(rank=5, size=8, local_rank=1, local_size=4)


def test_the_launchers_numbers_must_be_the_trainers() -> None:
    world = World.from_environ(TASK, terminal=False)
    assert adopt_world(2, "cpu", world, 2) is world
    assert adopt_world("auto", "cpu", world, 2) is world
    assert adopt_world("auto", "cpu", world) is world
    assert adopt_world(2, "cpu", None) is None
    with pytest.raises(ConfigurationError, match=r"srun started 2 ranks on this node.*--ntasks-per-node=4"):
        adopt_world(4, "cpu", world, 2)
    with pytest.raises(ConfigurationError, match=r"num_nodes=1\).*started 4 ranks.*Set num_nodes=2"):
        adopt_world(2, "cpu", world)
    with pytest.raises(ConfigurationError, match=r"num_nodes=4\).*srun --nodes=4 --ntasks-per-node=2"):
        adopt_world("auto", "cpu", world, 4)
    with pytest.raises(ConfigurationError, match=r"num_nodes=2\).*no launcher.*by `srun`"):
        adopt_world(2, "cpu", None, 2)


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_srun_starts_ranks_on_two_nodes(tmp_path: Path) -> None:
    """A real Slurm: 2 nodes of 1 rank train as one; where the Trainer wants 2 ranks a node, it says so."""
    script = Script(tmp_path, "slurm_script.py")
    command = f"{sys.executable} {script.path} {tmp_path}"
    batch = tmp_path / "job.sh"
    batch.write_text(
        f"#!/bin/sh\nDEVICES=1 srun {command} &\nDEVICES=2 srun --overlap {command} >wrong.txt 2>&1 &\n"
        "wait\ntouch over\n"
    )
    root = tmp_path / "slurm"
    root.mkdir()
    with cluster(root) as slurm:
        submit = ["sbatch", "--nodes=2", "--ntasks-per-node=1", "--output=job.txt", str(batch)]
        # Its node names mean nothing to this machine's resolver; a user's own MASTER_ADDR goes first.
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
        subprocess.run(submit, cwd=tmp_path, env=slurm.environ | own, check=True, timeout=90, capture_output=True)
        until((tmp_path / "over").exists, within_s=90)  # sbatch --wait looks after 2, 10 and 42 seconds
    said = (tmp_path / "job.txt").read_text()
    assert (tmp_path / "rank1.json").exists(), said
    first, second = (json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1))
    assert first[:3] == [2, 0, 4]
    assert first == second
    assert "srun started 1 ranks on this node" in (tmp_path / "wrong.txt").read_text()
    assert "srun --ntasks-per-node=2" in (tmp_path / "wrong.txt").read_text()


PROMPT = """
import os, torch
_ = (torch.randn(400, 400, requires_grad=True) @ torch.randn(400, 400)).sum().backward()  # threads are in use
import leyden
from tests.train.models import Line, loader, seeded
line, trainer = seeded(), leyden.Trainer(max_epochs=2, accelerator="cpu", devices=2, enable_progress_bar=False)
trainer.fit(line, loader(64, 4))
print("STEPS", trainer.global_step, trainer.callback_metrics["train_loss"] < 3, line.net[0].bias.tolist())
class Stuck(Line):
    def training_step(self, batch, batch_idx):
        while os.environ["RANK"] == "1" and batch_idx == 3: pass
        return super().training_step(batch, batch_idx)

try: leyden.Trainer(max_epochs=1, accelerator="cpu", devices=2, enable_progress_bar=False).fit(Stuck(), loader(64, 4))
except leyden.core.errors.RankError as error: print("CAUGHT", str(error)[:44])

print("TESTED", trainer.test(line, loader(21, 4))[0]["test_loss"], os.environ.get("RANK"))
"""


@pytest.mark.slow
def test_a_prompt_trains_on_forked_ranks(tmp_path: Path) -> None:
    """Weights and metrics are there; a hanging rank is named and leaves the prompt alive; nothing is left."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "LEYDEN_RANK_TIMEOUT_S": "2"}
    process = subprocess.run(
        [sys.executable, "-i", "-q"],
        check=False,
        input=PROMPT,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env=environ,
        timeout=90,
    )
    said = process.stdout
    assert "STEPS 16 tensor(True)" in said, said + process.stderr
    assert "CAUGHT 2 ranks ran together; rank 1 hangs at step 3" in said, said + process.stderr
    assert "None" in said[said.index("TESTED") :]
    log = next(tmp_path.glob("leyden_runs/*/logs/a1-r1.log"))
    assert "Traceback" not in log.read_text()
    assert process.returncode == 0
    assert not [
        one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path) and one.pid != os.getpid()
    ]

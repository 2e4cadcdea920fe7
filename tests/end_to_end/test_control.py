"""Do the commands that steer jobs do what their help says, and does a Trainer go on where it was stopped?"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leyden.track.read import read_run
from tests.end_to_end.conftest import Platform, until

GATED = """
import os, pathlib, sys, time
print("began", *sys.argv[1:], flush=True)
while not pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go").exists():
    time.sleep(0.01)
"""

TRAINS = """
import os, pathlib, time
import leyden, torch

class Line(leyden.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        print("step", self.trainer.global_step, flush=True)
        if not pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go").exists():
            time.sleep(0.02)
        return self.layer(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.DataLoader(torch.randn(4000, 4), batch_size=4)
leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False).fit(Line(), data)
"""


ELASTIC = """
import os, pathlib, time
import leyden, torch

class Line(leyden.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        print("saw", *batch.int().flatten().tolist(), flush=True)
        if not pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go").exists():
            time.sleep(0.05)
        return self.layer(batch / 800).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.DataLoader(torch.arange(800.0).reshape(-1, 1), batch_size=4, shuffle=True)
leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False).fit(Line(), data)
"""


def let_go(platform: Platform, job_id: str) -> None:
    platform.home.runs.joinpath(job_id, "go").touch()


def how_far(platform: Platform, job_id: str) -> Any:
    """The job as `leyden ps` tells of it, once it is known how long it goes on."""
    (job,) = [one for one in platform.json("ps") if one["id"] == job_id]
    return job if job["eta_s"] is not None else None


def is_running(platform: Platform, job_id: str) -> bool:
    return platform.job_state(job_id) == "running"


def test_hold_release_after_and_why(platform: Platform) -> None:
    platform.write("gated.py", GATED)
    first = platform.leyden("submit", "gated.py").stdout.strip()
    until(lambda: platform.job_state(first) == "running", "the first job's start")
    second = platform.leyden("submit", "--hold", "--after", first, "gated.py").stdout.strip()
    assert "held until it is released" in platform.leyden("why", second).stdout
    assert f"{second[-4:]} gated: queued" in platform.leyden("release", second).stdout
    until(lambda: platform.json("why", second)["code"] == "after", "the reason")
    third = platform.leyden("submit", "gated.py").stdout.strip()
    until(lambda: platform.json("why", third)["code"] == "devices", "the reason")
    said = platform.leyden("why", third).stdout
    assert f"held by  {first[-4:]} gated" in said
    assert "in line  number " in said
    platform.leyden("hold", third, LEYDEN_USER="bob")
    assert platform.leyden("why", third).stdout.endswith("is held: held by bob\n")
    for job_id in (first, second):
        until(partial(is_running, platform, job_id), "the next start")
        let_go(platform, job_id)
    platform.leyden("wait", first, second)
    said = platform.leyden("release", first, check=1).stderr
    assert "it is succeeded" in said


def test_fork_retry_events_and_quota(platform: Platform) -> None:
    platform.write("quick.py", "import sys; print(sys.argv[1:])")
    platform.leyden("run", "quick.py", "--lr", "0.1")
    again = platform.leyden("retry", LEYDEN_USER="bob").stdout.strip()
    assert platform.json("show", again)["job"]["user"] == "bob"
    platform.leyden("wait", again)
    assert platform.leyden("logs", again).stdout == "['--lr', '0.1']\n"
    assert "it has none" in platform.leyden("fork", again, check=3).stderr
    assert "'x' is no step" in platform.leyden("fork", f"{again}@x", check=2).stderr
    saved = platform.home.runs / again / "checkpoints" / "step=7"
    saved.mkdir(parents=True)
    (saved / "manifest.json").write_text(json.dumps({"step": 7, "created_at": 1.0}))
    fork = platform.leyden("fork", f"{again}@7", "--set", "lr=0.2").stdout.strip()
    platform.leyden("wait", fork)
    assert platform.leyden("logs", fork).stdout == "['--lr', '0.2']\n"
    changes = [json.loads(line) for line in platform.leyden("events", fork, "-o", "json").stdout.splitlines()]
    assert [one["after"] for one in changes][:2] == ["queued", "admitted"]
    assert "running → succeeded" in platform.leyden("events", fork).stdout
    platform.leyden("quota", "ada", "--gpus", "4")
    assert [(one["user"], one["gpus"]) for one in platform.json("quota", "ada")] == [("ada", 4)]
    assert "of all" in platform.leyden("quota").stdout.lower()
    platform.leyden("quota", "ada", "--remove")


def test_a_batch_script_of_slurm_runs_as_it_is(platform: Platform) -> None:
    script = "#!/bin/bash\n#SBATCH --job-name=vit\n#SBATCH -t 1:00:00 --partition=gpu\necho hello $1\n"
    platform.write("train.sbatch", script)
    done = platform.leyden("run", "train.sbatch", "world")
    assert done.stdout == "hello world\n"
    shown = platform.json("show")
    assert (shown["job"]["name"], shown["spec"]["time"]) == ("vit", 3600.0)
    platform.write("array.sbatch", "#!/bin/bash\n#SBATCH --array=1-4\necho\n")
    assert "--array makes many jobs of one" in platform.leyden("submit", "array.sbatch", check=2).stderr


@pytest.mark.slow
def test_a_trainer_that_is_paused_goes_on_at_the_next_step(platform: Platform) -> None:
    platform.write("train.py", TRAINS)
    job_id = platform.leyden("submit", "--time", "90m", "--preempt", "30s", "train.py").stdout.strip()
    assert "time 1h30m, preempt grace_s=30s,signal=TERM\n" in platform.leyden("show", job_id).stdout
    until(lambda: "step 3\n" in platform.leyden("logs", job_id).stdout, "a few steps")
    first = until(lambda: how_far(platform, job_id), "word of how far it is")
    assert re.search(r"running .* \d+ %, \w+ left ", platform.leyden("ps").stdout)
    assert " left\n" in platform.leyden("show", job_id).stdout
    platform.leyden("pause", job_id)
    until(lambda: platform.job_state(job_id) == "paused", "the pause")
    platform.leyden("resume", job_id)
    second = until(lambda: how_far(platform, job_id), "word of how far it is")
    assert second["attempt"] == 2
    assert first["progress"] < second["progress"] < 1
    let_go(platform, job_id)
    platform.leyden("wait", job_id)
    assert read_run(platform.home.runs / job_id)["system/progress"].values[-1] == 1
    logs = sorted(platform.home.runs.joinpath(job_id, "logs").glob("a*-r0.log"))
    steps = [
        [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("step ")] for log in logs
    ]
    assert len(steps) == 2
    assert steps[0] + steps[1] == list(range(1000))


@pytest.mark.slow
def test_a_preempted_job_goes_on_with_fewer_gpus_and_sees_every_sample_once(platform: Platform) -> None:
    """`--gpus 1..2`: two ranks, then, as an urgent job keeps one of the GPUs, one rank."""
    platform.leyden("server", "start", "--fake-gpus", "2")
    platform.write("train.py", ELASTIC)
    platform.write("gated.py", GATED)
    job_id = platform.leyden("submit", "--gpus", "1..2", "--cpus", "1", "--preempt", "30s", "train.py").stdout.strip()
    until(lambda: len(seen(platform, job_id)) > 40, "a few steps")
    urgent = platform.leyden("submit", "--gpus", "1", "--cpus", "1", "--priority", "90", "gated.py").stdout.strip()
    until(lambda: is_running(platform, urgent), "the urgent job's start")
    until(lambda: platform.job_state(job_id) == "running", "the second attempt")
    let_go(platform, job_id)
    platform.leyden("wait", job_id)
    assert sorted(seen(platform, job_id)) == list(range(800))
    attempts = platform.json("show", job_id)["attempts"]
    assert [sum(one.startswith("gpu:") for one in attempt["devices"]) for attempt in attempts] == [2, 1]
    let_go(platform, urgent)
    platform.leyden("wait", urgent)


def seen(platform: Platform, job_id: str) -> list[int]:
    """Samples, by the logs of all ranks of all attempts."""
    logs = platform.home.runs.joinpath(job_id, "logs").glob("a*-r*.log")
    lines = [line for log in logs for line in log.read_text().splitlines() if line.startswith("saw ")]
    return [int(word) for line in lines for word in line.split()[1:]]


def test_jobs_from_python(platform: Platform, tmp_path: Path) -> None:
    platform.write("gated.py", GATED)
    platform.write(
        "drive.py",
        f"""
import leyden, pathlib
job = leyden.submit(leyden.Job(script="gated.py", args=["--lr", "0.1"], cpus=1, python={sys.executable!r}))
lines = job.logs(follow=True)
print(next(lines), not job.state.final)
pathlib.Path({str(platform.home.runs)!r}, job.id, "go").touch()
print(job.wait().state, job.metrics())
""",
    )
    done = platform.leyden("run", "--in-place", "--cpus", "1", "--", sys.executable, "drive.py", check=None)
    assert done.stdout.splitlines() == ["began --lr 0.1 True", "succeeded {}"], done.stdout + done.stderr

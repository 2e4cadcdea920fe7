"""Does Slurm's engine keep the contract, and survive what Slurm does to jobs? On a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.engines import record
from leyden.engines.base import Ending, Engine, Life, Sighting
from leyden.engines.slurm.commands import TOKEN, Slurm, SlurmError
from leyden.engines.slurm.engine import JOB, SlurmEngine
from leyden.engines.slurm.script import SAVE
from tests.conformance.engine import WAITS, EngineSuite, a_launch, outcome_of, pid_of, worker_of
from tests.conformance.until import until
from tests.slurm.cluster import Cluster

Make = Callable[[], SlurmEngine]


@pytest.fixture
def make(slurm: Cluster) -> Make:
    return lambda: SlurmEngine(Slurm(slurm.environ), look_every_s=0.05, settle_s=0.5)


class TestSlurmEngine(EngineSuite):
    """The whole suite."""

    @pytest.fixture(autouse=True)
    def _cluster(self, make: Make) -> None:
        self._make = make

    def make(self) -> Engine:
        return self._make()


def test_what_is_there_is_the_sum_of_the_nodes(make: Make) -> None:
    machine = make().inventory()
    assert (machine.cpus, len(machine.gpus)) == (16, 4)


def test_gpus_are_slurms_to_choose(make: Make, tmp_path: Path) -> None:
    shows = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    launch = a_launch(tmp_path, shows, gpus=(6, 7))
    engine = make()
    engine.launch(launch)
    assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
    assert (tmp_path / "logs/a1-r0.log").read_text() == "0,1\n"


def test_a_job_that_waits_says_why_in_slurms_words_and_can_be_stopped(make: Make, tmp_path: Path) -> None:
    engine = make()
    launch = a_launch(tmp_path, WAITS, cpus=8)
    blockers = [a_launch(tmp_path / name, WAITS, cpus=8, engine_ref=name) for name in ("one", "two")]
    for one in blockers:
        engine.launch(one)
        pid_of(engine, one)
    engine.launch(launch)
    doing = until(lambda: engine.poll([launch.ref])[launch.engine_ref].doing)
    assert doing.startswith("waits in Slurm as job ")
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].doing.endswith(("Resources", "Priority")))
    engine.stop(launch.ref, 1.0)
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    until(lambda: engine.release(launch.ref))
    for one in blockers:
        engine.stop(one.ref, 1.0)
        assert outcome_of(engine, one).kind is Ending.CANCELLED


def test_a_submit_that_was_taken_but_not_answered_is_found_again(make: Make, slurm: Cluster, tmp_path: Path) -> None:
    """The server died between sbatch and its note: there is the intent, and a job whose comment is the attempt's."""
    launch = a_launch(tmp_path, WAITS)
    engine = make()
    engine.launch(launch)
    pid = pid_of(engine, launch)
    job = json.loads((launch.folder / JOB).read_text())["job"]
    (launch.folder / JOB).write_text('{"job": ""}')
    worker = (launch.folder / record.WORKER).rename(tmp_path / "aside")
    again = make()
    again.launch(launch)
    worker.rename(launch.folder / record.WORKER)
    assert json.loads((launch.folder / JOB).read_text())["job"] == job
    assert pid_of(again, launch) == pid
    mine = [one for one in Slurm(slurm.environ).queue() if one.comment == TOKEN + launch.engine_ref]
    assert len(mine) == 1
    (tmp_path / "go").touch()
    assert outcome_of(again, launch).kind is Ending.SUCCEEDED


def test_another_job_under_the_same_number_is_not_ours(make: Make, slurm: Cluster, tmp_path: Path) -> None:
    """After a crash of slurmctld its numbers are given out again (FINDINGS): only the comment tells."""
    other = subprocess.run(
        ["sbatch", "--parsable", "--wrap", "sleep 60", "--output=/dev/null"],
        env=slurm.environ, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    launch = a_launch(tmp_path, WAITS)
    record.write_launch(launch)
    (launch.folder / JOB).write_text(json.dumps({"job": other}))
    engine = make()
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    assert engine.release(launch.ref)
    alive = [one for one in Slurm(slurm.environ).queue() if one.id == other and not one.final]
    assert len(alive) == 1, "somebody else's job goes on"
    Slurm(slurm.environ).cancel(other)


def test_a_killed_worker_leaves_nothing(make: Make, tmp_path: Path) -> None:
    engine = make()
    launch = a_launch(tmp_path, WAITS)
    engine.launch(launch)
    rank = pid_of(engine, launch)
    os.kill(worker_of(launch), signal.SIGKILL)
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    assert engine.poll([launch.ref])[launch.engine_ref].outcome is None
    until(lambda: engine.release(launch.ref))
    until(lambda: not Path(f"/proc/{rank}").exists())


def test_a_cluster_that_does_not_answer_says_nothing_of_any_job(make: Make, tmp_path: Path) -> None:
    launch = a_launch(tmp_path, WAITS)
    engine = make()
    engine.launch(launch)
    pid_of(engine, launch)
    nowhere = {"PATH": os.environ["PATH"], "SLURM_CONF": "/nowhere"}  # squeue then asks DNS for a cluster, for long
    away = SlurmEngine(Slurm(nowhere, answer_s=0.5), look_every_s=0.0)
    assert away.poll([launch.ref]) == {}
    assert not away.release(launch.ref)
    again = a_launch(tmp_path / "asked", WAITS)
    again.folder.mkdir(parents=True)
    (again.folder / JOB).write_text('{"job": ""}')
    with pytest.raises(SlurmError, match="nobody knows whether it was submitted before"):
        away.launch(again)  # or it might run twice
    with pytest.raises(SlurmError, match=r"sbatch gave no answer within 0\.5 s"):
        away.launch(a_launch(tmp_path / "other", WAITS))
    (tmp_path / "go").touch()
    assert outcome_of(engine, launch).kind is Ending.SUCCEEDED


def over(seen: dict[str, Sighting]) -> list[tuple[str, Sighting]]:
    return [(ref, one) for ref, one in seen.items() if one.life is Life.GONE]


def test_what_slurm_preempts_is_over_and_never_started_again(slurm: Cluster, tmp_path: Path) -> None:
    """It would requeue the job under the same number; the next attempt is ours to start, with a fence of its own."""
    engine = SlurmEngine(Slurm(slurm.environ), more=["--partition=spot"], look_every_s=0.05, settle_s=0.5)
    low = [a_launch(tmp_path / name, WAITS, cpus=8, engine_ref=name) for name in ("low1", "low2")]
    for one in low:
        engine.launch(one)
        pid_of(engine, one)
    urgent = [
        "sbatch",
        "--parsable",
        "--partition=urgent",
        "--cpus-per-task=8",
        "--wrap=sleep 60",
        "--output=/dev/null",
    ]
    job = subprocess.run(urgent, env=slurm.environ, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    ((ref, seen),) = until(lambda: over(engine.poll([one.ref for one in low])))
    assert seen.outcome is not None
    assert seen.outcome.kind is Ending.REQUEUE, "it was stopped, but is to go on"
    victim, other = sorted(low, key=lambda one: one.engine_ref != ref)
    until(lambda: engine.release(victim.ref))
    states = {one.comment: one.state for one in Slurm(slurm.environ).queue()}
    assert states[TOKEN + ref] == "PREEMPTED"
    Slurm(slurm.environ).cancel(job.strip())
    assert (Path(victim.run_dir) / "logs/a1-r0.log").read_text().count("\n") == 1, "it was started once"
    (Path(other.run_dir) / "go").touch()
    assert outcome_of(engine, other).kind is Ending.SUCCEEDED


def test_before_slurms_own_limit_the_ranks_save_and_the_job_comes_again(
    make: Make, slurm: Cluster, tmp_path: Path
) -> None:
    """A job without a limit of its own meets that of the cluster: the worker is told to save in time."""
    saves = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        print("ready", flush=True)
        time.sleep(600)
    """
    launch = a_launch(tmp_path, saves, save_grace_s=20.0)
    engine = make()
    engine.launch(launch)
    until(lambda: "ready" in (tmp_path / "logs/a1-r0.log").read_text() if (tmp_path / "logs/a1-r0.log").exists() else 0)
    job = json.loads((launch.folder / JOB).read_text())["job"]
    Slurm(slurm.environ).signal(job, SAVE)  # as Slurm does SAVES_BEFORE_S before the end, which takes minutes
    assert outcome_of(engine, launch).kind is Ending.REQUEUE


@pytest.mark.slow
def test_an_attempt_on_a_node_that_is_lost_is_gone_and_comes_to_no_second_life(
    make: Make, slurm: Cluster, tmp_path: Path
) -> None:
    launch = a_launch(tmp_path, WAITS)
    engine = make()
    engine.launch(launch)
    rank = pid_of(engine, launch)
    (job,) = [one for one in Slurm(slurm.environ).queue() if one.comment == TOKEN + launch.engine_ref]
    slurm.kill(job.nodes)
    try:
        until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
        (lost,) = [one for one in Slurm(slurm.environ).queue() if one.comment == TOKEN + launch.engine_ref]
        assert lost.state == "NODE_FAIL"
        assert engine.release(launch.ref)
    finally:
        slurm.start(job.nodes)
    until(lambda: not Path(f"/proc/{rank}").exists())  # as the node comes back, Slurm ends what it had lost there
    slurm.wait_until_idle()
    assert (tmp_path / "logs/a1-r0.log").read_text() == f"{rank}\n"

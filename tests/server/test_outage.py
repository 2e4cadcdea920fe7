"""What do a training, and whoever watches it, notice of a server that is killed and stays away for two minutes?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from leyden.client.handle import Handle
from leyden.engines import record
from tests.conformance.engine import WAITS
from tests.conformance.until import until
from tests.server.running import Running

OUTAGE_S: Final = 120.0
LEYDEN: Final = str(Path(sys.executable).parent / "leyden")

# Twenty steps a second, each with a line and a point, until it is let go.
TRAINS = """
import os, pathlib, time
import leyden, torch

class Steps(leyden.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        print("step", self.trainer.global_step, "of", os.getpid(), flush=True)
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        self.log("line", float(self.trainer.global_step))
        if pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go").exists():
            self.trainer.should_stop = True
        time.sleep(0.05)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.DataLoader(torch.randn(100_000, 4), batch_size=4)
trainer = leyden.Trainer(
    max_epochs=1, accelerator="cpu", log_every_n_steps=1, enable_progress_bar=False, enable_checkpointing=False
)
trainer.fit(Steps(), data)
print("end", trainer.global_step, flush=True)
"""


class Watchers:
    """All that stay with one job: `leyden logs -f`, `leyden wait` and a program."""

    def __init__(self, server: Running, job_id: str, folder: Path) -> None:
        environ = {**os.environ, "LEYDEN_HOME": str(server.home)}
        self._followed = folder / f"{job_id}.followed"
        with self._followed.open("wb") as output:
            self._processes = [
                subprocess.Popen([LEYDEN, "logs", "-f", job_id], env=environ, stdout=output),
                subprocess.Popen([LEYDEN, "wait", job_id], env=environ, stdout=subprocess.DEVNULL),
            ]
        self._pool = ThreadPoolExecutor(1)
        handle = Handle(job_id, {"LEYDEN_HOME": str(server.home)})
        self._lines = self._pool.submit(lambda: list(handle.logs(follow=True)))

    def attached(self) -> bool:
        """Whether output has come through."""
        return self._followed.stat().st_size > 0

    def stay(self, within_s: float) -> bool:
        """Whether all of them still wait when that time is over."""
        with pytest.raises(subprocess.TimeoutExpired):
            self._processes[0].wait(within_s)
        return self._processes[1].poll() is None and not self._lines.done()

    def ended(self, code: int) -> bytes:
        """What each of them has seen, once they have ended by themselves."""
        assert [one.wait(60) for one in self._processes] == [0, code]
        output = self._followed.read_bytes()
        assert self._lines.result(60) == output.decode().splitlines()
        return output

    def close(self) -> None:
        """End those that are left."""
        for one in self._processes:
            one.kill()
            one.wait()
        self._pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def watchers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(OUTAGE_S + 120)
def test_a_training_does_not_notice_a_server_that_is_away_for_two_minutes(
    server: Running, watchers: ExitStack, tmp_path: Path
) -> None:
    """Nor do those who watch. A job that ends meanwhile, and whose worker long gave up telling, is found so."""
    job_id, short = server.submit(TRAINS, cpus=1), server.submit(WAITS + "\nraise SystemExit(7)", cpus=1)
    watching = {one: watch(server, one, watchers, tmp_path) for one in (job_id, short)}
    until(lambda: all(one.attached() for one in watching.values()))
    pid, log = server.rank_pid(job_id), server.log_file(job_id)
    until(lambda: b"step 9 " in log.read_bytes())
    server.kill()
    steps = log.read_bytes().count(b"\n")
    (server.home / "runs" / short / "go").touch()
    assert watching[job_id].stay(OUTAGE_S)
    assert watching[short].stay(0)
    assert record.read_outcome(server.home / "runs" / short / "attempts/a1")
    server.start()
    assert server.state_is(job_id, "running")["attempt"] == 1
    assert server.rank_pid(job_id) == pid
    (server.home / "runs" / job_id / "go").touch()
    assert server.wait(job_id)["state"] == "succeeded"
    assert_whole(server, job_id, pid, watching[job_id].ended(0), least=steps + int(OUTAGE_S))
    assert (server.job(short)["state"], server.job(short)["exit_code"]) == ("failed", 7)
    assert watching[short].ended(7) == server.log_file(short).read_bytes()


@pytest.mark.slow
def test_a_training_that_ends_while_no_server_runs_is_told_whole(
    server: Running, watchers: ExitStack, tmp_path: Path
) -> None:
    job_id = server.submit(TRAINS)
    watching = watch(server, job_id, watchers, tmp_path)
    until(watching.attached)
    pid = server.rank_pid(job_id)
    server.kill()
    (server.home / "runs" / job_id / "go").touch()
    until((server.home / "runs" / job_id / "attempts/a1/outcome.json").exists)
    server.start()
    assert server.wait(job_id)["state"] == "succeeded"
    assert_whole(server, job_id, pid, watching.ended(0), least=0)


def watch(server: Running, job_id: str, stack: ExitStack, folder: Path) -> Watchers:
    one = Watchers(server, job_id, folder)
    stack.callback(one.close)
    return one


def assert_whole(server: Running, job_id: str, pid: int, followed: bytes, *, least: int) -> None:
    """One process made every step, each with its line and its points once, and those who watched saw all of it."""
    found = server.get(f"/api/jobs/{job_id}")
    assert [one["outcome"] for one in found["attempts"]] == ["succeeded"]
    assert followed == server.log_file(job_id).read_bytes()
    assert followed.decode() == server.log(job_id)
    lines = followed.decode().splitlines()
    steps = [int(line.split()[1]) for line in lines if line.startswith("step ")]
    assert len(steps) > least
    assert lines[-1] == f"end {len(steps)}"
    assert [line for line in lines if line.startswith("step ")] == [f"step {at} of {pid}" for at in range(len(steps))]
    for name in ("loss", "line"):
        series = server.get(f"/api/jobs/{job_id}/metrics/series?name={name}&points=1000000")
        first = series["steps"][0]
        assert series["steps"] == list(range(first, first + len(steps)))
    assert series["values"] == steps

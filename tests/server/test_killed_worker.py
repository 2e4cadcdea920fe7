"""Does a training go on from its newest checkpoint when its worker is killed, and does its record tell of one run?"""

from __future__ import annotations

import os
import signal
from typing import Final

import pytest

from leyden.engines import record
from tests.conformance.engine import runs
from tests.conformance.until import until
from tests.server.running import Running

STEPS, EVERY = 120, 10

TRAINS: Final = f"""
import os, time
import leyden, torch

class Steps(leyden.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        print("step", self.trainer.global_step, flush=True)
        loss = self.layer(batch).square().mean()
        self.log("line", float(self.trainer.global_step))
        if os.environ["LEYDEN_ATTEMPT"] == "1":
            time.sleep(0.02 if self.trainer.global_step < {STEPS} - 20 else 600)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.DataLoader(torch.randn(4 * {STEPS}, 4), batch_size=4)
saves = leyden.ModelCheckpoint(every_n_train_steps={EVERY})
leyden.Trainer(
    max_epochs=1, accelerator="cpu", log_every_n_steps=1, enable_progress_bar=False, callbacks=[saves]
).fit(Steps(), data)
"""


@pytest.mark.slow
def test_a_training_goes_on_after_its_worker_was_killed(server: Running) -> None:
    job_id = server.submit(TRAINS)
    pid, log = server.rank_pid(job_id), server.log_file(job_id)
    until(lambda: f"step {3 * EVERY + 5}\n" in log.read_text())
    worker = record.read_worker(server.home / "runs" / job_id / "attempts/a1")
    assert worker
    assert worker.worker
    os.kill(worker.worker.pid, signal.SIGKILL)
    job = server.wait(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    found = server.get(f"/api/jobs/{job_id}")
    assert [one["outcome"] for one in found["attempts"]] == ["infra", "succeeded"]
    assert not runs(pid)
    first, second = (
        [int(line.split()[1]) for line in server.log(job_id, attempt=number).splitlines() if line.startswith("step ")]
        for number in (1, 2)
    )
    assert first == list(range(len(first)))
    assert second == list(range(second[0], STEPS))
    assert 2 * EVERY <= second[0] <= first[-1] + 1
    assert second[0] % EVERY == 0
    series = server.get(f"/api/jobs/{job_id}/metrics/series?name=line&points=100000")
    assert series["values"] == list(range(STEPS))

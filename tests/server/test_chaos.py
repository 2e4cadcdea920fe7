"""Does every job run exactly once when the server is killed again and again at arbitrary moments?"""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.conformance.until import until
from tests.server.running import Running

PROGRAM = """
import os, time
open(os.environ["LEYDEN_RUN_DIR"] + "/starts", "a").write("x")
time.sleep({})
print("done")
"""


@pytest.mark.slow
def test_jobs_run_exactly_once_through_sigkills_of_the_server(server: Running) -> None:
    dice = random.Random(7)
    ids = []
    for _ in range(6):
        ids += [server.submit(PROGRAM.format(dice.choice([0, 0.02, 0.1])), cpus=1) for _ in range(2)]
        goal = dice.choice(["queued", "admitted", "starting", "running", "succeeded"])
        until(partial(reached, server, ids[-1], goal))
        server.kill()
        server.start()
    for job_id in ids:
        job = server.wait(job_id)
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job
        assert (server.home / "runs" / job_id / "starts").read_text() == "x"
        assert server.log(job_id) == "done\n"


def reached(server: Running, job_id: str, state: str) -> bool:
    """Whether the job has been in the state, now or before."""
    return any(event["after"] == state for event in server.get(f"/api/jobs/{job_id}")["events"])

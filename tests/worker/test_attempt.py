"""Does the worker run ranks as asked, end them all, and tell the truth about it?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from leyden.engines import record
from leyden.engines.base import Ending, Launch, Outcome
from tests.conformance.engine import WAITS, a_launch, runs
from tests.conformance.until import until


class Listener:
    """A server that keeps what workers report, and notes whether the outcome was on disk by then."""

    def __init__(self, folder: Path) -> None:
        reports: list[dict[str, object]] = []
        headers: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reports.append({**body, "on_disk": (folder / record.OUTCOME).exists(), "path": self.path})
                headers.append(self.headers["Authorization"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None: ...

        self.reports, self.headers = reports, headers
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    one = Listener(tmp_path / "attempts/a1")
    yield one
    one.server.shutdown()
    one.server.server_close()


def start(launch: Launch) -> subprocess.Popen[bytes]:
    record.write_launch(launch)
    return subprocess.Popen([sys.executable, "-m", "leyden.worker", str(launch.folder)])


def run(launch: Launch) -> Outcome:
    assert start(launch).wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome is not None
    return outcome


def log(run_dir: Path, rank: int = 0) -> str:
    return (run_dir / f"logs/a1-r{rank}.log").read_text()


def test_success_is_recorded_before_it_is_told(tmp_path: Path, listener: Listener) -> None:
    outcome = run(a_launch(tmp_path, "print('out'); import sys; print('err', file=sys.stderr)", api_url=listener.url))
    assert (outcome.kind, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert sorted(log(tmp_path).split()) == ["err", "out"]
    ended = next(report for report in listener.reports if report["kind"] == "ended")
    assert ended["on_disk"]
    assert ended["fence"] == 1
    assert ended["path"] == "/api/attempts/u1/report"
    assert set(listener.headers) == {"Bearer secret"}


VARIABLES = "import os, json; print(json.dumps(dict(os.environ)))"
STALE = {
    "RANK": "7", "WORLD_SIZE": "8", "LEYDEN_RESUME_FROM": "x", "TORCHELASTIC_RUN_ID": "x", "SLURM_NTASKS": "4",
    "LEYDEN_TRIAL_BUDGET": "x",
}  # fmt: skip


def test_one_process_sees_no_variables_of_torchrun(tmp_path: Path, listener: Listener) -> None:
    environ = {**os.environ, **STALE, "MINE": "a", "BOTH": "environ", "LEYDEN_HOME": "/home/ada/.leyden"}
    environ.pop("OMP_NUM_THREADS", None)
    launch = a_launch(
        tmp_path, VARIABLES, api_url=listener.url, environ=environ, vars={"BOTH": "job"}, cpus=6, time_s=100.0,
        submit_dir="/home/ada", budget="epoch:3", objective="val_loss",
    )  # fmt: skip
    run(launch)
    seen = json.loads(log(tmp_path))
    assert not seen.keys() & ({*STALE, "MASTER_ADDR", "LOCAL_RANK"} - {"LEYDEN_TRIAL_BUDGET"})
    assert (seen["MINE"], seen["BOTH"], seen["LEYDEN_HOME"]) == ("a", "job", "/home/ada/.leyden")
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["OMP_NUM_THREADS"] == "6"
    assert seen["PYTHONUNBUFFERED"] == "1"
    assert seen["LEYDEN_JOB_ID"] == launch.job_id
    assert (seen["LEYDEN_ATTEMPT"], seen["LEYDEN_FENCE"], seen["LEYDEN_TOKEN"]) == ("1", "1", "secret")
    assert (seen["LEYDEN_RUN_DIR"], seen["LEYDEN_CHECKPOINT_DIR"]) == (str(tmp_path), f"{tmp_path}/checkpoints")
    assert (seen["LEYDEN_TRIAL_BUDGET"], seen["LEYDEN_TRIAL_METRIC"]) == ("epoch:3", "val_loss")
    assert (seen["LEYDEN_API_URL"], seen["LEYDEN_SUBMIT_DIR"]) == (listener.url, "/home/ada")
    file = record.read_worker(launch.folder)
    assert file is not None
    assert file.started_at is not None
    assert float(seen["LEYDEN_DEADLINE"]) == pytest.approx(file.started_at + 100, abs=20)


def test_two_ranks_see_the_variables_of_torchrun(tmp_path: Path, listener: Listener) -> None:
    launch = a_launch(
        tmp_path, VARIABLES, api_url=listener.url, ranks=2, distributed=True, cpus=4, gpus=(2, 3),
        environ={**os.environ, **STALE, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    run(launch)
    first, second = (json.loads(log(tmp_path, rank)) for rank in range(2))
    assert [one["RANK"] for one in (first, second)] == ["0", "1"]
    assert [one["LOCAL_RANK"] for one in (first, second)] == ["0", "1"]
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0", "OMP_NUM_THREADS": "1"}.items():
        assert first[name] == second[name] == value
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    assert first["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_one_failing_rank_stops_the_others(tmp_path: Path, listener: Listener) -> None:
    program = "import os, sys\nif os.environ['RANK'] == '1': sys.exit(3)\n" + WAITS
    outcome = run(a_launch(tmp_path, program, api_url=listener.url, ranks=3, distributed=True))
    assert (outcome.kind, outcome.exit_code, outcome.message) == (Ending.FAILED, 3, "rank 1 exited with code 3")
    file = record.read_worker(tmp_path / "attempts/a1")
    assert file is not None
    assert not any(runs(rank.pid) for rank in file.ranks)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "the program was killed by SIGKILL (often the kernel's out-of-memory killer)"),
        (signal.SIGSEGV, "the program was killed by SIGSEGV (a crash in native code)"),
    ],
)
def test_a_signal_is_named(tmp_path: Path, listener: Listener, number: signal.Signals, message: str) -> None:
    program = f"import os, signal; os.kill(os.getpid(), {int(number)})"
    outcome = run(a_launch(tmp_path, program, api_url=listener.url))
    assert (outcome.kind, outcome.exit_code, outcome.message) == (Ending.FAILED, 128 + number, message)


def test_the_time_limit_ends_a_rank_that_ignores_sigterm(tmp_path: Path, listener: Listener) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS
    outcome = run(a_launch(tmp_path, program, api_url=listener.url, time_s=0.6, stop_grace_s=0.2))
    assert (outcome.kind, outcome.message) == (Ending.TIMED_OUT, "stopped at its time limit of 0.6 s")


def test_sigterm_cancels_and_a_program_may_clean_up(tmp_path: Path, listener: Listener) -> None:
    program = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n" + WAITS
    launch = a_launch(tmp_path, program, api_url=listener.url, stop_grace_s=30.0)
    worker = start(launch)
    path = tmp_path / "logs/a1-r0.log"
    until(lambda: path.exists() and path.read_text())
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome is not None
    assert outcome.kind is Ending.CANCELLED
    assert path.read_text().endswith("bye\n")


def test_a_program_that_is_not_there(tmp_path: Path, listener: Listener) -> None:
    outcome = run(a_launch(tmp_path, "", argv=("no-such-program",), api_url=listener.url))
    assert (outcome.kind, outcome.exit_code) == (Ending.FAILED, 127)
    assert outcome.message == "the program 'no-such-program' cannot be started: no such file or directory"


def test_a_working_directory_that_is_not_there(tmp_path: Path, listener: Listener) -> None:
    outcome = run(a_launch(tmp_path, "pass", cwd=str(tmp_path / "gone"), api_url=listener.url))
    assert outcome.message == f"the working directory {tmp_path / 'gone'} does not exist"


def test_code_is_unpacked_and_is_where_ranks_start(tmp_path: Path, listener: Listener) -> None:
    tree = tmp_path / "tree/inner"
    tree.mkdir(parents=True)
    (tree / "main.py").write_text("print(__import__('pathlib').Path.cwd())")
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree", arcname=".")
    launch = a_launch(
        tmp_path, "", argv=(sys.executable, "main.py"), code=str(tmp_path / "code.tar.gz"), cwd="inner",
        api_url=listener.url,
    )  # fmt: skip
    assert run(launch).kind is Ending.SUCCEEDED
    assert log(tmp_path).strip() == str(tmp_path / "code/inner")


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, listener: Listener) -> None:
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "evil", arcname="../../evil")
    launch = a_launch(tmp_path, "pass", code=str(tmp_path / "code.tar.gz"), cwd="", api_url=listener.url)
    outcome = run(launch)
    assert outcome.kind is Ending.INFRA
    assert "OutsideDestinationError" in outcome.message
    assert not (tmp_path / "code").exists()


def test_the_worker_imports_nothing_heavy() -> None:
    """Its import stands between every submit and its first line."""
    program = "import sys, leyden.worker.attempt; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )
    heavy = {"pydantic", "fastapi", "sqlalchemy", "psutil", "torch", "http.client", "ssl", "asyncio", "tarfile"}
    assert not loaded & heavy

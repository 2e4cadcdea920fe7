"""Does the worker see what its ranks print and use, that they hang or idle, and does it end them as it should?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from leyden.engines import record
from leyden.engines.base import Ending, Launch
from leyden.track.read import read_metrics, read_series
from leyden.worker.gauges import GpuUse, nvidia_gauge
from leyden.worker.stamps import Stamps, read_stamps
from leyden.worker.usage import Usage, read_use
from tests.conformance.engine import WAITS, a_launch, runs
from tests.conformance.until import until
from tests.worker.test_attempt import Listener, log, run, start

BUSY = "import time\nuntil = time.monotonic() + {}\nwhile time.monotonic() < until: pass\n"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    one = Listener(tmp_path / "attempts/a1")
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_stamps_say_when_a_byte_was_there(tmp_path: Path) -> None:
    path, now = tmp_path / "a1-r0.log", [50.0]
    stamps = Stamps([path], clock=lambda: 1000.0, ticks=lambda: now[0])
    stamps.note()  # the log is not there yet
    for _ in range(200):
        with path.open("a") as log:
            log.write("ten bytes\n")
        now[0] += 1
        stamps.note()
        stamps.note()  # nothing new
    stamps.close()
    assert read_stamps(path) == [(10 * (number + 1), 1001.0 + number) for number in range(200)]
    for byte in (0, 9, 10, 995, 1990, 1999):
        assert read_stamps(path, after=byte, most=1) == [(10 * (byte // 10 + 1), 1001.0 + byte // 10)]
    assert read_stamps(path, after=2000) == []
    assert read_stamps(tmp_path / "none.log") == []
    with (tmp_path / "a1-r0.times").open("ab") as times:
        times.write(b"torn")
    assert len(read_stamps(path)) == 200


def test_lines_are_stamped_soon(tmp_path: Path) -> None:
    program = "import time\nfor _ in range(9): print(repr(time.time()), flush=True); time.sleep(0.08)"
    run(a_launch(tmp_path, program))
    offset, late_s = 0, []
    for line in log(tmp_path).splitlines(keepends=True):
        ((_, at),) = read_stamps(tmp_path / "logs/a1-r0.log", after=offset, most=1)
        late_s.append(at - float(line))
        offset += len(line)
    assert min(late_s) > -0.02
    assert median(late_s) < 0.3  # 0.05 where the machine has time; one pause of it makes some of them late, not most


def test_use_is_measured_with_that_of_children(tmp_path: Path) -> None:
    """A child that burns a CPU and holds 50 MB counts for its rank, in the record and in the newest sample."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "child.py").write_text("held = bytearray(50_000_000)\n" + BUSY.format(60))
    program = "import subprocess, sys; subprocess.run([sys.executable, 'child.py'])"
    rank = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, start_new_session=True)
    launch = a_launch(tmp_path, "", gpus=(3,), fake_gpus=True)
    record.claim(launch.folder, record.myself())
    usage = Usage(launch, [record.Process(pid=rank.pid, birth="")], started_at=time.time(), every_s=0.05)

    def busy() -> tuple[float, dict[str, float]] | None:
        found = read_use(launch.folder)
        seen = found and found[1]["system/cpu_percent"] > 20 and found[1]["system/memory_bytes"] > 50_000_000
        return found if seen else None

    try:
        usage.start()
        at, sample = until(busy)
        until(lambda: any(one.name == "system/cpu_percent" and one.count > 3 for one in read_metrics(tmp_path)))
    finally:
        usage.close()
        os.killpg(rank.pid, signal.SIGKILL)
        rank.wait()
    assert abs(at - time.time()) < 10
    assert sample["system/threads"] >= 2
    assert 20 < sample["system/gpu3/use_percent"] <= 100
    assert sample["system/gpu3/idle_s"] == 0
    names = {metric.name for metric in read_metrics(tmp_path)}
    assert names == set(sample)
    assert names >= {"system/read_bytes", "system/written_bytes"}


def test_gpus_are_asked_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for NVML, as no GPU is here: what one GPU does not say, as a MIG partition its use, is left open."""

    def of(index: int, value: object) -> object:
        if index == 3:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda at: of(at, SimpleNamespace(gpu=87)))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=5_000_000_000))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda at: of(at, 312_500))
    gauge = nvidia_gauge((1, 3))
    assert gauge is not None
    assert gauge.sample([]) == {
        1: GpuUse(use_percent=87.0, memory_bytes=5e9, power_w=312.5),
        3: GpuUse(use_percent=None, memory_bytes=5e9, power_w=None),
    }


def test_of_a_shared_gpu_the_own_use_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for NVML again: two sessions use the GPU; then nobody does; then nobody is named."""
    ours, theirs = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
    mine, seen_us = SimpleNamespace(pid=ours.pid, timeStamp=7, smUtil=30), list[int]()
    named, used = (
        [mine, SimpleNamespace(pid=theirs.pid)],
        [mine, SimpleNamespace(pid=theirs.pid, timeStamp=9, smUtil=60)],
    )

    def uses(_: object, since_us: int) -> object:
        seen_us.append(since_us)
        if not used:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return used

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda _: SimpleNamespace(gpu=87))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=5_000_000_000))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda _: 312_500)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda _: named)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", uses)
    gauge = nvidia_gauge((0,), own=[ours.pid])
    assert gauge is not None
    try:
        assert (gauge.sample([])[0].use_percent, gauge.sample([])[0].own_percent) == (87.0, 30.0)
        used.clear()
        assert gauge.sample([])[0].own_percent == 0.0
        assert seen_us == [0, 9, 9]
        named.clear()
        assert gauge.sample([])[0].own_percent is None
    finally:
        for one in (ours, theirs):
            one.kill()
            one.wait()


def test_a_shared_gpu_that_others_use_is_idle_by_the_own_use(tmp_path: Path) -> None:
    """And by nothing where the driver does not tell that."""
    usage = Usage(a_launch(tmp_path, "", gpus=(0,), gpu_shared=True), [], started_at=0.0)
    assert usage._busiest({0: GpuUse(use_percent=90.0, memory_bytes=1.0, own_percent=0.0)}) == 0.0
    assert usage._busiest({0: GpuUse(use_percent=0.0, memory_bytes=1.0)}) is None
    alone = Usage(a_launch(tmp_path, "", gpus=(0,)), [], started_at=0.0)
    assert alone._busiest({0: GpuUse(use_percent=90.0, memory_bytes=1.0)}) == 90.0


def test_without_a_driver_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert nvidia_gauge((0,)) is None


def test_watching_costs_next_to_nothing(tmp_path: Path) -> None:
    """Of one CPU, while a rank prints all the time: 0.3 % is the aim, 2 % fails on any machine."""
    launch = a_launch(tmp_path, "import time\nwhile True: print(time.time(), flush=True); time.sleep(0.02)")
    (tmp_path / "metrics").mkdir()
    worker = start(launch)
    until(lambda: read_use(launch.folder))  # all is imported
    process = psutil.Process(worker.pid)
    before, since = sum(process.cpu_times()[:2]), time.monotonic()
    rows = len(read_series(tmp_path, "system/threads").values)
    until(lambda: len(read_series(tmp_path, "system/threads").values) >= rows + 2)
    spent = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - since)
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    assert spent < 0.02


HANGS = """
import ctypes, os, subprocess, sys, time
def waits_in_python():
    time.sleep(600)
def holds_the_interpreter():
    ctypes.PyDLL(None).sleep(600)
print("begun", flush=True)
if os.environ["RANK"] == "0":
    child = subprocess.Popen([sys.executable, "-c", "def the_child():\\n import time; time.sleep(600)\\nthe_child()"])
    waits_in_python()
holds_the_interpreter()
"""


def test_ranks_that_hang_leave_their_stacks_and_end_as_infra(tmp_path: Path) -> None:
    """Also one that never lets go of the interpreter's lock, and with the stacks of children."""
    launch = a_launch(tmp_path, HANGS, ranks=2, distributed=True, stall_s=3.0, stop_grace_s=30.0)
    outcome = run(launch)
    assert outcome.kind is Ending.INFRA
    assert outcome.message == "no progress for 3.0s; stacks are in the log of each rank"
    first, second = (log(tmp_path, rank) for rank in range(2))
    assert first.startswith("begun\nleyden: no progress for 3.0s; where each thread is:\n")
    assert "in waits_in_python" in first
    assert "in the_child" in first
    assert "in holds_the_interpreter" in second
    file = record.read_worker(launch.folder)
    assert file is not None
    assert not any(runs(rank.pid) for rank in file.ranks)


def test_output_and_points_are_progress(tmp_path: Path) -> None:
    """Each by itself, for longer than the limit; and what does neither has none."""
    program = """
    import os, sys, time
    for number in range(18):
        time.sleep(0.2)
        if sys.argv[1] != "nothing":
            with open(os.environ["LEYDEN_RUN_DIR"] + sys.argv[1], "ab") as file:
                file.write(b"more")
    """
    ended = {"/logs/a1-r0.log": Ending.SUCCEEDED, "/metrics/a1-r0.frames": Ending.SUCCEEDED, "nothing": Ending.INFRA}
    launches = [a_launch(tmp_path / str(at), program, stall_s=1.5) for at in range(len(ended))]
    for launch, grows in zip(launches, ended, strict=True):
        Path(launch.run_dir, "metrics").mkdir(parents=True)
        record.write_launch(replace(launch, argv=(*launch.argv, grows)))
    workers = [subprocess.Popen([sys.executable, "-m", "leyden.worker", str(launch.folder)]) for launch in launches]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    found = [record.read_outcome(launch.folder) for launch in launches]
    assert [one and one.kind for one in found] == [*ended.values()]


def test_an_idle_gpu_ends_the_job_and_a_busy_one_does_not(tmp_path: Path) -> None:
    for folder in ("idle", "busy"):
        (tmp_path / folder / "metrics").mkdir(parents=True)
    fields = {"gpus": (0, 1), "fake_gpus": True, "idle_s": 1.5}
    idle = a_launch(tmp_path / "idle", WAITS, **fields)
    busy = a_launch(tmp_path / "busy", BUSY.format(3), **fields)
    workers = [start(one) for one in (idle, busy)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    ended = [record.read_outcome(one.folder) for one in (idle, busy)]
    assert [one and one.kind for one in ended] == [Ending.TIMED_OUT, Ending.SUCCEEDED]
    assert ended[0]
    assert ended[0].message == "stopped at its idle limit: no GPU of it did anything for 1.5s"


def test_exit_75_asks_for_another_start_whatever_the_others_die_of(tmp_path: Path) -> None:
    program = "import os, sys\nif os.environ['RANK'] == '1': sys.exit(75)\n" + WAITS
    outcome = run(a_launch(tmp_path, program, ranks=3, distributed=True))
    assert (outcome.kind, outcome.exit_code) == (Ending.REQUEUE, 75)
    assert outcome.message == "rank 1 asked to be started again (exit code 75)"


def test_exit_75_counts_first_where_several_died_between_two_looks(tmp_path: Path) -> None:
    """As when a rank leaves and its peers lose the connection, on a machine that is busy."""
    launch = a_launch(
        tmp_path, WAITS + "raise SystemExit(75 if os.environ['RANK'] == '1' else 1)", ranks=2, distributed=True
    )
    worker = start(launch)
    until(lambda: (found := record.read_worker(launch.folder)) and found.ranks)
    file = record.read_worker(launch.folder)
    assert file
    worker.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    until(lambda: not any(record.lives(rank) for rank in file.ranks))
    worker.send_signal(signal.SIGCONT)
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert (outcome.kind, outcome.exit_code) == (Ending.REQUEUE, 75)


def test_the_first_failure_decides_not_a_later_75(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nif os.environ['RANK'] == '1': sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n" + WAITS
    )
    outcome = run(a_launch(tmp_path, program, ranks=2, distributed=True))
    assert (outcome.kind, outcome.exit_code) == (Ending.FAILED, 3)


@pytest.mark.parametrize("budget", ["epoch:3", ""])
def test_only_a_trial_is_paused_by_76(tmp_path: Path, budget: str) -> None:
    outcome = run(a_launch(tmp_path, "raise SystemExit(76)", budget=budget))
    said = "paused at its rung (exit code 76)" if budget else "the program exited with code 76"
    assert (outcome.kind, outcome.message) == (Ending.PAUSED if budget else Ending.FAILED, said)


def test_a_rank_that_pauses_gets_no_other_one_killed(tmp_path: Path) -> None:
    """Rank 0 is still saving when the first has left; neither a signal nor the grace of a cancel may end it."""
    program = WAITS + "print('saved'); raise SystemExit(76)"
    program = f"import os, sys\nif os.environ['RANK'] == '1': sys.exit(76)\n{program}"
    launch = a_launch(tmp_path, program, ranks=2, distributed=True, budget="step:9", stop_grace_s=0.1)
    worker = start(launch)
    until(lambda: (found := record.read_worker(launch.folder)) and found.ranks)
    file = record.read_worker(launch.folder)
    assert file
    until(lambda: not record.lives(file.ranks[1]))
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=0.5)
    (tmp_path / "go").touch()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert (outcome.kind, outcome.exit_code) == (Ending.PAUSED, 76)
    assert log(tmp_path).endswith("saved\n")


def test_a_trial_that_is_stopped_while_it_comes_to_its_rung_is_paused_there(tmp_path: Path) -> None:
    launch = a_launch(tmp_path, SAVES.replace("75", "76"), budget="step:9", save_grace_s=60.0)
    worker = saving(launch)
    (tmp_path / "saved").touch()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert outcome.kind is Ending.PAUSED


SAVES = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
def save(number, _frame):
    print("saving for", signal.Signals(number).name, flush=True)
    while not (folder / "saved").exists():
        time.sleep(0.01)
    sys.exit(75)
for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(one, save)
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def saving(launch: Launch, by: signal.Signals = record.SAVE) -> subprocess.Popen[bytes]:
    """Its worker, asked to save; the rank is at it."""
    worker = start(launch)
    path = Path(launch.run_dir, "logs/a1-r0.log")
    until(lambda: path.exists() and "ready" in path.read_text())
    worker.send_signal(by)
    until(lambda: "saving" in path.read_text())
    return worker


@pytest.mark.parametrize("name", ["TERM", "USR1", "USR2"])
def test_a_rank_has_its_grace_to_save_in(tmp_path: Path, name: str) -> None:
    launch = a_launch(tmp_path, SAVES, save_signal=name, save_grace_s=60.0, stop_grace_s=0.1)
    worker = saving(launch)
    assert f"saving for SIG{name}" in log(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=0.5)  # longer than the grace of a cancel
    (tmp_path / "saved").touch()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert (outcome.kind, outcome.message) == (Ending.REQUEUE, "stopped to go on later")


def test_where_the_place_itself_sends_term_it_means_to_save_and_int_to_end(tmp_path: Path) -> None:
    """So does Slurm, to every process of a job that it preempts."""
    launch = a_launch(tmp_path, SAVES, save_signal="USR1", save_grace_s=60.0, term_saves=True)
    worker = saving(launch, by=signal.SIGTERM)
    (tmp_path / "saved").touch()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert outcome.kind is Ending.REQUEUE
    (tmp_path / "other").mkdir()
    launch = a_launch(tmp_path / "other", SAVES, save_signal="USR1", stop_grace_s=0.1, term_saves=True)
    worker = saving(launch, by=signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert outcome.kind is Ending.CANCELLED


def test_the_grace_to_save_has_an_end(tmp_path: Path) -> None:
    worker = saving(a_launch(tmp_path, SAVES, save_grace_s=0.3, stop_grace_s=60.0))
    assert worker.wait(timeout=60) == 0


def test_a_cancel_shortens_a_save(tmp_path: Path) -> None:
    launch = a_launch(tmp_path, SAVES, save_grace_s=600.0, stop_grace_s=0.2)
    worker = saving(launch)
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert (outcome.kind, outcome.message) == (Ending.CANCELLED, "cancelled")


JUMPS = """
import os, pathlib, time
real, flag = time.time, pathlib.Path(os.environ["JUMPS"])
time.time = lambda: real() + (float(flag.read_text()) if flag.exists() else 0.0)
"""


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_a_clock_that_is_set_changes_no_limit(tmp_path: Path, jump_s: int) -> None:
    """Two hours forward end no job early, two hours back keep none alive."""
    (tmp_path / "sitecustomize.py").write_text(JUMPS)
    environ = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        "JUMPS": str(tmp_path / "by"),
    }
    launch = a_launch(tmp_path, WAITS, time_s=1.5)
    record.write_launch(launch)
    worker = subprocess.Popen([sys.executable, "-m", "leyden.worker", str(launch.folder)], env=environ)
    begun = time.monotonic()
    until(lambda: (file := record.read_worker(launch.folder)) and file.ranks)
    (tmp_path / "draft").write_text(str(jump_s))
    (tmp_path / "draft").rename(tmp_path / "by")
    assert worker.wait(timeout=60) == 0
    outcome = record.read_outcome(launch.folder)
    assert outcome
    assert outcome.kind is Ending.TIMED_OUT
    assert time.monotonic() - begun >= 1.4


FILLS = """
import os, pathlib, time
folder = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
print("begun", flush=True)
with open(folder / "filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(1024))
    except OSError:
        pass
    try:
        while True:
            file.write(b".")
    except OSError:
        pass
until = time.monotonic() + 1.5
while time.monotonic() < until:
    pass
"""


def test_a_full_disk_ends_no_job_and_hides_no_outcome(tmp_path: Path, listener: Listener) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        for folder in ("metrics", "logs"):
            (disk / folder).mkdir()
        launch = a_launch(disk, FILLS, api_url=listener.url, stall_s=60.0, gpus=(0,), fake_gpus=True)
        record.write_launch(launch)
        with (launch.folder / record.LOG).open("ab") as own:
            worker = subprocess.Popen(
                [sys.executable, "-m", "leyden.worker", str(launch.folder)], stdout=own, stderr=own
            )
        assert worker.wait(timeout=60) == 0
        ended = next(report for report in listener.reports if report["kind"] == "ended")
        assert json.loads(json.dumps(ended["outcome"]))["kind"] == "succeeded"
        assert record.read_outcome(launch.folder) is None
        assert (disk / "logs/a1-r0.log").read_text() == "begun\n"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)

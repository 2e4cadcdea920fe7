"""Does a rank that was forked off a preloaded process behave as one that was started anew?"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leyden.engines import record
from leyden.engines.base import Ending, Launch, Life, Outcome
from leyden.engines.local import LocalEngine
from tests.conformance.engine import WAITS, a_launch, outcome_of, pid_of, runs
from tests.conformance.until import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ranks are forked on Linux only")


class House:
    """An engine with a nursery, and jobs for it."""

    def __init__(self, root: Path) -> None:
        self.root, self._count = root, 0
        (root / "site").mkdir()
        (root / "site/sitecustomize.py").write_text("")  # stands for a package installed from its sources
        # Patient, as a machine that runs tests may be too busy to answer within 50 ms.
        self.engine = LocalEngine({**os.environ, "PYTHONPATH": str(root / "site")}, answer_s=20.0)

    def launch(self, text: str, *, args: tuple[str, ...] = (), name: str = "train.py", **changes: object) -> Launch:
        """Write the script and launch it; the same text lies in the same place."""
        code = self.root / f"code{hash((text, name)) % 10**12}"
        code.mkdir(exist_ok=True)
        (code / name).write_text(text)
        self._count += 1
        run_dir = self.root / f"run{self._count}"
        run_dir.mkdir()
        # No value is left to this machine, so that jobs with and without a fork are the same.
        environ = {**os.environ, "OMP_NUM_THREADS": "2"}
        fields = {"argv": (sys.executable, name, *args), "cwd": str(code), "environ": environ, **changes}
        launch = a_launch(run_dir, "", engine_ref=f"{self.root.name}-{self._count}", **fields)
        self.engine.launch(launch)
        return launch

    def run(self, text: str, **changes: object) -> tuple[Outcome, str]:
        """How it ended, and what it printed."""
        launch = self.launch(text, **changes)  # type: ignore[arg-type]
        return outcome_of(self.engine, launch), log_of(launch)

    def warm_up(self) -> None:
        """Have a nursery, as a server gets one: by a job that imports torch."""
        launch = self.launch("import torch\n" + WAITS)
        until(lambda: self.engine.poll([launch.ref]) and self.engine.warm(launch), within_s=120)
        Path(launch.run_dir, "go").touch()
        assert outcome_of(self.engine, launch).kind is Ending.SUCCEEDED


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    house.warm_up()
    yield house
    house.engine.close()


def log_of(launch: Launch, rank: int = 0) -> str:
    """What it printed so far."""
    file = Path(launch.run_dir, f"logs/a1-r{rank}.log")
    return file.read_text() if file.exists() else ""


def nursery_pid() -> int:
    """Of the only one this process has."""
    children = psutil.Process().children()
    return next(one.pid for one in children if "leyden.worker.nursery" in " ".join(one.cmdline()))


IS_WARM = "import sys; print('torch' in sys.modules)"
LOOKS = """
import faulthandler, json, locale, os, signal, stat, sys, tempfile, threading, gc
seen = {
    "main": sorted(vars()), "name": __name__, "file": __file__, "loader": type(__loader__).__name__, "spec": __spec__,
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "executable": sys.executable,
    "flags": str(sys.flags), "warnoptions": sys.warnoptions,
    "hook": sys.excepthook is sys.__excepthook__, "faults": faulthandler.is_enabled(),
    "signals": {n: str(signal.getsignal(n)) for n in signal.valid_signals()}, "wakeup": signal.set_wakeup_fd(-1),
    "masked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "umask": os.umask(0), "cwd": os.getcwd(),
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()], "thread": threading.current_thread().name,
    "threads": len(os.listdir("/proc/self/task")), "stdin": [sys.stdin.read(), sys.stdin.isatty()],
    "files": {int(n): os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 2 and
              os.path.exists(f"/proc/self/fd/{n}") and not os.readlink(f"/proc/self/fd/{n}").startswith("/proc/")},
    "streams": [[s.encoding, s.errors, s.line_buffering, s.write_through] for s in (sys.stdout, sys.stderr)],
    "modes": [stat.S_IFMT(os.fstat(n).st_mode) for n in range(3)], "append": os.get_inheritable(1),
    "limit": sys.getrecursionlimit(), "gc": [gc.isenabled(), gc.get_threshold()], "locale": locale.getlocale(),
    "environ": {k: v for k, v in os.environ.items() if k not in ("LEYDEN_RUN_DIR", "LEYDEN_CHECKPOINT_DIR")},
    "c_environ": os.popen("env | grep -c .").read(),
    "title": open("/proc/self/cmdline").read().replace("\\0", " ").strip(),
    "reference": os.environ["LEYDEN_ENGINE_REF"] in open("/proc/self/environ").read(),
}
seen["environ"].pop("LEYDEN_ENGINE_REF")
seen["was"] = "torch" in sys.modules
import multiprocessing.process, torch, numpy
seen |= {"orig": multiprocessing.process.ORIGINAL_DIR, "omp": torch.get_num_threads()}
seen |= {"gpu": torch.cuda.is_initialized()}
print(json.dumps(seen))
"""


HANGS = """
import time
def waits_here():
    time.sleep(600)
print("begun", flush=True)
waits_here()
"""


def test_a_rank_that_hangs_leaves_its_stacks(house: House) -> None:
    """PYTHONFAULTHANDLER works in the nursery, for its own log; it must for the rank's."""
    outcome, said = house.run(HANGS, stall_s=2.0)
    assert outcome.kind is Ending.INFRA
    assert "in waits_here" in said
    assert "leyden/worker/fork.py" in said


def test_a_forked_rank_sees_what_a_new_one_does(house: House) -> None:
    environ = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": "../beside:", "MINE": "ü"}
    seen = []
    for warm in (True, False):
        outcome, log = house.run(LOOKS, args=("--lr", "0.1", ""), environ=environ, warm=warm, vars={"A": "b"})
        assert outcome.kind is Ending.SUCCEEDED, log
        seen.append(json.loads(log))
    assert [one.pop("was") for one in seen] == [True, False]
    # OpenBLAS starts threads when NumPy is imported: in a new process after these looks, in a forked one before.
    assert [one.pop("threads") for one in seen] == [2, 1]
    assert seen[0] == seen[1]


ENDS = {
    "code": "import sys; sys.exit(3)",
    "again": "raise SystemExit(75)",
    "words": "import sys; print('before'); sys.exit('these words')",
    "error": "def f(x):\n    return 1 / x\n\ntry:\n    f(0)\nexcept ZeroDivisionError as error:\n"
    "    raise ValueError('ü') from error\n",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\nraise ValueError\n",
    "syntax": "print('no')\nx = = 1\n",
    "nothing": "",
    "import": "import nowhere_to_be_found",
    "interrupt": "import atexit, os, signal\natexit.register(print, 'at exit')\nos.kill(os.getpid(), signal.SIGINT)\n"
    "while True: pass\n",
    "killed": "import os, signal; print('x'); os.kill(os.getpid(), signal.SIGKILL)",
    "abort": "import os; os.abort()",
    "at once": "import os; print('x'); os._exit(4)",
    "finalizer": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')\nprint('end')\n",
    "late": "import atexit, threading, time\natexit.register(print, 'at exit')\n"
    "class A:\n    def __del__(self): print('deleted')\n"
    "a = A(); f = open('left_open', 'w'); f.write('whole')\n"
    "t = threading.Thread(target=lambda: (time.sleep(0.05), print('thread', __name__))); t.start(); print('end')\n",
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_as_a_new_one_does(house: House, name: str) -> None:
    warm, cold = (house.run(ENDS[name], warm=one) for one in (True, False))
    assert (warm[0].kind, warm[0].exit_code, warm[0].message) == (cold[0].kind, cold[0].exit_code, cold[0].message)
    assert warm[1] == cold[1] or name == "abort"  # there Python prints where its threads lie in memory
    if name == "late":
        assert next(house.root.glob("code*/left_open")).read_text() == "whole"


PICKLES = """
import multiprocessing, pickle, sys
class Thing:
    def __init__(self, x): self.x = x
def double(thing):
    return Thing(thing.x * 2), __name__, sys.argv[1:], "torch" in sys.modules
if __name__ == "__main__":
    for method in ("spawn", "fork", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            got, *rest = pool.apply(double, (Thing(21),))
            print(method, type(got) is Thing, got.x, *rest)
    print(type(pickle.loads(pickle.dumps(Thing(1)))) is Thing)
"""


def test_it_starts_processes_of_its_own(house: House) -> None:
    outcome, log = house.run(PICKLES, args=("a b",))
    assert outcome.kind is Ending.SUCCEEDED
    assert log.splitlines() == [
        "spawn True 42 __mp_main__ ['a b'] False",
        "fork True 42 __main__ ['a b'] True",  # as its parent
        "forkserver True 42 __mp_main__ ['a b'] False",
        "True",
    ]


DRAWS = """
import multiprocessing.process, os, random, tempfile, uuid, numpy, torch
print(random.random(), numpy.random.rand(), torch.rand(1).item(), tempfile.mktemp(), uuid.uuid4(),
      multiprocessing.process.current_process().authkey.hex(), os.environ.get("RANK"), sep="\\n")
"""


def test_no_two_draw_the_same(house: House) -> None:
    first = house.launch(DRAWS, ranks=2, distributed=True)
    second = house.launch(DRAWS)
    for launch in (first, second):
        assert outcome_of(house.engine, launch).kind is Ending.SUCCEEDED
    drawn = [log_of(first).split(), log_of(first, 1).split(), log_of(second).split()]
    assert all(len(set(kind)) == 3 for kind in zip(*drawn, strict=True)), drawn


OWN_THREADS = "import torch, numpy; print(torch.get_num_threads(), len(__import__('os').listdir('/proc/self/task')))"


def test_other_numbers_of_threads_are_honoured(house: House) -> None:
    _, log = house.run(IS_WARM + "\n" + OWN_THREADS, environ={**os.environ, "OMP_NUM_THREADS": "3"})
    was, threads, tasks = log.split()
    assert (was, threads) == ("True", "3")
    assert int(tasks) >= 3


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("asked for", {"warm": False}),
        ("hash seed", {"vars": {"PYTHONHASHSEED": "7"}}),
        ("optimize", {"vars": {"PYTHONOPTIMIZE": "1"}}),
        ("linker", {"vars": {"LD_LIBRARY_PATH": "/nowhere"}}),
        ("options of Python", {"argv": (sys.executable, "-u", "train.py")}),
        ("another interpreter", {"argv": (os.path.realpath(sys.executable), "train.py")}),
        ("own module", {"name": "typing_extensions.py", "text": "print(False)"}),
        ("shell", {"argv": ("sh", "-c", "echo False")}),
    ],
)
def test_where_only_a_new_interpreter_would_do_one_is_started(
    house: House, why: str, changes: dict[str, object]
) -> None:
    text = str(changes.pop("text", IS_WARM))
    outcome, log = house.run(text, **changes)
    assert (outcome.kind, log) == (Ending.SUCCEEDED, "False\n"), why
    assert house.run(IS_WARM)[1] == "True\n"  # others are still forked


def test_a_script_that_is_not_there_and_a_folder_that_is_not_there(house: House) -> None:
    outcome, log = house.run("", argv=(sys.executable, "nowhere.py"))
    assert (outcome.exit_code, "can't open file" in log) == (2, True)
    launch = house.launch(IS_WARM, cwd="/nowhere")
    assert "the working directory /nowhere does not exist" in outcome_of(house.engine, launch).message


def test_eight_ranks_end_when_asked(house: House) -> None:
    launch = house.launch("import os; print(os.environ['RANK'])\n" + WAITS, ranks=8, distributed=True, stop_grace_s=30)
    until(lambda: all(log_of(launch, rank).count("\n") == 2 for rank in range(8)))
    assert [log_of(launch, rank).split()[0] for rank in range(8)] == [str(rank) for rank in range(8)]
    pids = [int(log_of(launch, rank).split()[1]) for rank in range(8)]
    house.engine.stop(launch.ref, 30)
    assert outcome_of(house.engine, launch).kind is Ending.CANCELLED
    assert not any(runs(pid) for pid in pids)


def test_a_killed_worker_leaves_no_orphan(house: House) -> None:
    launch = house.launch("import os, sys; os.environ.clear()\nos.environ['LEYDEN_RUN_DIR'] = '.'\n" + WAITS)
    rank = pid_of(house.engine, launch)
    until(lambda: log_of(launch))
    worker = record.read_worker(launch.folder)
    assert worker is not None
    assert worker.worker is not None
    os.kill(worker.worker.pid, signal.SIGKILL)
    until(lambda: house.engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    (launch.folder / record.WORKER).unlink()  # as if it had not had the time to note its ranks
    assert record.claim(launch.folder, None)
    until(lambda: LocalEngine().release(launch.ref))
    assert not runs(rank)


def test_a_stopped_nursery_holds_nobody_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.engine._nurseries, "_answer_s", 0.2)
    pid = nursery_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        launch = house.launch(IS_WARM)
        assert outcome_of(house.engine, launch).kind is Ending.SUCCEEDED
    finally:
        os.kill(pid, signal.SIGCONT)
    assert log_of(launch) == "False\n"
    until(lambda: house.engine.warm(launch))  # its late answer was heard, and its child found the attempt taken
    until(lambda: "another worker runs this attempt" in (launch.folder / record.LOG).read_text())
    assert log_of(launch) == "False\n"


def test_ranks_outlive_the_nursery_and_the_engine_helps_itself(house: House) -> None:
    launch = house.launch(IS_WARM + "\n" + WAITS + "\nraise SystemExit(5)")
    until(lambda: log_of(launch).count("\n") == 2)
    children = psutil.Process(nursery_pid()).children(recursive=True)
    waiting = [child.pid for child in children if "leyden.worker.nursery" in " ".join(child.cmdline())]
    os.kill(nursery_pid(), signal.SIGKILL)
    until(lambda: not any(runs(pid) for pid in waiting))
    assert house.run(IS_WARM)[1] == "False\n"
    Path(launch.run_dir, "go").touch()
    outcome = outcome_of(house.engine, launch)
    assert (outcome.kind, outcome.exit_code, log_of(launch).split()[0]) == (Ending.FAILED, 5, "True")
    house.warm_up()
    assert house.run(IS_WARM)[1] == "True\n"


def test_what_is_installed_anew_ends_it(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    pid = nursery_pid()
    (house.root / "site/sitecustomize.py").write_text("# another version\n")
    assert house.run(IS_WARM)[1] == "False\n"
    until(lambda: not runs(pid))
    assert "installed anew" in capfd.readouterr().err

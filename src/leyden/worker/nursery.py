"""What does the preloaded process do? `python -m leyden.worker.nursery <descriptor>` bears workers that may fork ranks.

It imports torch and Leyden, opens no GPU, starts no thread, and then waits on its socket: for each folder of an attempt
that comes in, a child becomes the worker of that attempt. The nursery is no part of it any more: neither its end nor
its death touches a worker or a rank. It ends when the server is gone, after IDLE_S without work, when memory runs
short, and as soon as anything it has imported was installed anew.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import site
import socket
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version  # importlib.invalidate_caches() imports that too
from pathlib import Path

from leyden.engines import record
from leyden.worker import fork, script
from leyden.worker.huge import use_huge_pages
from leyden.worker.title import set_title

IDLE_S = 1800.0
CHECK_S = 30.0
SOON_S = 0.5  # the next child is born once the last one has started its ranks
SHORT = 0.05  # of memory left: other programs need it more
WORKER = ("-P", "-m", "leyden.worker")


def main() -> None:
    """Import, allow ranks to be forked, bear."""
    control = control_socket()
    environ = dict(os.environ)  # before torch adds to it
    foreign = script.python_path(environ, Path("/"))  # the server's; and the first entry is what -m put there
    path = [one for one in sys.path[1:] if one not in foreign]
    preload()
    fork.enable(environ, path, keep=frozenset(_descriptors()) - {control.fileno()})
    live(control, "leyden.worker.nursery")


def preload() -> None:
    """Import all that a worker and its ranks need."""
    import_worker()
    import leyden.train.warm

    leyden.train.warm.preload()
    use_huge_pages()


def control_socket() -> socket.socket:
    """The server's, as its descriptor was given."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    return control


def import_worker() -> None:
    """What a worker needs, as it is not to import anything on the way to its ranks."""
    import encodings.idna  # noqa: F401  of host names
    import tarfile  # noqa: F401

    import leyden.worker.attempt
    import leyden.worker.watch  # noqa: F401
    from leyden.worker.packages import own_packages

    own_packages()


def live(control: socket.socket, name: str) -> None:
    """Greet, then bear."""
    set_title([sys.executable, "-m", name])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are nobody's to wait for
    freeze()
    if why := _unfit():
        print(f"no ranks are forked here: {why}", file=sys.stderr)
        return  # without a greeting, so that it is not tried again
    control.send(json.dumps({"version": version("leyden")}).encode())
    _serve(control)


def freeze() -> None:
    """Leave what is here alone: whatever a child of this process touches must be copied."""
    script.note_modules()
    gc.collect()
    gc.freeze()  # or the first collection of every child would look at all of it


def _serve(control: socket.socket) -> None:
    """One child is born in advance: the next attempt need not even wait for the fork."""
    installed, used_at = _installed(), time.monotonic()
    changed = _changed(installed)
    child: _Child | None = _bear(control)
    while True:
        if not select.select([control], [], [], CHECK_S if child else SOON_S)[0]:
            child = child or _bear(control)
            if time.monotonic() - used_at > IDLE_S or _memory_left() < SHORT:
                return
            continue
        folder = control.recv(65536)
        if not folder:
            return
        used_at = time.monotonic()
        if why := "what it has imported was installed anew" if _changed(installed) != changed else _unfit():
            control.send(json.dumps({"refused": why}).encode())
            return
        child = child or _bear(control)
        with contextlib.suppress(BrokenPipeError):  # it was killed: the engine finds it gone
            os.write(child.order, folder)
        os.close(child.order)
        control.send(json.dumps({"pid": child.pid}).encode())
        child = None


@dataclass(frozen=True, kw_only=True)
class _Child:
    """One that waits for the folder of its attempt, and ends if the nursery does before it comes."""

    pid: int
    order: int


def _bear(control: socket.socket) -> _Child:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        return _Child(pid=pid, order=writer)
    code = 0
    try:
        os.setsid()
        control.close()
        os.close(writer)
        fork.prepare()
        if folder := os.read(reader, 65536):
            os.close(reader)
            code = _work(Path(os.fsdecode(folder)))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # taking down an interpreter with torch in it takes 0.1 s, and this one has nothing to say


def _work(folder: Path) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(folder / record.LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    set_title([sys.executable, *WORKER, str(folder)])
    from leyden.worker.attempt import run_attempt

    return run_attempt(folder)


def _unfit() -> str:
    """Why no child may be born any more, "" where one may."""
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        return "a thread runs in it, which a fork would not take along"
    if any(name.startswith("/dev/nvidia") for name in _descriptors().values()):
        return "it has opened a GPU, which a fork cannot share"
    return ""


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:  # the one the listing itself was read through
            continue
    return found


def _installed() -> list[str]:
    """The folders of packages, which change with each install, and files from elsewhere, as of editable installs."""
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [*folders, *(file for file in files if file and not file.startswith((library, *folders)))]


def _changed(names: list[str]) -> list[int]:
    return [os.stat(name).st_mtime_ns if os.path.exists(name) else 0 for name in names]  # noqa: PTH110, PTH116


def _memory_left() -> float:
    words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, left = (int(words[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return left / total


if __name__ == "__main__":
    main()

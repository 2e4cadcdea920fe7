"""How does a process that is already Python do what `python script.py …` does?

The interpreter's own functions run the file and end the process, so tracebacks, exit codes, atexit, threads and files
left open are treated as always. Only what stood in `sys` before the first line is put there by hand.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import importlib
import os
import signal
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_NEEDED = frozenset(
    {"__main__", "__mp_main__", "sys", "builtins", "io", "_io", "os", "abc", "codecs", "encodings", "site"}
)
_preloaded: list[str] = []  # modules that were here before the script, once it runs
_AT_START = frozenset({"sitecustomize", "usercustomize"})  # modules Python imports by itself, if it finds them


def folders(script: Path) -> list[Path]:
    """What Python puts first into sys.path: the folder the script, or what it is a link to, lies in."""
    return [script.resolve().parent]


def python_path(environ: Mapping[str, str], cwd: Path) -> list[str]:
    """The folders PYTHONPATH names, as Python makes them absolute."""
    named = environ.get("PYTHONPATH", "")
    return [os.path.normpath(cwd / one) for one in named.split(os.pathsep)] if named else []


def shadows(places: Sequence[Path | str]) -> list[str]:
    """Modules of these folders that a new interpreter would import instead of those that are imported here."""
    found: set[str] = set()
    for place in places:
        with contextlib.suppress(OSError):  # PYTHONPATH may name what is not there
            found.update(entry.name.partition(".")[0] for entry in os.scandir(place) if _is_other_module(entry))
    return sorted(found)


def _is_other_module(entry: os.DirEntry[str]) -> bool:
    name, dot, _ = entry.name.partition(".")
    if name in _AT_START:
        return True
    if name not in sys.modules or name in sys.builtin_module_names or name == "__main__":
        return False
    if str(getattr(sys.modules[name], "__file__", "")).startswith(entry.path):
        return False  # it was imported from there
    if dot:
        return entry.name.endswith((".py", ".pyc", ".so"))
    return os.path.exists(os.path.join(entry.path, "__init__.py"))  # noqa: PTH110, PTH118


def run(argv: Sequence[str]) -> NoReturn:
    """Run argv[1] as the program of this process, sys.path being set; ends the process."""
    path = os.path.join(os.getcwd(), argv[1].removeprefix("./"))  # noqa: PTH118, PTH109  as Python joins them
    sys.argv, sys.orig_argv = list(argv[1:]), list(argv)
    importlib.invalidate_caches()  # what was installed since is to be found
    _fresh_modules()
    before, main = sys.modules["__main__"], _main_module()
    for name in [
        name for name, module in sys.modules.items() if module is before
    ]:  # multiprocessing calls it __mp_main__
        sys.modules[name] = main
    _leave_fast()
    status = _run_file(path)
    if status and _interrupted():
        _die_of_interrupt()
    _exit(status)


def let_go() -> None:
    """Keep what was preloaded out of the interpreter's clearing up, at the end of a script's process.

    To be registered with atexit before anything else is, so that it is called last. Half of a short trial's time went
    into taking torch apart, all of it copied from the nursery's memory as it is touched (docs/log.md, 2026-11-22).
    What the script made and imported is cleared as always.
    """
    import gc
    import io

    keep: Any = ctypes.pythonapi.Py_IncRef
    keep.argtypes = [ctypes.py_object]
    for name in _preloaded:
        if (module := sys.modules.pop(name, None)) is not None:
            keep(module)
    if _preloaded:
        for one in gc.get_objects():  # without those of the nursery, which are frozen
            if isinstance(one, io.BufferedWriter | io.TextIOWrapper) and not one.closed:
                with contextlib.suppress(Exception):  # one that a preloaded module has come to hold
                    one.flush()


def _leave_fast() -> None:
    """At the process's end C's files are flushed, and no library that was loaded before the script is taken down."""
    _preloaded[:] = [name for name in sys.modules if name.partition(".")[0] not in _NEEDED]
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit") and hasattr(libc, "fcloseall"):  # glibc; called in reverse order, with the exit code
        libc.on_exit(libc._exit, None)
        libc.on_exit(libc.fcloseall, None)


def _main_module() -> types.ModuleType:
    main = types.ModuleType("__main__")
    vars(main).update(__builtins__=builtins, __annotations__={})
    return main


def _fresh_modules() -> None:
    """Undo what modules noted when the process began: where it stood, and keys no two jobs may share."""
    if process := sys.modules.get("multiprocessing.process"):
        made: Any = process
        made.ORIGINAL_DIR = os.getcwd()  # noqa: PTH109
        made.current_process()._config["authkey"] = made.AuthenticationString(os.urandom(32))
    if tempfile := sys.modules.get("tempfile"):
        vars(tempfile).update(tempdir=None, _name_sequence=None)


def _run_file(path: str) -> int:
    """What Python's own main does with a script. Prints what goes wrong; ends the process itself on SystemExit."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = libc.fopen(os.fsencode(path), b"rb")
    if not file:
        raise FileNotFoundError(path)
    run_file = ctypes.pythonapi.PyRun_SimpleFileExFlags
    run_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
    return 1 if run_file(file, os.fsencode(path), 1, None) else 0


def _interrupted() -> bool:
    kind = getattr(sys, "last_type", None)
    return isinstance(kind, type) and issubclass(kind, KeyboardInterrupt)


def _die_of_interrupt() -> NoReturn:
    """As Python ends after Ctrl-C: cleaned up, and killed by that signal, so that who waits knows."""
    import atexit
    import threading

    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    vars(sys.modules["__main__"]).clear()  # closes files that only the script's variables held
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(130)


def _exit(status: int) -> NoReturn:
    ctypes.pythonapi.Py_Exit(status)
    os._exit(status)

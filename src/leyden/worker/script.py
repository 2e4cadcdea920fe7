"""How does a process that is already Python do what `python script.py …` does?

The interpreter's own function runs the file, so tracebacks are its own. What stood in `sys` before the first line is
put there by hand, so is what happens at the end: threads, atexit, files left open, the exit code.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib
import io
import itertools
import os
import signal
import sys
import types
import weakref
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

_FILE_INPUT = 257  # Py_file_input
_preloaded: set[str] = set()  # modules that were here before the fork
_mains = ["__main__"]  # names of the one that is the program
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
    main = _main_module()
    sys.modules.update(dict.fromkeys(_mains, main))
    end(_run_file(path, main))


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


def _run_file(path: str, main: types.ModuleType) -> int:
    """What Python's own main does with a script; the exit code, -SIGINT after Ctrl-C. Prints what goes wrong."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = libc.fopen(os.fsencode(path), b"rb")
    if not file:
        raise FileNotFoundError(path)
    vars(main).update(__file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path))
    run_file = ctypes.pythonapi.PyRun_FileExFlags
    run_file.restype = ctypes.py_object  # NULL raises here what the script has raised
    run_file.argtypes = [
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
        *(ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p),
    ]
    try:
        run_file(file, os.fsencode(path), _FILE_INPUT, vars(main), vars(main), 1, None)
    except SystemExit as stop:
        return _code_of(stop)
    except BaseException as error:
        _show(error)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def note_modules() -> None:
    """These are not the script's. Before the fork: to look at each in a child would copy the memory it lies in."""
    _preloaded.update(sys.modules)
    main = sys.modules["__main__"]
    _mains[:] = [name for name, module in sys.modules.items() if module is main]  # multiprocessing calls it __mp_main__
    sys.path_importer_cache.clear()  # a new interpreter knows no folder either; each child would mark each as outdated
    finalize: Any = weakref.finalize
    for one in list(finalize._registry):
        one.atexit = False  # what is to be done at this process's end is not to be done at that of each of its children
    atexit.unregister(finalize._exitfunc)  # it would look at each of them
    finalize._registered_with_atexit = False  # the script's first one has it registered again


def _code_of(stop: SystemExit) -> int:
    """What `sys.exit(…)` means, as Python has it."""
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """As Python shows what nobody caught; without this file's own frame."""
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    try:
        sys.excepthook(type(error), error, trace)
    except BaseException as other:
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(other), other, other.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, trace)


def end(status: int) -> NoReturn:
    """What Python does at the end of a program, as far as the script can tell; what was preloaded is left alone.

    To take it down cost a forked rank 200 ms, most of it to copy the nursery's memory, as each object was touched.
    """
    import threading

    for leave in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        with contextlib.suppress(BaseException):  # atexit has printed it
            leave()
    _flush(sys.stdout, sys.stderr)
    for name in ["__main__", *itertools.takewhile(lambda one: one not in _preloaded, reversed(sys.modules))]:
        _clear(sys.modules.get(name))
    gc.collect()
    _flush(*(one for one in gc.get_objects() if isinstance(one, io.BufferedWriter | io.TextIOWrapper)))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    ctypes.CDLL(None).fflush(None)  # what C code has printed
    # Not exit(3): what C++ keeps for this thread would call Python, whose lock nobody holds there.
    os._exit(status)


def _clear(module: object) -> None:
    """Let go of what it holds: names with one underscore first, as Python does."""
    names = getattr(module, "__dict__", {})
    for first in (True, False):
        for name in [one for one in names if (one[:1] == "_" and one[1:2] != "_") is first and one != "__builtins__"]:
            names[name] = None


def _flush(*files: object) -> None:
    for one in files:
        with contextlib.suppress(Exception):  # closed, or it has nowhere to go
            if one is not None and not one.closed:  # type: ignore[attr-defined]
                one.flush()  # type: ignore[attr-defined]

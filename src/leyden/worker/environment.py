"""How do ranks get the environment that their job asks for?

Built with uv under <home>/envs/<key>; the key is the content of what lists the packages, the Python and the platform,
so the next job that says the same waits for nothing. Built as a draft and renamed, by one attempt at a time.

The ranks see exactly the packages that were asked for, not the submitter's: or a job would depend on what is not on
record. `leyden` alone comes along, by a link to the one that runs this worker, as a job must report to the server
that started it; what its Trainer needs besides torch is installed where there is torch.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TextIO

from leyden.core.environment import installed
from leyden.core.errors import LeydenError, NotFoundError
from leyden.engines import record
from leyden.engines.base import Ending, Launch, Outcome
from leyden.worker.bell import Bell
from leyden.worker.deadline import Deadline
from leyden.worker.packages import record_environment, site_packages
from leyden.worker.recipe import OURS, Recipe, make_recipe

TRAINER_NEEDS = (
    "numpy>=1.26",
    "psutil>=6",
    "rich>=13.9",
    "safetensors>=0.5",
)  # as in pyproject.toml; torch is the job's own choice
BESIDE = Path(sys.executable).parent  # where pip puts uv
_ASK_S = 0.1  # between looks at a lock that another attempt holds
_WORDS = 800  # characters of uv's complaint that a job's reason holds; its log has all of it


class _StoppedError(Exception):
    """The attempt was asked to end, or must."""


class _BuildError(Exception):
    """uv could not build it; holds its words."""


@dataclass(frozen=True, kw_only=True)
class _Site:
    """One build: who asks, from what, where to."""

    launch: Launch
    recipe: Recipe
    bell: Bell
    deadline: Deadline
    uv: str
    log: BinaryIO
    lock: TextIO
    final: Path

    @property
    def draft(self) -> Path:
        return self.final.with_name(f".{self.final.name}.draft")

    def say(self, text: str) -> None:
        """A line in the log of rank 0, where the user waits for the first one of the script."""
        self.log.write(f"leyden: {text}\n".encode())
        self.log.flush()

    def tell(self, doing: str) -> None:
        """The same, and to the server: what `leyden ps` shows of a job that does not run yet."""
        self.say(doing)
        record.update_worker(self.launch.folder, record.WorkerFile(worker=record.myself(), doing=doing))


def enter(launch: Launch, bell: Bell, deadline: Deadline) -> Launch | Outcome:
    """The launch in its environment, built if need be; or how the attempt ends without one."""
    try:
        recipe = make_recipe(launch)
        final = Path(launch.envs) / recipe.key
        while not _hold(final):
            _build(launch, recipe, bell, deadline, final)
    except _StoppedError:
        kind, message = Ending.CANCELLED, "cancelled while its environment was built"
        if deadline.over:
            kind, message = Ending.TIMED_OUT, f"{deadline.message}; its environment was still being built"
    except (LeydenError, _BuildError) as error:
        kind, message = Ending.FAILED, str(error)
    else:
        inside = _inside(launch, final)
        record_environment(replace(inside, argv=(str(final / "bin" / "python"),)), key=recipe.key)
        return inside
    code = 1 if kind is Ending.FAILED else None
    return Outcome(kind=kind, message=message, exit_code=code, ended_at=time.time())


def _hold(final: Path) -> bool:
    """Whether it is there; if so, nobody cleans it away while this worker lives (server/files/waste.py)."""
    if not final.exists():
        return False
    lock = os.open(_lock_file(final), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # it is just being removed, or built again
        os.close(lock)
        return False
    os.utime(lock)  # used now
    if final.exists():
        return True  # with the lock, which is never closed
    os.close(lock)
    return False


def _lock_file(final: Path) -> Path:
    return final.with_name(f".{final.name}.lock")


def _inside(launch: Launch, final: Path) -> Launch:
    scripts = str(final / "bin")
    kept = {key: value for key, value in launch.environ.items() if key not in {"PYTHONHOME", "CONDA_PREFIX"}}
    path = f"{scripts}{os.pathsep}{kept.get('PATH', os.defpath)}"
    first = f"{scripts}/python" if launch.script else launch.argv[0]
    return replace(launch, argv=(first, *launch.argv[1:]), environ={**kept, "VIRTUAL_ENV": str(final), "PATH": path})


def _build(launch: Launch, recipe: Recipe, bell: Bell, deadline: Deadline, final: Path) -> None:
    """Make the environment at `final`, whole or not at all."""
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    logs = Path(launch.run_dir) / "logs"
    logs.mkdir(exist_ok=True)
    with (
        (logs / f"a{launch.number}-r0.log").open("a+b") as log,
        _lock_file(final).open("w") as lock,
    ):
        uv = _find_uv(launch)
        site = _Site(recipe=recipe, launch=launch, bell=bell, deadline=deadline, uv=uv, log=log, lock=lock, final=final)
        _lock(site)
        if final.exists():  # the one waited for has built it
            return
        shutil.rmtree(site.draft, ignore_errors=True)
        began = time.monotonic()
        site.tell(f"building the environment of {launch.env}")
        try:
            _install(site)
            site.draft.rename(final)
        finally:
            shutil.rmtree(site.draft, ignore_errors=True)
        count = sum(len(installed(folder)) for folder in site_packages(final / "bin" / "python"))
        site.say(f"environment {recipe.key} built in {time.monotonic() - began:.1f} s; packages: {count}")


def _lock(site: _Site) -> None:
    """Be the only one that builds that environment, until this worker and every uv it started have ended."""
    told = False
    while True:
        try:
            fcntl.flock(site.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                site.tell(f"waiting for another job that builds the environment of {site.launch.env}")
            told = True
            _wait(site, _ASK_S)


def _install(site: _Site) -> None:
    python = str(site.draft / "bin" / "python")
    # Relocatable: its programs find their Python by where they lie, so the draft can be renamed.
    _uv(site, "venv", "--quiet", "--relocatable", "--no-project", "--python", site.recipe.wants, str(site.draft))
    for arguments in site.recipe.steps(python):
        _uv(site, *arguments)
    folders = site_packages(Path(python))
    if any((folder / "torch").exists() for folder in folders):
        _uv(site, "pip", "install", "--python", python, *TRAINER_NEEDS)
    for folder in folders:
        if not (folder / "leyden").exists():
            (folder / "leyden").symlink_to(OURS)


def _uv(site: _Site, *arguments: str) -> None:
    """Run uv with its output in the rank's log. Raises _BuildError with its words, _StoppedError."""
    begin = site.log.seek(0, os.SEEK_END)
    # Its own session: nothing that reaches the worker's group ends it halfway, and all it starts ends with it.
    process = subprocess.Popen(
        [site.uv, *arguments, "--no-progress", "--color", "never"],
        cwd=site.recipe.folder, env=_environ(site), stdin=subprocess.DEVNULL, stdout=site.log, stderr=site.log,
        start_new_session=True, pass_fds=(site.lock.fileno(),),  # a uv that outlives a killed worker still holds it
    )  # fmt: skip
    try:
        while process.poll() is None:
            _wait(site, 1.0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        site.log.seek(begin)
        words = _words(site.log.read().decode(errors="replace"))
        raise _BuildError(f"the environment of {site.launch.env} cannot be built; uv says: {words}")


def _environ(site: _Site) -> dict[str, str]:
    """The submitter's, with its proxies and UV_ settings; nothing that points uv at another environment.

    The job's own Python comes first where the project wants any of several versions.
    """
    dropped = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON", "UV_NO_PROGRESS"}
    kept = {**site.launch.environ, **site.launch.vars}
    kept = {key: value for key, value in kept.items() if key not in dropped}
    path = f"{site.recipe.interpreter}{os.pathsep}{kept.get('PATH', os.defpath)}"
    ours = {"UV_PROJECT_ENVIRONMENT": str(site.draft), record.REF_VARIABLE: site.launch.engine_ref}
    return kept | ours | {"PATH": path}


def _wait(site: _Site, timeout_s: float) -> None:
    if site.deadline.over or site.bell.cancels or site.bell.saves:
        raise _StoppedError
    site.bell.wait(timeout_s)


def _words(text: str) -> str:
    """What matters of uv's output: from its complaint on, on one line."""
    found = text.splitlines()
    starts = [at for at, line in enumerate(found) if line.lstrip().startswith(("×", "error:"))]
    said = " ".join(" ".join(found[starts[0] if starts else 0 :]).replace("×", "").replace("╰─▶", "").split())
    return said if len(said) <= _WORDS else f"{said[:_WORDS]}…"


def _find_uv(launch: Launch) -> str:
    found = shutil.which("uv", path=str(BESIDE)) or shutil.which("uv", path=launch.environ.get("PATH"))
    if found:
        return found
    raise NotFoundError(
        asked=f"the environment of {launch.env} is to be built",
        found="uv is not installed where the job runs",
        do="Install it there: pip install 'leyden[env]'.",
    )

"""How does a job get from the user's folder to the server's queue?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from leyden.client import capture
from leyden.client.api import Client
from leyden.client.heavy import IGNORE_FILE
from leyden.core.address import parse_git
from leyden.core.environment import INFERRED, Kind, kind_of
from leyden.core.errors import NotFoundError, UsageError
from leyden.core.home import Home
from leyden.core.login import login
from leyden.core.units import format_size
from leyden.core.views import JobView

if TYPE_CHECKING:
    from leyden.core.job import Job

View = TypeVar("View")
View_co = TypeVar("View_co", covariant=True)

# What the platform itself sets for a rank: a job submitted from within a job starts without them.
_RANK_VARIABLES = frozenset({
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("LEYDEN_JOB_ID", "LEYDEN_ATTEMPT", "LEYDEN_FENCE", "LEYDEN_RUN_DIR", "LEYDEN_CHECKPOINT_DIR"),
    *("LEYDEN_RESUME_FROM", "LEYDEN_DEADLINE", "LEYDEN_API_URL", "LEYDEN_TOKEN", "PWD", "OLDPWD", "SHLVL", "_"),
})  # fmt: skip
_LARGE_BYTES = 20_000_000
_NO_FILE = frozenset({Kind.INHERIT, Kind.SCRIPT, Kind.INFER})


class Send(Protocol[View_co]):
    """Hands a job in whose code the server has, by itself or as what a sweep varies."""

    def __call__(
        self,
        client: Client,
        job: Job,
        /,
        *,
        code: str,
        cwd: str,
        submit_dir: str,
        environ: Mapping[str, str],
        user: str,
    ) -> View_co: ...


def submit(
    connect: Callable[[], Client],
    job: Job,
    *,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    in_place: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> JobView:
    """Hand a job in: `bring` with the client's own `submit`."""
    send: Send[JobView] = Client.submit
    return bring(connect, job, send, folder=folder, environ=environ, in_place=in_place, say=say)


def bring(
    connect: Callable[[], Client],
    job: Job,
    send: Send[View],
    *,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    in_place: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> View:
    """Capture the tree around `folder`, or that of the job's `git`, upload it if the server lacks it; hand the job in.

    `in_place` runs the job in `folder` itself, without a copy. The server is looked for, or started, only once the
    tree is known to be good; `say` hears about what takes long. Raises CaptureError, PlacementError, UnreachableError.
    """
    inherited = {key: value for key, value in environ.items() if key not in _RANK_VARIABLES}
    if in_place:
        _check_in_place(job, folder)
        here = str(folder)
        return send(connect(), job, code="", cwd=here, submit_dir=here, environ=inherited, user=login(environ))
    home = Home.from_environ(environ)
    if job.git:
        from leyden.client.checkout import checked_out

        with checked_out(home, parse_git(job.git), folder=folder, say=say) as found:
            job = job.model_copy(update={"git": found.address.without_path()})
            return _hand_in(connect, job, send, found.tree, folder, inherited, say)
    tree = capture.find_tree(folder, leave_out=home.root)  # copies would hold copies
    return _hand_in(connect, job, send, tree, folder, inherited, say)


def _hand_in(
    connect: Callable[[], Client],
    job: Job,
    send: Send[View],
    tree: capture.Tree,
    folder: Path,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> View:
    job = _located(job, tree)
    notes = _inferred(job, tree, say)
    client = connect()
    if tree.size_bytes > _LARGE_BYTES:
        size = f"{format_size(tree.size_bytes)} in {len(tree.files)} files"
        say(f"copying {size}; {IGNORE_FILE} can leave some out")
    archive = capture.pack(tree, notes)
    with archive.file:
        if not client.has_code(archive.sha256):
            client.put_code(archive.sha256, archive.file, archive.size_bytes)
    user = login(environ)
    place = {"code": archive.sha256, "cwd": tree.cwd, "submit_dir": str(folder)}
    return send(client, job, **place, environ=environ, user=user)


def _located(job: Job, tree: capture.Tree) -> Job:
    """The job with its files named as the copy has them; raises CaptureError, NotFoundError."""
    files: dict[str, str] = {}
    if job.script:
        files["script"] = capture.relative(tree, job.script)
    if kind_of(job.env) not in _NO_FILE:
        files["env"] = capture.relative(tree, job.env, use="be read")
    return job.model_copy(update=files)


def _inferred(job: Job, tree: capture.Tree, say: Callable[[str], None]) -> dict[str, bytes]:
    """What the copy holds besides the tree: the packages that the script imports, where that is asked for."""
    if kind_of(job.env) is not Kind.INFER or not job.script:
        return {}
    from leyden.client.imports import infer

    script = (tree.root / tree.cwd / job.script).resolve().relative_to(tree.root).as_posix()
    found = infer(tree.root, tree.files, script, python=job.python)
    say(found.describe())
    return {INFERRED: "".join(f"{one}\n" for one in found.requirements).encode()}


def _check_in_place(job: Job, folder: Path) -> None:
    kind = kind_of(job.env)
    if job.git or kind is Kind.INFER:
        what = "code from a repository" if job.git else "an environment inferred from imports"
        raise UsageError(
            asked=f"the job is to run in place, with {what}",
            found="that needs a copy of the code",
            do="Leave --in-place out.",
        )
    if kind not in _NO_FILE and not (folder / job.env).is_file():
        raise NotFoundError(
            asked=f"the job's packages are listed in {job.env}", found="there is no such file", do="Check it."
        )

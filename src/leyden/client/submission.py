"""How does a job get from the user's folder to the server's queue?"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.client import capture
from leyden.client.api import Client
from leyden.core.home import Home
from leyden.core.units import format_size
from leyden.core.views import JobView

if TYPE_CHECKING:
    from leyden.core.job import Job

# What the platform itself sets for a rank: a job submitted from within a job starts without them.
_RANK_VARIABLES = frozenset({
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("LEYDEN_JOB_ID", "LEYDEN_ATTEMPT", "LEYDEN_FENCE", "LEYDEN_RUN_DIR", "LEYDEN_CHECKPOINT_DIR"),
    *("LEYDEN_RESUME_FROM", "LEYDEN_DEADLINE", "LEYDEN_API_URL", "LEYDEN_TOKEN", "PWD", "OLDPWD", "SHLVL", "_"),
})  # fmt: skip
_LARGE_BYTES = 20_000_000


def submit(
    connect: Callable[[], Client],
    job: Job,
    *,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    in_place: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> JobView:
    """Capture the tree around `folder`, upload it if the server lacks it, and hand the job in.

    `in_place` runs the job in `folder` itself, without a copy. The server is looked for, or started, only once the
    tree is known to be good; `say` hears about what takes long. Raises CaptureError, PlacementError, UnreachableError.
    """
    inherited = {key: value for key, value in environ.items() if key not in _RANK_VARIABLES}
    if in_place:
        here = str(folder)
        return connect().submit(job, code="", cwd=here, submit_dir=here, environ=inherited, user=_user())
    tree = capture.find_tree(folder, leave_out=Home.from_environ(environ).root)  # copies would hold copies
    if job.script:
        job = job.model_copy(update={"script": capture.relative_script(tree, job.script)})
    client = connect()
    if tree.size_bytes > _LARGE_BYTES:
        size = f"{format_size(tree.size_bytes)} in {len(tree.files)} files"
        say(f"copying {size}; {capture.IGNORE_FILE} can leave some out")
    archive = capture.pack(tree)
    with archive.file:
        if not client.has_code(archive.sha256):
            client.put_code(archive.sha256, archive.file, archive.size_bytes)
    return client.submit(
        job, code=archive.sha256, cwd=tree.cwd, submit_dir=str(folder), environ=inherited, user=_user()
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid{os.getuid()}"

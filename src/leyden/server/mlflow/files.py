"""How do artifacts come and go through MLflow's own proxy?

PUT, GET, DELETE on mlflow-artifacts/artifacts/<experiment>/<run>/artifacts/<path>; they lie in artifacts/ of the run's
folder. Pictures of `mlflow.log_image(…, key=, step=)` are shown among the run's media too.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final, final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from leyden.server.mlflow.faults import MlflowError, invalid, missing
from leyden.server.mlflow.run import MlflowRun
from leyden.server.mlflow.runs import Runs, remove_tree
from leyden.track.media import Media, Medium

FOLDER: Final = "artifacts"
_PARTS: Final = 3  # experiment, run, "artifacts"
_PICTURE: Final = re.compile(
    r"images/(?P<key>[^/]+)\+step\+(?P<step>-?\d{1,18})\+timestamp\+(?P<ms>\d{1,15})\+[\w-]+\.png"
)
_NEVER: Final = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # however often it is tried


@final
class Artifacts:
    """Of all runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def answer(self, request: Request, path: str) -> Response:
        """One request. Raises MlflowError."""
        if request.method == "GET" and not path:
            listed = await run_in_threadpool(self._list_below, request.query_params.get("path", ""))
            return JSONResponse({"files": listed})
        run, file = await run_in_threadpool(self._place, path)
        if request.method == "PUT":
            await _receive(request, run, file)
            await run_in_threadpool(_show, run, file)
            return JSONResponse({})
        if request.method == "DELETE":
            await run_in_threadpool(remove_tree, file)
            return JSONResponse({})
        if not file.is_file():
            raise missing(f"Artifact {path[:300]!r}")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(file, media_type=kind, filename=file.name, headers=headers)

    def list_of(self, body: dict[str, Any]) -> dict[str, Any]:
        """artifacts/list: what lies in a folder of the run's."""
        run = self._runs.get(body.get("run_id"))
        path = str(body.get("path") or "")
        root = run.folder / FOLDER
        files = [{**one, "path": f"{path}/{one['path']}".strip("/")} for one in _listed(_inside(root, path))]
        return {"root_uri": run.info()["artifact_uri"], "files": files}

    def _list_below(self, path: str) -> list[dict[str, Any]]:
        _, folder = self._place(path)
        return _listed(folder)

    def _place(self, path: str) -> tuple[MlflowRun, Path]:
        parts = path.strip("/").split("/")
        if len(parts) < _PARTS or parts[2] != FOLDER:
            raise invalid(f"Artifacts lie below <experiment>/<run>/artifacts, not at {path[:300]!r}.")
        run = self._runs.get(parts[1])
        return run, _inside(run.folder / FOLDER, "/".join(parts[_PARTS:]))


def _inside(root: Path, path: str) -> Path:
    parts = [part for part in path.split("/") if part]
    whole = root.joinpath(*parts)
    if "\0" in path or {".", ".."} & {*parts} or not whole.resolve().is_relative_to(root.resolve()):
        raise invalid(f"Invalid path: {path[:300]!r}")
    return whole


def _listed(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir())
    return [
        {"path": one.name, "is_dir": True} if one.is_dir() else
        {"path": one.name, "is_dir": False, "file_size": one.stat().st_size}
        for one in entries
    ]  # fmt: skip


async def _receive(request: Request, run: MlflowRun, file: Path) -> None:
    """The body, whole or not at all."""
    if file == run.folder / FOLDER:
        raise invalid("An artifact needs a name.")
    draft = run.folder / f".{FOLDER}-{secrets.token_hex(8)}"
    try:
        with draft.open("wb") as written:
            async for piece in request.stream():
                await run_in_threadpool(written.write, piece)
        file.parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, file)  # noqa: PTH105
    except OSError as error:
        if error.errno in _NEVER:
            raise invalid(f"There can be no artifact {file.name[:300]!r} there: {error.strerror}.") from error
        raise MlflowError("INTERNAL_ERROR", f"The server cannot keep {file.name!r}: {error.strerror}.", 500) from error
    finally:
        draft.unlink(missing_ok=True)


def _show(run: MlflowRun, file: Path) -> None:
    """As a picture of that name and step, if its name says that it is one. (mlflow.MlflowClient.log_image)"""
    found = _PICTURE.fullmatch(file.relative_to(run.folder / FOLDER).as_posix())
    if found is None:
        return
    name, at = found["key"].replace("~", "/"), int(found["ms"]) / 1000
    about = Medium(kind="image", name=name, step=int(found["step"]), at=at, file="")
    with contextlib.suppress(OSError):  # it is kept as an artifact
        Media(run.folder, attempt=1, rank=0).write(about, ".png", file.read_bytes)

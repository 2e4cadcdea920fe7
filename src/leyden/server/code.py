"""How does a captured tree get into the store of trees, and out again? Streamed to a file, hashed on the way, whole or
not at all; and which environment did it run in?"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse

from leyden.core.environment import read_environment
from leyden.core.errors import CaptureError, NotFoundError, SpecError
from leyden.core.home import Home
from leyden.core.units import format_size
from leyden.engines.base import attempt_folder
from leyden.jobs.rows import find_job
from leyden.server.launching import code_file
from leyden.server.services import Services

LIMIT_BYTES = 250_000_000
Sha256 = Annotated[str, InPath(pattern=r"^[0-9a-f]{64}$")]


def add_code(app: FastAPI, services: Services) -> None:
    """The routes of captured trees and environments."""
    home, store = services.home, services.store

    @app.head("/api/code/{sha256}")
    def has_code(sha256: Sha256) -> Response:
        return Response(status_code=200 if code_file(home, sha256).exists() else 404)

    @app.put("/api/code/{sha256}")
    async def put_code(sha256: Sha256, request: Request) -> Response:
        await store_code(home, sha256, request.stream())
        return Response(status_code=204)

    @app.get("/api/code/{sha256}")
    def get_code(sha256: Sha256) -> Response:
        file = code_file(home, sha256)
        if not file.exists():
            raise NotFoundError(
                asked=f"the captured tree {sha256[:12]}…", found="the server has none of that hash", do="Check it."
            )
        return FileResponse(file, media_type="application/gzip")

    @app.get("/api/jobs/{ref}/environment")
    def environment(ref: str) -> Response:
        job = store.read(lambda connection: find_job(connection, ref))
        view = read_environment(attempt_folder(home.runs / job.id, max(1, job.attempt)))
        return JSONResponse(asdict(view) if view else None)


async def store_code(home: Home, sha256: str, chunks: AsyncIterator[bytes], *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Keep the tree under its hash. Raises SpecError for a wrong hash, CaptureError where it is too large."""
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=home.code, prefix=".upload-", delete=False) as file:
        draft = Path(file.name)
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit_bytes:
                    raise CaptureError(
                        asked="the working tree was sent to the server",
                        found=f"it is larger than {format_size(limit_bytes)} packed",
                        do="Keep data and checkpoints out of it: list them in .gitignore.",
                    )
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != sha256:
                raise SpecError(
                    asked=f"a tree with the hash {sha256[:12]}… was announced",
                    found=f"what arrived has {digest.hexdigest()[:12]}…",
                    do="Send it again: it was damaged on the way, or changed while it was read.",
                )
            file.flush()
            draft.replace(code_file(home, sha256))
        finally:
            draft.unlink(missing_ok=True)

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

from leyden.core.environment import EnvironmentView, read_environment
from leyden.core.errors import CaptureError, NotFoundError, SpecError
from leyden.core.home import Home
from leyden.core.units import format_size
from leyden.engines.base import attempt_folder
from leyden.jobs.rows import find_job
from leyden.server.bodies import Ref
from leyden.server.launching import code_file, renew
from leyden.server.openapi import HEAD, data
from leyden.server.services import Services

LIMIT_BYTES = 250_000_000
_BODY = {"required": True, **data("A tar.gz with that hash, 250 MB at most.", "application/gzip")}
Sha256 = Annotated[str, InPath(pattern=r"^[0-9a-f]{64}$", description="Of the tree's tar.gz.")]


def add_code(app: FastAPI, services: Services) -> None:
    """The routes of captured trees and environments."""
    home, store = services.home, services.store

    @app.head("/api/code/{sha256}", response_class=Response, responses=HEAD)
    def has_code(sha256: Sha256) -> Response:
        """Whether the server has that tree: 200 or 404."""
        return Response(status_code=200 if renew(code_file(home, sha256)) else 404)

    @app.put("/api/code/{sha256}", status_code=204, openapi_extra={"requestBody": _BODY})
    async def put_code(sha256: Sha256, request: Request) -> Response:
        """Upload a captured tree.

        It is kept for a day, and for as long as a job was made from it.
        """
        await store_code(home, sha256, request.stream())
        return Response(status_code=204)

    @app.get("/api/code/{sha256}", response_class=Response, responses={200: data("The tree.", "application/gzip")})
    def get_code(sha256: Sha256) -> Response:
        """Download a captured tree."""
        file = code_file(home, sha256)
        if not file.exists():
            raise NotFoundError(
                asked=f"the captured tree {sha256[:12]}…", found="the server has none of that hash", do="Check it."
            )
        return FileResponse(file, media_type="application/gzip")

    @app.get("/api/jobs/{ref}/environment", response_model=EnvironmentView | None)
    def get_environment(ref: Ref) -> Response:
        """The interpreter and the packages of a job's last attempt; null where that is not on record."""
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

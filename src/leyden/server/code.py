"""How does a captured tree get into the store of trees? Streamed to a file, hashed on the way, whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from leyden.core.errors import CaptureError, SpecError
from leyden.core.home import Home
from leyden.core.units import format_size
from leyden.server.launching import code_file

LIMIT_BYTES = 250_000_000


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

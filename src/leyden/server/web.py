"""How does a browser get the dashboard, and how does it prove who it is?

Its files are for everybody: they hold no data. What they show comes from the API, which wants the server's token or,
from a browser, a cookie that was given for that token: `leyden ui` opens /login#token=…, whose end no server and no
proxy sees, and the page there asks for the cookie at once. No script of another site can read it, nor send it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.requests import Request

from leyden import ui
from leyden.core.errors import NotFoundError
from leyden.server.services import Services
from leyden.server.tokens import SESSION_S

VIEWS: Final = ("/", "/login", "/runs", "/runs/{ref}", "/compare", "/cluster", "/queue", "/sweeps", "/sweeps/{ref}")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"  # the name of an asset holds its hash
_ASSET: Final = re.compile(r"[\w.-]+", re.ASCII)
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_LACKING: Final = """<!doctype html><meta charset="utf-8"><title>Leyden</title>
<h1>This copy of Leyden has no dashboard</h1>
<p>It was installed with <code>LEYDEN_NO_UI=1</code>, or is run from its sources. Install it again without that:
<code>pip install leyden</code>, or in a checkout <code>pip install -e .</code></p>
"""


def add_web(app: FastAPI, services: Services, *, dist: Path = ui.DIST) -> None:
    """The pages of the dashboard, their files, and the cookie."""

    def page() -> Response:
        if not ui.built(dist):
            return HTMLResponse(_LACKING, 501, _HEADERS)
        return FileResponse(
            dist / "index.html", media_type="text/html", headers=_HEADERS | {"Cache-Control": "no-cache"}
        )

    for number, path in enumerate(VIEWS):
        app.add_api_route(path, page, methods=["GET", "HEAD"], name=f"page_{number}", include_in_schema=False)

    @app.get("/assets/{name}", include_in_schema=False)
    def get_asset(name: str) -> Response:
        file = dist / "assets" / name
        if not _ASSET.fullmatch(name) or not file.is_file():
            raise NotFoundError(asked=f"the file {name!r}", found="there is none", do="Load the page again.")
        kind = _TYPES.get(file.suffix, "application/octet-stream")
        return FileResponse(file, media_type=kind, headers=_HEADERS | {"Cache-Control": _FOR_EVER})

    @app.post("/api/session", status_code=204)
    def post_session(request: Request) -> Response:
        """Give a browser that shows the token, or an older cookie, a cookie that opens the same for 30 days."""
        tokens, response = services.tokens, Response(status_code=204)
        response.set_cookie(
            tokens.cookie,
            tokens.session(services.clock() + SESSION_S),
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @app.delete("/api/session", status_code=204)
    def delete_session() -> Response:
        """Take the cookie from the browser."""
        response = Response(status_code=204)
        response.delete_cookie(services.tokens.cookie, httponly=True, samesite="strict")
        return response

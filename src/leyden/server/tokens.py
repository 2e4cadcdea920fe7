"""Who may ask the server for what?

Everybody who can read server.json (its owner) holds the server's token. An attempt has a token of its own, good for its
reports only; it is derived from a secret of the home, so a restarted server knows it without storing it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from typing import final

from starlette.types import ASGIApp, Receive, Scope, Send

from leyden.core.home import Home
from leyden.engines.record import replace

_REPORT = re.compile(rb"^/api/attempts/([^/]+)/report$")


@final
class Tokens:
    """The tokens of one server."""

    def __init__(self, home: Home) -> None:
        self.server = secrets.token_urlsafe(24)
        file = home.root / "secret.key"
        if not file.exists():
            replace(file, secrets.token_hex(32))
        self._secret = file.read_bytes()

    def attempt(self, uid: str) -> str:
        """The token of an attempt."""
        return hmac.new(self._secret, uid.encode(), hashlib.sha256).hexdigest()

    def allows(self, path: str, token: str) -> bool:
        """Whether the token opens the path; as slow for a wrong one as for the right one."""
        report = _REPORT.match(path.encode())
        expected = self.attempt(report[1].decode()) if report else self.server
        return hmac.compare_digest(expected.encode(), token.encode())


@final
class Guard:
    """Lets no request through without the right token, whatever the route."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if self._tokens.allows(scope["path"], header.removeprefix("Bearer ")):
            await self._app(scope, receive, send)
            return
        body = {
            "error": "DeniedError",
            "asked": f"{scope['method']} {scope['path']}",
            "found": "the token is wrong" if header else "no token was given",
            "do": "Read url and token from server.json in LEYDEN_HOME.",
        }
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

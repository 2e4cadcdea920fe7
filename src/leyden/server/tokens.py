"""Who may ask the server for what?

Everybody who can read server.json (its owner) holds the server's token. An attempt has a token of its own, good for its
reports only; it is derived from a secret of the home, so a restarted server knows it without storing it. A browser
gets a cookie for the server's token, derived from the same secret: a page that is open all day outlives restarts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import Final, final

from starlette.types import ASGIApp, Receive, Scope, Send

from leyden.core.home import Home
from leyden.engines.record import replace

_REPORT = re.compile(rb"^/api/attempts/([^/]+)/(?:report|rung)$")
SESSION_S: Final = 30 * 86400.0
READING: Final = frozenset({"GET", "HEAD"})
# The dashboard's files, which hold nobody's data.
PAGES: Final = re.compile(r"^/(login|cluster|queue|compare|(runs|sweeps)(/[^/]*)?|assets/[^/]+)?$")


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

    @property
    def cookie(self) -> str:
        """Its name. Browsers do not tell ports of a host apart, so each home has its own."""
        return f"leyden_{self._sign('the name of the cookie')[:8]}"

    def session(self, until: float) -> str:
        """What the cookie holds: until when it is good, signed."""
        return f"{until:.0f}.{self._sign(f'session until {until:.0f}')}"

    def in_session(self, cookies: str, now: float) -> bool:
        """Whether a browser's Cookie header holds a cookie of this home that is still good."""
        value = next((one for name, _, one in _pairs(cookies) if name == self.cookie), "")
        until = value.partition(".")[0]
        good = until.isascii() and until.isdigit() and len(until) < 16 and int(until) > now
        return good and hmac.compare_digest(self.session(int(until)).encode(), value.encode())

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def allows(self, path: str, token: str) -> bool:
        """Whether the token opens the path; as slow for a wrong one as for the right one."""
        report = _REPORT.match(path.encode())
        expected = self.attempt(report[1].decode()) if report else self.server
        return hmac.compare_digest(expected.encode(), token.encode())


def _pairs(cookies: str) -> list[tuple[str, str, str]]:
    return [one.strip().partition("=") for one in cookies.split(";")]


@final
class Guard:
    """Lets no request to the API through without the right token, or the cookie given for it, whatever the route.

    With the cookie alone, what changes anything needs the header X-Leyden too: no other site makes a browser send it.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._tokens = tokens
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        denied = self._denied(scope)
        if denied is None:
            await self._app(scope, receive, send)
            return
        found, do = denied
        body = {"error": "DeniedError", "asked": f"{scope['method']} {scope['path']}", "found": found, "do": do}
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def _denied(self, scope: Scope) -> tuple[str, str] | None:
        path, headers = scope["path"], dict(scope["headers"])
        reads = scope["method"] in READING
        if reads and PAGES.match(path):
            return None
        header = headers.get(b"authorization", b"").decode("latin-1")
        if self._tokens.allows(path, header.removeprefix("Bearer ")):
            return None
        cookies = headers.get(b"cookie", b"").decode("latin-1")
        if not header and not _REPORT.match(path.encode()) and self._tokens.in_session(cookies, self._clock()):
            if reads or headers.get(b"x-leyden") == b"1":
                return None
            return "the header X-Leyden is missing, without which a cookie changes nothing", "Send `X-Leyden: 1`."
        found = "the token is wrong" if header else "no token was given"
        return (
            found,
            "Read url and token from server.json in LEYDEN_HOME; in a browser, open the page with `leyden ui`.",
        )

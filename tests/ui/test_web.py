"""Who gets in by a browser, and what can a page of another site do?"""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from leyden import ui
from tests.server.conftest import shared
from tests.server.running import Running

__all__ = ["shared"]
CANCEL = "/api/jobs/nothing/cancel"


SOURCES = sorted(one for one in (Path(ui.__file__).parent / "web").rglob("*.*") if "node_modules" not in one.parts)


def ask(
    server: Running, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """As a browser asks: without the token."""
    url = urlsplit(server.published()["url"])
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def log_in(server: Running) -> str:
    """The cookie given for the token, as a browser sends it back."""
    token = {"Authorization": f"Bearer {server.published()['token']}"}
    status, headers, _ = ask(server, "POST", "/api/session", token)
    assert status == 204
    cookie = headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    return cookie.partition(";")[0]


def test_a_cookie_reads_and_changes_only_with_the_header(shared: Running) -> None:
    cookie = {"Cookie": f"other=1; {log_in(shared)}; last=2"}
    assert ask(shared, "GET", "/api/jobs", cookie)[0] == 200
    status, _, said = ask(shared, "POST", CANCEL, cookie)
    assert (status, b"X-Leyden" in said) == (403, True)
    assert ask(shared, "POST", CANCEL, {**cookie, "X-Leyden": "1"})[0] == 404


@pytest.mark.parametrize(
    "change", [lambda one: one[:-1], lambda one: one.replace("=", "=9"), lambda one: one[:9] + "=x"]
)
def test_a_cookie_that_was_changed_opens_nothing(shared: Running, change: object) -> None:
    assert callable(change)
    assert ask(shared, "GET", "/api/jobs", {"Cookie": change(log_in(shared))})[0] == 403


def test_a_cookie_reports_for_no_attempt(shared: Running) -> None:
    headers = {"Cookie": log_in(shared), "X-Leyden": "1"}
    assert ask(shared, "POST", "/api/attempts/some/report", headers)[0] == 403


def test_a_cookie_ends_with_the_session(shared: Running) -> None:
    _, headers, _ = ask(shared, "DELETE", "/api/session", {"Cookie": log_in(shared), "X-Leyden": "1"})
    assert "Max-Age=0" in headers["Set-Cookie"]


PAGES = ["/", "/login", "/runs", "/runs/abc", "/compare?runs=a,b", "/sweeps", "/sweeps/abc", "/cluster", "/queue"]


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_everybody_and_run_nothing_but_their_own_script(shared: Running, path: str) -> None:
    status, headers, page = ask(shared, "GET", path)
    assert status == (200 if ui.built() else 501)
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert b"<script>" not in page
    assert b"style=" not in page


@pytest.mark.skipif(not ui.built(), reason="this copy has no dashboard")
def test_assets_are_kept_for_ever_and_nothing_else_is_served(shared: Running) -> None:
    _, _, page = ask(shared, "GET", "/")
    for name in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.decode()):
        status, headers, content = ask(shared, "GET", name)
        assert (status, "immutable" in headers["Cache-Control"]) == (200, True)
        assert content
    for name in ("nothing.js", "..%2findex.html", "%2e%2e%2f__init__.py"):
        assert ask(shared, "GET", f"/assets/{name}")[0] in {403, 404}


def test_its_sources_are_small_and_name_no_registry() -> None:
    sizes = {one.name: one.read_text().count("\n") for one in SOURCES if one.suffix in {".ts", ".tsx", ".css"}}
    assert {name: lines for name, lines in sizes.items() if lines > 400} == {}
    [lock] = [one.read_text() for one in SOURCES if one.name == "package-lock.json"]
    assert "resolved" not in lock


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_told_from_what_they_stand_on(theme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5, for what is faint too."""
    [css] = [one.read_text() for one in SOURCES if one.name == "base.css"]
    light, dark = re.findall(r":root[^{]*\{([^}]*)\}", css)[:2]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light if theme == "light" else dark))
    weak = {
        (word, ground): round(found, 2)
        for word in ("text", "muted", "faint", "accent", "good", "warn", "bad")
        for ground in ("page", "sheet", "band", "hover")
        if (found := contrast(colours[word], colours[ground])) < 4.495
    }
    assert weak == {}


def contrast(one: str, other: str) -> float:
    """Of two colours like #1b2c3d, from 1 to 21."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

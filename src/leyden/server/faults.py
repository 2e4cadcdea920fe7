"""How does an error leave the server? As JSON that names the class, what was asked, what was found, what to do."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from leyden.core.errors import ConflictError, DeniedError, LeydenError, NotFoundError, ServerError, SpecError, nearest
from leyden.server.bodies import KNOWN

_STATUS: dict[type[LeydenError], int] = {DeniedError: 403, NotFoundError: 404, ConflictError: 409, ServerError: 500}


def answer_faults(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(LeydenError, _leyden)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def response(error: LeydenError) -> JSONResponse:
    """The error as a response."""
    body = {"error": type(error).__name__, "asked": error.asked, "found": error.found, "do": error.do}
    return _answer(body, _STATUS.get(type(error), 400))


def _answer(body: Mapping[str, str], status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """What somebody sent, and the error repeats, need not be UTF-8."""
    said = {key: text.encode(errors="backslashreplace").decode() for key, text in body.items()}
    return JSONResponse(said, status, dict(headers or {}))


async def _leyden(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LeydenError)
    return response(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    if first["type"] == "extra_forbidden":
        found, do = "there is no such key", f"Check it: {nearest(str(first['loc'][-1]), KNOWN)}"
    else:
        found, do = first["msg"][0].lower() + first["msg"][1:], f"Correct {place}."
    return response(SpecError(asked=f"the request sets {place}", found=found, do=do))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    fault = NotFoundError(asked=what, found=str(error.detail).lower(), do="Client and server may differ in version.")
    body = {"error": "NotFoundError", "asked": fault.asked, "found": fault.found, "do": fault.do}
    return _answer(body, error.status_code, error.headers)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    traceback.print_exception(error)
    return response(
        ServerError(
            asked=f"{request.method} {request.url.path}",
            found=f"the server failed: {type(error).__name__}: {error}",
            do="Its log, server.log in LEYDEN_HOME, says more.",
        )
    )

"""How does the API describe itself to programs: its operations' names, its errors, answers that are no JSON?

FastAPI writes most of /api/openapi.json from the routes' types; here is what types do not say. The first line of a
route's docstring is its summary, what follows an empty line its description.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from leyden.core.job import Job
from leyden.core.states import State
from leyden.server.bodies import ErrorView

Answers = dict[int | str, dict[str, Any]]

ERRORS: Final[Answers] = {
    "4XX": {"model": ErrorView, "description": "It cannot be done: what was asked, what was found, what to do."},
    "5XX": {"model": ErrorView, "description": "The server failed; its log says more."},
}
HEAD: Final[Answers] = {code: {"description": "The same as for GET, without a body."} for code in ("4XX", "5XX")}
_HEADERS: Final = {
    "ETag": "The content's SHA-256, in quotes.",
    "Accept-Ranges": "bytes",
    "Last-Modified": "When the file was changed last.",
    "X-Leyden-Mode": "The file's permissions, in octal.",
}
# JSON has neither NaN nor infinities: they travel as words.
_MAY_BE_WORDS: Final = (
    ("MetricView", "last"),
    ("MetricView", "least"),
    ("MetricView", "greatest"),
    ("SeriesView", "values"),
)
_WORDS: Final = {"type": "string", "enum": ["nan", "inf", "-inf"]}
_DURATION: Final = {"type": "string", "examples": ["90s", "1h30m", "1-12:00:00"]}


def data(said: str, media_type: str = "application/octet-stream") -> dict[str, Any]:
    """An answer, or a body, of bytes."""
    return {"description": said, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def stream(said: str) -> dict[str, Any]:
    """An answer of server-sent events."""
    return {"description": said, "content": {"text/event-stream": {"schema": {"type": "string"}}}}


def file_answers(*, head: bool = False) -> Answers:
    """Those of ranges.respond."""
    headers = {name: {"description": said, "schema": {"type": "string"}} for name, said in _HEADERS.items()}
    said = {
        200: "All of the file.",
        206: "The part that `Range` asks for.",
        304: "The client has it: `If-None-Match` names its hash.",
        416: "The file has no such part.",
    }
    found: Answers = {code: {"description": text, "headers": headers} for code, text in said.items()}
    if head:
        return {**found, **HEAD}
    for code in (200, 206):  # the media type goes by the file's name
        found[code] |= {"content": data("", "*/*")["content"]}
    return found


class Route(APIRoute):
    """A route whose answers get their types when somebody asks: 300 of them took a third of a server's start.

    No answer is checked against them, as every route answers with bytes of its own.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "response_model": None, "responses": None})
        self._options = options

    def described(self) -> APIRoute:
        """The same with all there is to say of it."""
        route = APIRoute(self.path, self.endpoint, **self._options)
        summary, _, rest = (inspect.getdoc(route.endpoint) or "").partition("\n\n")
        route.summary = route.summary or " ".join(summary.split()).rstrip(".")
        route.description = rest
        return route


def describe(app: FastAPI) -> None:
    """Call it before any route is there."""
    app.router.route_class = Route

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def operation_id(route: APIRoute) -> str:
    """The name of the route's function."""
    return route.name


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        routes=[route.described() if isinstance(route, Route) else route for route in app.routes],
        description="The API of Leyden's server. Times are seconds since 1970 (UTC), sizes are bytes.",
    )
    parts = document["components"]
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": "From server.json."}}
    document["security"] = [{"token": []}]
    schemas = parts["schemas"]
    schemas |= _job_schemas()
    schemas["Submission"]["properties"]["job"] = _JOB
    schemas["Batch"]["properties"]["jobs"]["items"] = _JOB
    schemas["JobView"]["properties"]["state"]["enum"] = [state.value for state in State]
    for view, name in _MAY_BE_WORDS:
        one = schemas[view]["properties"][name]
        target = one["items"] if one["type"] == "array" else one
        target["anyOf"] = [{"type": target.pop("type")}, _WORDS]
    return document


_JOB: Final = {"$ref": "#/components/schemas/Job"}


def _job_schemas() -> dict[str, Any]:
    """Of a job, which requests carry unchecked: its own errors say more than FastAPI's."""
    job = Job.model_json_schema(ref_template="#/components/schemas/{model}")
    found = {**job.pop("$defs", {}), "Job": job}
    job["properties"]["python"].pop("default")  # where this server's Python lies
    for one in found.values():
        for name, field in one["properties"].items():
            if name != "cost":
                _allow_words(field)
    return found


def _allow_words(field: dict[str, Any]) -> None:
    """Durations may be written in words: policy.Seconds."""
    for kind in field.get("anyOf", [field]):
        if kind.get("type") == "number" and "exclusiveMinimum" in kind:
            others = field.pop("anyOf", None) or [{key: field.pop(key) for key in ("type", "exclusiveMinimum")}]
            field["anyOf"] = [*others, _DURATION]
            return

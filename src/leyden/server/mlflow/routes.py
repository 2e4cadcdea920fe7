"""How do requests of MLflow's client find their call? Everything below /api/2.0 and /api/3.0 is MLflow's.

With `MLFLOW_TRACKING_URI` the server's address and `MLFLOW_TRACKING_TOKEN` its token, `mlflow` works unchanged. What is
not there (the model registry, traces) is answered as by an MLflow server that does not know it.
"""

from __future__ import annotations

import json
import traceback
from typing import Any, Final, final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from leyden.core.errors import LeydenError
from leyden.server.mlflow.calls import Call, Calls
from leyden.server.mlflow.experiments import Experiments
from leyden.server.mlflow.faults import MlflowError, invalid
from leyden.server.mlflow.files import Artifacts
from leyden.server.mlflow.models import Models
from leyden.server.mlflow.runs import Runs
from leyden.server.services import Services

_MOST_BYTES: Final = 32 << 20  # of a request but an artifact
_FILES: Final = "mlflow-artifacts/artifacts"
_LISTS: Final = ("experiment_ids", "order_by")


def add_mlflow(app: FastAPI, services: Services) -> None:
    """All of it."""
    inner = Mlflow(services)
    for version in ("2.0", "3.0"):
        app.router.routes.append(Mount(f"/api/{version}", app=inner))


@final
class Mlflow:
    """An application of its own: MLflow's errors are not ours, and its API is described elsewhere."""

    def __init__(self, services: Services) -> None:
        def now_ms() -> int:
            return int(services.clock() * 1000)

        experiments = Experiments(services.home.root, now_ms)
        runs = Runs(services.home, services.tracker, experiments, now_ms)
        self._artifacts = Artifacts(runs)
        calls: dict[tuple[str, str], Call] = Calls(experiments, runs, now_ms).table
        self._models = Models(runs, now_ms)
        self._calls = {**calls, ("GET", "artifacts/list"): lambda body: self._artifacts.list_of(dict(body))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        try:
            answer = await self._answer(request, path)
        except MlflowError as error:
            answer = _fault(error)
        except LeydenError as error:
            answer = _fault(MlflowError("BAD_REQUEST", str(error)))
        except Exception as error:
            traceback.print_exc()
            answer = _fault(MlflowError("INTERNAL_ERROR", f"{type(error).__name__}: the server's log says more.", 500))
        await answer(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        if path == _FILES or path.startswith(f"{_FILES}/"):
            return await self._artifacts.answer(request, path.removeprefix(_FILES).strip("/"))
        name = path.removeprefix("mlflow/")
        call = self._calls.get((request.method, name)) or self._models.call(request.method, name)
        if call is None or not path.startswith("mlflow/"):
            said = f"Leyden has no {request.method} {request.url.path}: it takes runs and their models, no registry."
            raise MlflowError("ENDPOINT_NOT_FOUND", said, 404)
        body = await _body(request)
        return JSONResponse(await run_in_threadpool(call, body))


async def _body(request: Request) -> dict[str, Any]:
    if request.method == "GET":
        query = request.query_params
        return {key: query.getlist(key) if key in _LISTS else value for key, value in query.items()}
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _MOST_BYTES:
            raise invalid(f"A request has at most {_MOST_BYTES:,} bytes.")
        parts.append(part)
    try:
        found = json.loads(b"".join(parts) or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid("The request is no JSON.") from error
    if not isinstance(found, dict):
        raise invalid("The request is no JSON object.")
    return found


def _fault(error: MlflowError) -> JSONResponse:
    said = error.message.encode(errors="backslashreplace").decode()
    return JSONResponse({"error_code": error.code, "message": said}, error.status)

"""Does the API tell all there is to know of it, and does it keep to that, whatever is sent?"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi

from leyden.core.home import Home
from leyden.server.app import create_app
from leyden.server.services import Services
from tests.conformance.postgres import Postgres
from tests.server.running import Running

METHODS = {"get", "put", "post", "delete", "head"}
CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
BOUNDED = settings(
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LEAVES = """
import json, os, pathlib, leyden
leyden.log({"loss": float("nan")}, step=0)
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
(run / "artifacts/a.txt").write_text("hello")
(run / "checkpoints/step=1").mkdir(parents=True)
(run / "checkpoints/step=1/manifest.json").write_text(json.dumps({"step": 1, "created_at": 1.0}))
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With one job, which has left a metric, a checkpoint and an artifact."""
    one = Running(tmp_path_factory.mktemp("openapi") / "home")
    if request.param == "sqlite":
        one.start()
    else:
        cluster: Postgres = request.getfixturevalue("postgres")
        one.start("--database", cluster.database())
    job_id = one.submit(LEAVES)
    assert one.wait(job_id)["state"] == "succeeded", one.log(job_id)
    yield one
    one.end()


def first_job(server: Running) -> str:
    """The one that has left something."""
    return str(server.get("/api/events?limit=1")[0]["job_id"])


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in item.keys() & METHODS:
            yield f"{method.upper()} {path}", item[method]


def test_the_description_is_valid_and_of_every_operation_says_all(server: Running) -> None:
    document = server.get("/api/openapi.json")
    schemathesis.openapi.from_dict(document).validate()
    assert document["security"] == [{"token": []}]
    seen = set()
    for name, one in operations(document):
        assert one["operationId"] not in seen, name
        seen.add(one["operationId"])
        assert 10 < len(one["summary"]) < 110, name
        assert "422" not in one["responses"], name
        for code, answer in one["responses"].items():
            check_answer(name, code, answer)
        for parameter in one.get("parameters", []):
            said = parameter["schema"]
            assert parameter["in"] != "path" or parameter["description"], (name, parameter["name"])
            assert said.get("type") or said.get("anyOf"), (name, parameter["name"])
        if name.startswith(("POST /api/jobs/batch", "PUT /api/code")):
            assert one["requestBody"]["content"], name
    assert len(seen) > 40


def test_no_route_is_left_out(tmp_path: Path) -> None:
    services = Services.open(Home(tmp_path).create(), url="http://127.0.0.1:9", stop_grace_s=1.0)
    app = create_app(services)
    services.close()
    routes = {
        (one.path.replace(":path}", "}"), method.lower())
        for one in app.routes
        if isinstance(one, APIRoute)
        for method in one.methods or ()
    }
    told = {(path, method) for path, item in app.openapi()["paths"].items() for method in item}
    assert {one for one in routes if one[0].startswith("/api/")} <= told


def check_answer(name: str, code: str, answer: dict[str, Any]) -> None:
    """A schema that says something, or bytes of a named type; errors are all of one shape."""
    assert answer["description"], (name, code)
    content = answer.get("content", {})
    if name.startswith("HEAD") or code in {"204", "304", "416"}:
        assert not content, (name, code)
    elif code in {"4XX", "5XX"}:
        assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorView"}, (name, code)
    else:
        assert content, (name, code)
        assert all(one["schema"] for one in content.values()), (name, code)


def test_a_job_is_described_as_it_is_checked(server: Running) -> None:
    schemas = server.get("/api/openapi.json")["components"]["schemas"]
    assert schemas["Submission"]["properties"]["job"] == {"$ref": "#/components/schemas/Job"}
    assert {"script", "gpus", "retry", "limits", "after"} <= schemas["Job"]["properties"].keys()
    assert "default" not in schemas["Job"]["properties"]["python"]  # a path of this machine
    assert {"type": "string"} in [{"type": one["type"]} for one in schemas["Job"]["properties"]["time"]["anyOf"]]


@pytest.mark.slow
def test_whatever_is_sent_the_answer_is_one_that_was_described(server: Running) -> None:
    schema = schemathesis.openapi.from_dict(server.get("/api/openapi.json"))
    schema.config.base_url = server.published()["url"]
    headers = {"Authorization": f"Bearer {server.published()['token']}"}
    job_id, tried = first_job(server), 0

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # else it raises, which is right
        if operation.label in {
            "PUT /api/code/{sha256}",
            "GET /api/live",
        }:  # bytes, a stream without end: test_code, test_live
            continue
        for mode in GenerationMode:

            @BOUNDED
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case[Any]) -> None:
                nonlocal tried
                tried += 1
                tamed(case, job_id if tried % 3 else "")
                case.validate_response(case.call(headers=headers, timeout=60), checks=CHECKS)

            send()
    assert tried > 250
    assert server.job("last")["name"] is not None  # it lives


def tamed(case: schemathesis.Case[Any], job_id: str) -> None:
    """About a job that is there, if one is given; without streams that never end, nor jobs that start."""
    if "ref" in case.path_parameters and job_id:
        case.path_parameters["ref"] = job_id
    for name, value in (("follow", "false"), ("timeout_s", "0")):
        if name in (case.query or {}):
            case.query[name] = value
    body = case.body if isinstance(case.body, dict) else {}
    many = body.get("jobs")
    for job in [body.get("job"), *(many if isinstance(many, list) else [])]:
        if isinstance(job, dict):
            job["hold"] = True


NUL, HALF, LARGE = "a\0b", "a\ud800b", 10**25


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/jobs/%00", None),
        ("GET", "/api/jobs/a%00b/logs", None),
        ("GET", "/api/jobs/last%0a", None),
        ("GET", "/api/jobs/%ff%fe", None),
        ("GET", f"/api/jobs/{'x' * 500}", None),
        ("GET", f"/api/jobs/{quote('²')}/wait", None),
        ("GET", f"/api/jobs/JOB/wait?timeout_s={LARGE}", None),
        ("GET", "/api/jobs/JOB/wait?timeout_s=nan", None),
        ("GET", "/api/jobs?limit=-1", None),
        ("GET", f"/api/events?after={LARGE}", None),
        ("GET", "/api/events?job=a%00b", None),
        ("GET", f"/api/jobs/JOB/logs?offset={LARGE}", None),
        ("GET", "/api/jobs/JOB/logs?offset=-1", None),
        ("GET", f"/api/jobs/JOB/logs?rank={LARGE}", None),
        ("GET", "/api/jobs/JOB/logs?rank=-1", None),
        ("GET", f"/api/jobs/JOB/logs?attempt={LARGE}", None),
        ("GET", f"/api/jobs/JOB/logs/stamps?attempt=1&after={LARGE}", None),
        ("GET", "/api/jobs/JOB/metrics/series?name=a%00b", None),
        ("GET", f"/api/jobs/JOB/metrics/series?name=loss&points={LARGE}", None),
        ("GET", f"/api/jobs/JOB/artifacts?attempt={LARGE}", None),
        ("GET", "/api/jobs/JOB/artifacts/a%00b", None),
        ("GET", f"/api/jobs/JOB/artifacts/{'x' * 5000}", None),
        ("GET", f"/api/jobs/JOB/checkpoints/{quote('²')}/files/manifest.json", None),
        ("GET", "/api/jobs/JOB/checkpoints/a%00b/files/x", None),
        ("DELETE", f"/api/jobs/JOB/checkpoints/{'9' * 250}", None),
        ("GET", f"/api/checkpoints/expired?keep={LARGE}&days=nan", None),
        ("GET", "/api/checkpoints/expired?keep=1&days=inf", None),
        ("POST", "/api/clean?days=-1", None),
        ("PUT", "/api/quotas/a%00b", {"gpus": 1}),
        ("PUT", "/api/quotas/ada", {"gpus": LARGE}),
        ("DELETE", "/api/quotas/a%00b", None),
        ("POST", "/api/jobs/JOB/retry", {"key": NUL * 4}),
        ("POST", "/api/jobs/JOB/fork", {"key": "k" * 8, "step": LARGE}),
        ("POST", "/api/jobs/JOB/fork", {"key": "k" * 8, "set": {"lr": NUL}}),
        ("POST", "/api/jobs/JOB/fork", {"key": "k" * 8, "set": {HALF: "1"}}),
        ("POST", "/api/jobs", {"job": [], HALF: 1}),
        ("POST", "/api/jobs/batch", {"jobs": [{"command": ["true"]}] * 3, "key": "batch-key", "cwd": NUL}),
        ("POST", "/api/jobs", b'{"job": ' + b"[" * 100_000),
        ("POST", "/api/jobs", b'{"job": {"priority": ' + b"9" * 5000 + b"}}"),
        ("POST", "/api/jobs", b"\xff\xfe"),
        ("PATCH", "/api/jobs", None),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(server: Running, method: str, path: str, body: object) -> None:
    status, error = server.ask(method, path.replace("JOB", first_job(server)), body)
    assert 400 <= status < 500, error
    assert error.keys() == {"error", "asked", "found", "do"}


@pytest.mark.parametrize(
    "change",
    [
        {"user": NUL},
        {"user": HALF},
        {"cwd": NUL},
        {"submit_dir": NUL},
        {"key": NUL * 4},
        {"environ": {"A": NUL}},
        {"environ": {"": "1"}},
        {"environ": {"A=B": "1"}},
        {"environ": {HALF: "1"}},
        {"job": {"command": [NUL]}},
        {"job": {"command": [HALF]}},
        {"job": {"command": ["true"], "name": NUL}},
        {"job": {"command": ["true"], "vars": {"A": NUL}}},
        {"job": {"command": ["true"], "time": float("inf")}},
        {"job": {"command": ["true"], "time": float("nan")}},
        {"job": {"command": ["true"], "time": "9" * 400}},
        {"job": {"command": ["true"], "cpus": LARGE}},
        {"job": {"command": ["true"], "gpus": LARGE}},
        {"job": {"command": ["true"], "gpus": "²"}},
        {"job": {"command": ["true"], "limits": {"cost": float("inf")}}},
        {"job": {"command": ["true"], "preempt": {"grace_s": 1e308 * 10}}},
        {"job": {"command": ["true"], "after": [NUL]}},
    ],
)
def test_a_job_that_no_database_could_hold_is_refused(server: Running, change: dict[str, Any]) -> None:
    status, error = server.ask("POST", "/api/jobs", {**server.submission("pass"), **change})
    assert (status, error["error"]) in {(400, "SpecError"), (400, "PlacementError")}, error


def test_a_variable_that_is_no_utf_8_reaches_the_job_as_it_is(server: Running) -> None:
    body = server.submission("import os; print(os.environb[b'LATIN'])")
    body["environ"]["LATIN"] = "na\udcefve"
    _, job = server.ask("POST", "/api/jobs", body)
    assert server.wait(job["id"])["state"] == "succeeded"
    assert server.log(job["id"]) == r"b'na\xefve'" + "\n"


@pytest.mark.parametrize("seen", ["²", "-1", "x", "9" * 30, "", "1.5"])
def test_a_last_event_id_that_is_none_is_passed_over(server: Running, seen: str) -> None:
    found = server.published()
    url = urlsplit(found["url"])
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)) as connection:
        headers = {
            "Authorization": f"Bearer {found['token']}",
            "Last-Event-ID": seen.encode("latin-1").decode("latin-1"),
        }
        connection.request("GET", "/api/events?follow=1&after=0", headers=headers)
        with connection.getresponse() as response:
            assert (response.status, response.headers["Content-Type"].split(";")[0]) == (200, "text/event-stream")
            assert response.readline().strip() == b"id: 1"
            event = json.loads(response.readline().removeprefix(b"data: "))
    assert event.keys() == {"id", "job_id", "at", "before", "after", "who", "why"}


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 5000 + "-", "bytes=²-", "bytes=-", "bytes=a-b", "bytes=--1", "="])
def test_a_range_that_is_none_is_passed_over(server: Running, asked: str) -> None:
    found = server.published()
    url = urlsplit(found["url"])
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {found['token']}", "Range": asked}
        connection.request("GET", f"/api/jobs/{first_job(server)}/artifacts/a.txt", headers=headers)
        with connection.getresponse() as response:
            assert (response.status, response.read()) == (200, b"hello")

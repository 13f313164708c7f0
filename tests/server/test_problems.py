"""Errors as they leave the server."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from satchel import errors
from satchel.server.problems import problem
from tests.server.running import Client, Running, until


def test_a_problem_says_what_happened_what_to_do_and_where_it_is_written_down() -> None:
    error = errors.HeadMoved("moved", lineage="lin_x", version=3, digest="d")
    answer = problem(error, "req_1")
    assert answer.status_code == 409
    assert answer.media_type == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "/docs/errors/sync.head_moved",
        "title": "The project moved on",
        "status": 409,
        "code": "sync.head_moved",
        "detail": "moved",
        "hint": errors.HeadMoved.default_hint,
        "requestId": "req_1",
        "lineage": "lin_x",
        "version": 3,
        "digest": "d",
    }


def test_facts_are_in_camel_case_and_cannot_replace_what_a_problem_is() -> None:
    body = json.loads(bytes(problem(errors.InvalidInput("m", max_bytes=1, status=200, code="x"), "r").body))
    assert (body["maxBytes"], body["status"], body["code"]) == (1, 422, "request.invalid")


@pytest.mark.parametrize(
    ("error", "status", "retries"),
    [
        (errors.QuotaReached("full"), 429, False),
        (errors.TooManyRequests("busy"), 429, True),
        (errors.StoreUnavailable("away"), 503, True),
        (errors.DiskFull("the storage is full"), 507, False),
        (errors.BodyTimeout("slow"), 408, False),
        (errors.TooLarge("big"), 413, False),
        (errors.PreconditionFailed("changed"), 412, False),
        (errors.PreconditionMissing("which"), 428, False),
        (errors.LengthRequired("how much"), 411, False),
        (errors.SealBroken("altered"), 500, False),
    ],
)
def test_only_what_may_succeed_soon_says_when_to_come_back(
    error: errors.SatchelError, status: int, retries: bool
) -> None:
    answer = problem(error, "r")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) is retries


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "resource.not_found"),
        ("PUT", "/projects", 405, "request.method_not_allowed"),
        ("GET", "/projects/", 404, "resource.not_found"),
        ("GET", "/projects?limit=0", 422, "request.invalid"),
        ("GET", "/projects?zork=1", 422, "request.invalid"),
        ("GET", "/projects/%00/context", 404, "project.not_found"),
        ("GET", "/docs/errors/no.such.code", 404, "resource.not_found"),
    ],
)
def test_every_refusal_is_a_problem(owner: Client, method: str, path: str, status: int, code: str) -> None:
    answer = owner.send(method, path)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"),
    [
        (b'{"half', {}, 400, "request.malformed", "JSON"),
        (b"\xff\xfe", {}, 400, "request.malformed", "JSON"),
        (b"[" * 60_000, {}, 422, "request.invalid", "object"),
        (b"{}", {"content-type": "text/plain"}, 415, "request.media_type", "application/json"),
        (b"{}", {}, 422, "request.invalid", "slug"),
        (b'{"slug": "a", "zork": 1}', {}, 422, "request.invalid", "zork"),
        (b'{"slug": "A B"}', {}, 422, "request.invalid", "slug"),
        (b'{"slug": 7}', {}, 422, "request.invalid", "slug"),
        (b'{"slug": "a", "description": "' + b"x" * 70_000 + b'"}', {}, 413, "request.too_large", "65,536"),
    ],
)
def test_a_body_that_cannot_be_is_refused_by_name(
    owner: Client, body: bytes, headers: dict[str, str], status: int, code: str, said: str
) -> None:
    answer = owner.send("POST", "/projects", body, {"content-type": "application/json", **headers})
    assert (answer.status, answer.code) == (status, code)
    assert said in answer.json["detail"]


@pytest.mark.promise("P10")
def test_a_defect_tells_its_caller_and_the_log_nothing_of_what_it_met(
    owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("canary of a secret")

    monkeypatch.setattr("satchel.server.routes.tenant.tenants.own", broken)
    with capture_logs() as lines:
        answer = owner.get("/tenant")
        # The line of a request comes after its answer, and lines of earlier requests may still come too.
        until(lambda: "RuntimeError" in str(lines))
    assert (answer.status, answer.code) == (500, "internal.error")
    assert b"canary" not in answer.body
    assert "canary" not in str(lines)


def test_the_pages_load_nothing_and_run_nothing(server: Running) -> None:
    client = server.client()
    for path in ("/docs", "/docs/errors", "/docs/errors/auth.missing"):
        answer = client.get(path)
        text = answer.body.decode()
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<script" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert 'lang="en"' in text
        assert "prefers-color-scheme:dark" in text
    assert "/api/v1/projects/{p}/sync" in client.get("/docs").body.decode()
    assert client.get("/openapi.json").ok()["paths"]

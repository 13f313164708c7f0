"""Slow, cut-off and unwanted bodies, over raw sockets; and what every answer carries."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from satchel.server.bodies import LARGE_BYTES
from satchel.server.turns import LARGE_BODIES_OF_ONE
from tests.server.running import Client, Running, serving, until


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a second's patience."""
    with serving(tmp_path_factory.mktemp("hasty") / "data", body_idle_seconds=1, body_total_seconds=2) as running:
        yield running


def _raw(server: Running, data: bytes, *more: bytes) -> bytes:
    """What the server answers to these bytes, until it ends the connection."""
    with closing(socket.create_connection(("127.0.0.1", server.settings.port), timeout=20)) as connection:
        connection.sendall(data)
        for piece in more:
            connection.sendall(piece)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
        return received


def _head(server: Running, path: str, length: int, *, key: str | None = None) -> bytes:
    lines = [f"POST /api/v1{path} HTTP/1.1", "host: localhost", f"content-length: {length}"]
    lines += ["content-type: application/json"] + ([f"authorization: Bearer {key}"] if key else [])
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.promise("P8")
def test_a_body_that_pauses_ends_with_408_and_the_connection(hasty: Running) -> None:
    received = _raw(hasty, _head(hasty, "/projects", 100, key=hasty.admin.key), b'{"slug"')
    assert received.startswith(b"HTTP/1.1 408")
    assert b'"request.timeout"' in received
    assert b"connection: close" in received.lower()


@pytest.mark.promise("P8")
def test_a_body_that_trickles_ends_when_its_time_is_over(hasty: Running) -> None:
    with closing(socket.create_connection(("127.0.0.1", hasty.settings.port), timeout=20)) as connection:
        connection.sendall(_head(hasty, "/projects", 1000, key=hasty.admin.key))
        connection.settimeout(0.4)
        received = b""
        for _ in range(30):
            try:
                connection.sendall(b" ")
                received += connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if received:
                break
    assert received.startswith(b"HTTP/1.1 408")


def test_a_refusal_reaches_a_client_that_is_still_sending(hasty: Running) -> None:
    """A megabyte of body after a 401: the answer must not be lost in a reset connection."""
    received = _raw(hasty, _head(hasty, "/projects", 1 << 20), b"x" * (1 << 20))
    assert received.startswith(b"HTTP/1.1 401")
    assert b'"auth.missing"' in received


def test_a_declared_length_over_the_limit_is_refused_unread(owner: Client) -> None:
    answer = owner.send("POST", "/projects", b"{" + b" " * 200_000, {"content-type": "application/json"})
    assert (answer.status, answer.code) == (413, "request.too_large")


def test_a_client_that_hangs_up_half_way_leaves_nothing_behind(server: Running, owner: Client) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.settings.port), timeout=5)) as connection:
        connection.sendall(_head(server, "/projects", 1000, key=owner.key) + b'{"slug": "half')
    assert owner.get("/projects").ok()["items"] == []


def test_every_answer_has_a_request_id_of_its_own_and_is_not_kept(owner: Client) -> None:
    first, second = owner.get("/tenant"), owner.get("/tenant", {"x-request-id": "mine"})
    assert first.headers["x-request-id"].startswith("req_")
    assert first.headers["x-request-id"] != second.headers["x-request-id"] != "mine"
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["x-content-type-options"] == "nosniff"


@pytest.mark.promise("P8")
def test_one_tenant_cannot_take_every_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("crowd") / "data", tenant_concurrency=1) as crowded:
        crowded.admin.post("/projects", {"slug": "p"}).ok()
        other = crowded.tenant("other")
        tenant = crowded.admin.get("/tenant").ok()["id"]
        until(lambda: crowded.cloud.admission.serving(tenant) == 0)
        with closing(socket.create_connection(("127.0.0.1", crowded.settings.port), timeout=5)) as connection:
            connection.sendall(_head(crowded, "/projects", 10, key=crowded.admin.key) + b"{")
            until(lambda: crowded.cloud.admission.serving(tenant) == 1)
            answer = crowded.admin.get("/projects")
            assert (answer.status, answer.code) == (429, "rate.limited")
            assert answer.headers["retry-after"] == "1"
            other.get("/projects").ok()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mcp", [False, True])
def test_one_tenants_large_bodies_wait_for_each_other_and_nobody_else_waits_for_them(
    server: Running, new_tenant: Callable[[], Client], mcp: bool
) -> None:
    owner, other = new_tenant(), new_tenant()
    for one in (owner, other):
        one.post("/projects", {"slug": "large"}).ok()
    bodies = server.cloud.admission.bodies
    with ExitStack() as opened:
        for number in range(LARGE_BODIES_OF_ONE + 2):
            head = _head(server, f"/projects/large/artifacts/{number}.md", 2 * LARGE_BYTES, key=owner.key)
            put = head.replace(b"POST", b"PUT", 1).replace(b"host:", b"if-none-match: *\r\nhost:", 1)
            accepting = b"accept: application/json, text/event-stream\r\nhost:"
            posted = re.sub(rb"/api/v1\S*", b"/mcp", head).replace(b"host:", accepting, 1)
            connection = opened.enter_context(closing(socket.create_connection(("127.0.0.1", server.settings.port))))
            connection.sendall(posted if mcp else put)
            connection.sendall(b"x" * (LARGE_BYTES + 1))
        until(lambda: (bodies.busy, bodies.waiting) == (LARGE_BODIES_OF_ONE, 2), 60)
        owner.put("large", "small.md", b"small").ok()
        other.put("large", "large.md", b"y" * (LARGE_BYTES + 1)).ok()
    until(lambda: bodies.busy == 0, 60)


HEADED = ("/health/live", "/docs", "/projects", "/projects/notes/artifacts/a.md", "/projects/none")


@pytest.mark.parametrize("path", HEADED)
def test_head_is_answered_as_get_is_without_the_body(path: str, owner: Client) -> None:
    owner.post("/projects", {"slug": "notes"}).ok(201)
    owner.put("notes", "a.md", b"words").ok()
    shown, alone = owner.get(path), owner.send("HEAD", path)
    assert (alone.status, alone.body) == (shown.status, b"")
    own = {"date", "x-request-id", "ratelimit", "ratelimit-policy"}
    assert {name: value for name, value in alone.headers.items() if name not in own} == {
        name: value for name, value in shown.headers.items() if name not in own
    }


@pytest.mark.parametrize("path", ["/projects/notes/events", "/tenant/export"])
def test_head_of_what_comes_in_pieces_ends_with_the_headers(path: str, server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "notes"}).ok(201)
    alone = owner.send("HEAD", path)
    assert (alone.status, alone.body) == (200, b"")
    until(lambda: not server.cloud.exporting)


def test_head_is_refused_where_there_is_nothing_to_get(owner: Client) -> None:
    answer = owner.send("HEAD", "/auth/token")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")

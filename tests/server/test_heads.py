"""What comes before a body costs no credential, so it has to be small and quick."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest

from satchel.server import heads
from tests.server.running import Client, Running

pytestmark = pytest.mark.promise("P8")


def connected(server: Running) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((str(parts.hostname), int(str(parts.port))), timeout=10)


def ending(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    got = b""
    try:
        while piece := connection.recv(65_536):
            got += piece
    except ConnectionResetError:
        pass  # ended with bytes of ours unread
    return got


@pytest.mark.parametrize(
    "head", [b"GET /" + b"a" * 2_000_000, b"GET / HTTP/1.1\r\nx: " + b"a" * 2_000_000], ids=["address", "header"]
)
def test_a_head_over_its_bound_ends_the_connection(server: Running, head: bytes) -> None:
    with connected(server) as connection:
        try:
            connection.sendall(head)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        assert not ending(connection).startswith(b"HTTP/1.1 2")


def test_many_headers_are_refused_with_431(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 20_000)
        assert ending(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nx"], ids=["silent", "slow"])
def test_a_head_that_does_not_come_ends_the_connection(
    server: Running, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.2)
    began = time.perf_counter()
    with connected(server) as connection:
        connection.sendall(sent)
        assert ending(connection) == b""
    assert time.perf_counter() - began < 5


def test_a_second_request_on_a_connection_has_the_same_bounds(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.2)
    with connected(server) as connection:
        connection.sendall(b"GET /api/v1/health/live HTTP/1.1\r\nhost: x\r\n\r\nGET ")
        got = ending(connection)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.count(b"HTTP/1.1") == 1


def test_trailers_of_a_body_are_dropped(server: Running, owner: Client) -> None:
    with connected(server) as connection:
        connection.sendall(
            b"POST /api/v1/projects HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nauthorization: Bearer " + (owner.key or "").encode()
        )
        connection.sendall(b"\r\n\r\n")
        assert ending(connection).startswith(b"HTTP/1.1 401 ")

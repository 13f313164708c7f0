"""What comes before a body costs no credential, so it has to be small and quick."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from satchel.server import heads
from satchel.server.serve import listen, waiting
from tests.server.running import Client, Running, serving, until

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


def test_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    with serving(tmp_path / "data", connections=16) as small, ExitStack() as held:
        idle = [held.enter_context(connected(small)) for _ in range(60)]
        for connection in idle[:30]:
            connection.sendall(b"GET / HTTP/1.1\r\nx")
        assert small.client().get("/health/live").status == 200
        assert len(small._server.server_state.connections) <= 16
        assert ending(idle[0]) == b""  # the one that had been idle for longest


def test_a_connection_at_work_is_not_ended_for_a_new_one(tmp_path: Path) -> None:
    with serving(tmp_path / "data", connections=16) as small, ExitStack() as held:
        working = held.enter_context(connected(small))
        key = (small.admin.key or "").encode()
        working.sendall(
            b"POST /api/v1/projects HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"content-length: 13\r\nauthorization: Bearer " + key + b"\r\n\r\n{"
        )
        until(lambda: small.cloud.admission.serving(small.admin.get("/tenant").ok()["id"]) >= 1)
        for _ in range(60):
            held.enter_context(connected(small))
        assert small.client().get("/health/live").status == 200
        working.sendall(b'"slug": "abc')
        assert ending(working).startswith(b"HTTP/1.1 4")


def _clients(server: Running) -> set[object]:
    return {getattr(protocol, "client", None) for protocol in tuple(server._server.server_state.connections)}


def _asks(server: Running, connection: socket.socket, path: str, times: int) -> None:
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.admin.key}\r\n\r\n"
    for _ in range(times):
        connection.sendall(head.encode())


@pytest.mark.parametrize("times", [1, 8], ids=["one answer", "many requests ahead"])
def test_an_answer_that_nobody_reads_ends_with_its_connection(
    server: Running, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(heads, "TAKEN_SECONDS", 0.3)
    server.admin.post("/projects", {"slug": f"big-{times}"}).ok()
    server.admin.put(f"big-{times}", "big.txt", b"x" * 7_000_000).ok()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", server.settings.port))
        own = connection.getsockname()
        until(lambda: own in _clients(server))
        _asks(server, connection, f"/api/v1/projects/big-{times}/artifacts/big.txt", times)
        until(lambda: own not in _clients(server))


def test_a_slow_reader_that_goes_on_reading_gets_all_of_its_answer(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "TAKEN_SECONDS", 0.5)
    server.admin.post("/projects", {"slug": "slow"}).ok()
    server.admin.put("slow", "big.txt", b"x" * 7_000_000).ok()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", server.settings.port))
        head = "GET /api/v1/projects/slow/artifacts/big.txt HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        connection.sendall(f"{head}authorization: Bearer {server.admin.key}\r\n\r\n".encode())
        got = 0
        began = time.perf_counter()
        while piece := connection.recv(131_072):
            got += len(piece)
            while time.perf_counter() - began < got / 4_000_000:
                time.sleep(0.002)
    assert got > 7_000_000


def test_a_request_on_its_way_when_the_server_ends_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "FRESH_SECONDS", 60.0)
    request = b"GET /api/v1/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", shutdown_seconds=60))
        state = server._server.server_state
        silent, begun = (stack.enter_context(connected(server)) for _ in range(2))
        begun.sendall(request + request[:9])
        first = b""
        while not first.endswith(b"}"):
            first += begun.recv(65_536)
        until(lambda: len(state.connections) == 2)
        server.loop.call_soon_threadsafe(server._server.handle_exit, signal.SIGTERM, None)
        until(lambda: server.prepared.listener.fileno() == -1)
        silent.sendall(request)
        begun.sendall(request[9:])
        for connection in (silent, begun):
            answer = ending(connection)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
        server.stop()
        assert not state.connections


class Sent(asyncio.Transport):
    """A transport that keeps what each of its writes sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def test_head_and_body_leave_together_and_a_head_alone_does_not_wait_for_long() -> None:
    async def answers() -> None:
        inner = Sent()
        joining = heads.Joining(inner, asyncio.get_running_loop())
        for piece in (b"head", b"body", b"more"):
            joining.write(piece)
        assert inner.sent == [b"headbody"]
        await asyncio.sleep(0)
        assert inner.sent == [b"headbody", b"more"]
        joining.write(b"head")
        joining.write(b"")
        joining.write(b"b" * (heads.HELD_BYTES + 1))
        assert inner.sent[2:] == [b"head", b"b" * (heads.HELD_BYTES + 1)]
        joining.write(b"last")
        joining.close()
        assert (inner.sent[4:], joining.is_closing()) == ([b"last"], True)
        joining.write(b"too late")
        await asyncio.sleep(0)
        assert inner.sent[5:] == []
        inner.closing = False
        joining.write(b"head")
        joining.write(b"b" * (heads.JOINED_BYTES + 1))
        assert inner.sent[5:] == [b"head", b"b" * (heads.JOINED_BYTES + 1)]

    asyncio.run(answers())


def test_who_waits_to_be_taken_is_found_in_the_listener() -> None:
    with listen("127.0.0.1", 0) as listener, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(listener.getsockname(), timeout=10))
        taken: list[socket.socket] = []

        def both() -> bool:
            taken.extend(waiting(listener))
            return len(taken) == 2

        until(both)
        for connection in taken:
            connection.close()

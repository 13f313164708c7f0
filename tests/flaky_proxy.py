"""A proxy between a client and a real HTTP server, which counts the requests and misbehaves when it is told to.

It stands in for the networks and busy services that cannot be had on one machine: answers that are lost after the
server did the work, connections that end in the middle, refusals, slowness, a service that is down.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
PATIENCE_SECONDS = 30
"""Nothing waits longer than this, whatever goes wrong in a test."""


class Request(NamedTuple):
    """What a client asked for: ``size`` is that of the body in bytes, ``status`` what it was told (0: nothing)."""

    method: str
    path: str
    size: int
    status: int


@dataclass(frozen=True)
class Answer:
    """An answer that the server never gave."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return f"<?xml version='1.0'?><Error><Code>{self.code}</Code></Error>".encode() if self.code else b""


class FlakyProxy:
    """Listens on a free port of 127.0.0.1 and passes everything to ``port``; use it as a context manager.

    A misbehaviour is for the next requests of a method (and of a path that contains ``part``), each once:

    - ``lose_answer``: the server answers, the client's connection is closed instead;
    - ``hold_answer``: the server answers, the client hears nothing until it gives up;
    - ``reset``: the client's connection is reset in the middle of the body it sends; the server hears nothing;
    - ``cut_answer``: half of the body of the answer arrives;
    - ``answer``: the client is answered with something else; the server hears nothing;
    - ``hold``: the server hears of it only once ``release`` is called.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._rules: list[tuple[str, str, Callable[[_Handler], None]]] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self.requests: list[Request] = []
        self._server: _Server | None = None
        self.port = 0
        self.up()

    def __enter__(self) -> FlakyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._released.set()
        self.down()

    def up(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Handler)
            self._server.proxy = self
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.02,), name="flaky", daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and end those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        with self._lock:
            still_open, self._open = self._open, set()
        for connection in still_open:
            _reset(connection)

    def lose_answer(self, method: str, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, lambda handler: handler.forward(deliver=0))

    def hold_answer(self, method: str, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, _Handler.forward_and_hold)

    def reset(self, method: str, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, _Handler.reset_mid_body)

    def cut_answer(self, method: str, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, lambda handler: handler.forward(deliver=0.5))

    def answer(self, method: str, answer: Answer, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, lambda handler: handler.instead(answer))

    def hold(self, method: str, *, part: str = "", times: int = 1) -> None:
        self._rule(method, part, times, _Handler.wait_and_forward)

    def release(self) -> None:
        """Let what ``hold`` holds go on."""
        self._released.set()

    def count(self, method: str = "", part: str = "") -> int:
        """How many requests came, of a method and with something in their path."""
        return sum(1 for r in self.requests if method in {"", r.method} and part in r.path)

    def counts(self) -> Counter[str]:
        """How many requests of each method came."""
        return Counter(request.method for request in self.requests)

    def _rule(self, method: str, part: str, times: int, act: Callable[[_Handler], None]) -> None:
        with self._lock:
            self._rules += [(method, part, act)] * times

    def rule_for(self, method: str, path: str) -> Callable[[_Handler], None]:
        """What to do with a request; a rule is used up by it."""
        with self._lock:
            for at, (wanted, part, act) in enumerate(self._rules):
                if wanted == method and part in path:
                    del self._rules[at]
                    return act
        return _Handler.forward

    def came(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            late = self._server is None
        if late:  # it was accepted just before
            _reset(connection)

    def went(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def noted(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    @property
    def upstream(self) -> int:
        return self._upstream

    def wait_for_release(self) -> None:
        self._released.wait(PATIENCE_SECONDS)

    @property
    def closing(self) -> threading.Event:
        return self._closing


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: FlakyProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections end in the middle here: that is what it is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.proxy.came(self.connection)

    def finish(self) -> None:
        self.server.proxy.went(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def _asked(self) -> None:
        self.server.proxy.rule_for(self.command, self.path)(self)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _asked  # noqa: N815 (the names that http.server looks for)

    @property
    def _length(self) -> int:
        return int(self.headers.get("content-length") or 0)

    def forward(self, deliver: float = 1) -> None:
        """Pass the request on, and this share of the answer back; of less than all, the connection ends after it."""
        body = self.rfile.read(self._length)
        answered = self._from_upstream(body)
        if answered is None:
            self._note(len(body), 0)
            _reset(self.connection)
            self.close_connection = True
            return
        status, headers, content = answered
        self._note(len(body), status if deliver else 0)
        if deliver:
            self._send(status, headers, content, content[: int(len(content) * deliver)])
        if deliver < 1:
            self._hang_up()

    def forward_and_hold(self) -> None:
        body = self.rfile.read(self._length)
        self._from_upstream(body)
        self._note(len(body), 0)
        self.connection.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(OSError):
            self.connection.recv(1)  # until the client gives up
        self._hang_up()

    def reset_mid_body(self) -> None:
        part = self.rfile.read(self._length // 2)
        self._note(len(part), 0)
        _reset(self.connection)
        self.close_connection = True

    def instead(self, answer: Answer) -> None:
        body = self.rfile.read(self._length)
        self._note(len(body), answer.status)
        self._send(answer.status, list(answer.headers.items()), answer.body, answer.body)

    def wait_and_forward(self) -> None:
        self.server.proxy.wait_for_release()
        self.forward()

    def _from_upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        upstream = HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=PATIENCE_SECONDS)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)  # the Host is signed: it stays what the client said
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, HTTPException):
            return None
        finally:
            upstream.close()

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, sent: bytes) -> None:
        length = str(len(content))
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                length = value
        if status not in {204, 304}:
            self.send_header("content-length", length)
        self.end_headers()
        self.wfile.write(sent)

    def _note(self, size: int, status: int) -> None:
        self.server.proxy.noted(Request(self.command, self.path, size, status))

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """End a connection so that the other side hears of a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

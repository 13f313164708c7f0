"""What stands before several nodes, as in a real installation, but worse: each request goes to another node than the
one before, also on one connection, and of a node that does not take connections the next is asked."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_SECONDS = 60
_OUR_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Balancer:
    """Listens on a free port of 127.0.0.1; use it as a context manager. ``served`` notes which port had what."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        self.served: list[tuple[int, str, str]] = []
        self._turns = itertools.count()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.balancer = self
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="balancer", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def used(self) -> set[int]:
        """The ports that were sent something."""
        return {port for port, *_ in self.served}

    def in_turn(self) -> list[int]:
        """Every node, the next one first."""
        first = next(self._turns) % len(self.ports)
        return self.ports[first:] + self.ports[:first]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    balancer: Balancer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = b"".join(self._body())
        for port in self.server.balancer.in_turn():
            upstream = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            try:
                upstream.connect()
            except OSError:
                continue
            self.server.balancer.served.append((port, self.command, self.path))
            with contextlib.closing(upstream):
                self._through(upstream, body)
            return
        self.send_error(503)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = _pass_on  # noqa: N815 (http.server looks for these)

    def _through(self, upstream: HTTPConnection, body: bytes) -> None:
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OUR_OWN:
                    upstream.putheader(name, value)
            upstream.putheader("content-length", str(len(body)))
            upstream.endheaders(body)
            answer = upstream.getresponse()
            status, headers, content = answer.status, answer.getheaders(), answer.read()
        except (OSError, HTTPException):  # the node died with the request: nobody knows what became of it
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _OUR_OWN:
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers


class Wire:
    """A line to ``port`` that can go silent: connections stay open, and nothing comes through any more."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._speaks = threading.Event()
        self._speaks.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._speaks.set()

    def silence(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._open += [here, there]
                self._start(lambda here=here, there=there: self._carry(here, there))  # type: ignore[misc]
                self._start(lambda here=here, there=there: self._carry(there, here))  # type: ignore[misc]

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self._speaks.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="wire", daemon=True).start()

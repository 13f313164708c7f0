"""HTTP/1.1 as a client needs it, on ``http.client`` of the standard library: kept connections, bodies, troubles.

A request of a command is one of few, and starting is most of what it costs: this loads in a third of the time of a
library with retries, redirects, proxies and encodings, none of which is wanted here (ADR 0046). Nothing is repeated or
followed by itself, and no byte of a body is unpacked here.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from http import client
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

Body = bytes | Iterable[bytes] | None
Pairs = Sequence[tuple[str, str]]
_BROKEN = (OSError, client.HTTPException)
_GENERATED = ("host", "accept-encoding")
MAX_INTERIM = 100
"""Heads that may come before that of the answer: `100 Continue`, early hints, that the work is under way."""
MAX_TRAILERS, MAX_TRAILER_BYTES = 100, 64 << 10
"""Lines behind a body that came in chunks, and bytes of one: as of a head."""
GATHERED_FROM, GATHERED_BYTES, GATHER_SECONDS = 64 << 10, 48 << 10, 0.002
"""A long body over a slow link comes in packets of 1.4 KB. Beyond its beginning it is left to gather: each look costs
more than the packet, twice so beside a thread that has work to do."""


class Trouble(Exception):
    """No answer, or not all of it."""


class Unreachable(Trouble):
    """No connection came about; ``refused``: something is at the address, and takes none now."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.refused = isinstance(error, ConnectionRefusedError)


class Untrusted(Trouble):
    """The server does not show that it is who it was asked for."""


class Silent(Trouble):
    """Nothing came for as long as is waited."""


class Broken(Trouble):
    """The connection ended, or what came is no HTTP."""


class _Cut(Broken):
    """What was being sent is not wanted, or cannot arrive."""


class Answer:
    """The head of an answer, and its body as it comes. Close it, or use it as a context."""

    def __init__(self, pool: Pool, connection: _Connection, response: client.HTTPResponse) -> None:
        self._pool, self._response = pool, response
        self._connection: _Connection | None = connection
        self.status = response.status
        self.headers = response.headers
        self.read = 0
        """Bytes of the body so far."""

    def chunks(self, most: int) -> Iterator[bytes]:
        """The body in pieces of at most ``most`` bytes. Raises ``Trouble`` where it breaks off."""
        response = self._response
        while True:
            try:
                data = response.read1(most)
            except _BROKEN as error:
                raise _named(error) from error
            if not data:
                break
            self.read += len(data)
            yield data
            if self.read > GATHERED_FROM and len(data) < GATHERED_BYTES:
                time.sleep(GATHER_SECONDS)
        if response.length:
            raise Broken(f"{response.length:,} bytes of the answer did not come")
        response.close()  # read to its end: what follows on this connection is the next answer

    def pairs(self) -> Pairs:
        """The headers as they came, names in lower case."""
        return [(name.lower(), value) for name, value in self.headers.items()]

    def cut(self) -> None:
        """End it while another thread waits for more: to that one the connection is broken."""
        connection = self._connection
        if connection is not None:
            connection.cut()

    def close(self) -> None:
        """Keep the connection if the answer was read to its end, else close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        whole = self._response.isclosed() and not self._response.will_close
        self._response.close()
        if whole:
            self._pool._keep(connection)
        else:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pool:
    """Connections to one server. For several threads at once; each has a connection to itself while it asks."""

    def __init__(
        self, url: str, *, connect: float, silence: float, keep: int, sent: Callable[[int], None] = lambda _count: None
    ) -> None:
        """``url`` is an address that was checked. ``connect`` and ``silence`` are seconds of waiting for a connection
        and for the next byte, ``keep`` is how many connections wait for further use; ``sent`` is told of bytes."""
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (client.HTTPS_PORT if self._tls else client.HTTP_PORT)
        self._connect, self._silence, self._most, self._sent = connect, silence, keep, sent
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._kept: list[_Connection] = []
        self._closed = False
        # For a caller who forgets: a connection that waits holds nothing that could be lost.
        weakref.finalize(self, _close_all, self._kept)

    def close(self) -> None:
        """Close the connections that wait; one that is in use is closed by its answer."""
        with self._lock:
            self._closed = True
            _close_all(self._kept)

    def connect(self) -> None:
        """Have a connection ready. Raises ``Trouble``."""
        self._keep(self._fresh())

    def ask(self, method: str, target: str, body: Body, headers: Pairs) -> Answer:
        """Send a request. Raises ``Trouble``, and ``ValueError`` for a target or header that HTTP cannot carry.

        ``bytes`` are sent with their length, anything else in chunks. A server may answer before it has heard all, and
        close: its answer counts.
        """
        connection = self._waiting() or self._fresh()
        try:
            with suppress(_Cut):  # perhaps it has answered
                _send(connection, method, target, body, headers)
            try:
                response = connection.getresponse()
            except _BROKEN as error:
                raise _named(error) from error
        except BaseException:
            connection.close()
            raise
        return Answer(self, connection, response)

    def _waiting(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._kept:
                    return None
                connection = self._kept.pop()
            if connection.idle():
                return connection
            connection.close()

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._kept) < self._most:
                self._kept.append(connection)
                return
        connection.close()

    def _fresh(self) -> _Connection:
        connection = _Connection(self._host, self._port, self._trust() if self._tls else None, self._sent)
        try:
            connection.open(self._connect, self._silence)
        except BaseException:
            connection.close()
            raise
        return connection

    def _trust(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                import ssl  # what speaks http:// is spared it

                self._context = ssl.create_default_context()
                self._context.set_alpn_protocols(["http/1.1"])
            return self._context


class _Lines:
    """The head of an answer, line by line; ``last`` is the one that was read last."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.last = file, b""

    def readline(self, most: int) -> bytes:
        self.last = self.file.readline(most)
        return self.last

    def close(self) -> None:
        self.file.close()


class _Response(client.HTTPResponse):
    """An answer whose head has to come to its end: the library takes that of the connection for one, and knows then
    neither how long the body is nor that any of it is missing. It also reads for ever what a server may send before
    the head and behind the body, and knows no interim answer (RFC 9110, 15.2) but the first."""

    fp: Any

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # the library's own
            if not client.CONTINUE <= status < client.OK or status == client.SWITCHING_PROTOCOLS:
                return version, status, reason
            client.parse_headers(self.fp)
        raise client.HTTPException("no answer after many that say that one will come")

    def _read_and_discard_trailer(self) -> None:
        for _ in range(MAX_TRAILERS):
            line = self.fp.readline(MAX_TRAILER_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
        raise client.HTTPException("too much stands behind the body")

    def begin(self) -> None:
        head = self.fp = _Lines(self.fp)
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = head.file
        if head.last not in (b"\r\n", b"\n"):
            raise client.IncompleteRead(b"")


class _Connection(client.HTTPConnection):
    """One connection, with or without TLS, that tells of every byte it sends."""

    response_class = _Response

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, sent: Callable[[int], None]) -> None:
        super().__init__(host, port)
        self._tls, self._told = context, sent
        self.default_port = client.HTTPS_PORT if context else client.HTTP_PORT
        self.auto_open = 0

    def open(self, connect: float, silence: float) -> None:
        # A name in bytes is taken as it is, without loading what turns other scripts into ASCII.
        try:
            raw = socket.create_connection((self.host.encode(), self.port), connect)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise Silent(str(error)) from error
        except OSError as error:
            raise Unreachable(error) from error
        self.sock = raw
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
            self._line = self.sock  # ``sock`` is let go of with the head of a last answer, whose body comes still
            self.sock.settimeout(silence)
        except TimeoutError as error:
            raise Silent(str(error)) from error
        except ConnectionError as error:
            raise Broken(str(error)) from error
        except OSError as error:
            # An end in the middle of a handshake is no distrust; errors of TLS are known by name alone here.
            ended = type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError")
            raise (Broken if ended else Untrusted)(str(error)) from error

    def cut(self) -> None:
        """Wake whoever waits for it; to close it would not."""
        with suppress(OSError):  # it is closed already
            socket.socket.shutdown(self._line, socket.SHUT_RDWR)

    def idle(self) -> bool:
        """Whether it waits for a request: it may have been closed, or say what nobody asked.

        Read, since with TLS what has come in may be no more than a ticket for the next session.
        """
        silence = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
        except BlockingIOError:
            return True
        except OSError as error:
            return type(error).__name__ == "SSLWantReadError"
        finally:
            self.sock.settimeout(silence)
        return False

    def send(self, data: bytes) -> None:  # type: ignore[override]
        self._told(len(data))
        try:
            super().send(data)
        except TimeoutError as error:
            raise Silent(str(error)) from error
        except OSError as error:
            raise _Cut(str(error)) from error


def _close_all(kept: list[_Connection]) -> None:
    while kept:
        kept.pop().close()


def _send(connection: _Connection, method: str, target: str, body: Body, headers: Pairs) -> None:
    given = {name.lower() for name, _ in headers}
    try:
        connection.putrequest(method, target, *(name in given for name in _GENERATED))
    except client.InvalidURL as error:
        raise ValueError(str(error)) from error
    for name, value in headers:
        connection.putheader(name, value)
    if body is None:
        if method in ("POST", "PUT", "PATCH") and "content-length" not in given:
            connection.putheader("content-length", "0")
        connection.endheaders()
    elif isinstance(body, bytes):
        if "content-length" not in given:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
    else:
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        for piece in body:
            if piece:
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")


def _named(error: Exception) -> Trouble:
    if isinstance(error, TimeoutError):
        return Silent(str(error))
    return Broken(str(error) or type(error).__name__)

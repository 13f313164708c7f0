"""The outermost layer of every request: its id, its deadlines, its line in the log, and an answer whatever happens.

uvicorn leaves a half-sent body open for ever; here a body that pauses or drags on ends with 408. An answer given
before the whole body came (a refusal, mostly) is followed by a bounded reading of the rest, so that a client still
sending gets to read it, and then by the end of the connection.

HEAD is asked of what is inside as GET, and answered without the body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from satchel.errors import BodyTimeout, InternalError, MemoryFull, SatchelError
from satchel.objects.ids import new_id
from satchel.server.logs import log, where
from satchel.server.meters import METHODS, Meters
from satchel.server.problems import problem
from satchel.sync import protocol

if TYPE_CHECKING:
    from satchel.server.credentials import Checked
    from satchel.server.traces import Trace, Traces

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 3.0
SEND_SECONDS = 60.0
"""Longest wait for a client to take the next piece of an answer."""
HEALTH = "/api/v1/health"
"""Nobody is refused here: a probe that finds no answer takes the server out of service."""
_PROTOCOL = protocol.HEADER.encode()
_ASKING = "/api/v1/"
_UNASKED = frozenset(f"{_ASKING}auth/{name}" for name in ("token", "refresh", "revoke", "invitation", "join"))
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Exchange:
    """One request and its answer, as the edge sees them. Found in the ASGI scope under ``satchel``."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, idle: float, total: float) -> None:
        self.id = request_id
        self.method: str = scope["method"]
        self.address = ""
        """Where the request came from; empty where that is not known. See ``addresses``."""
        self.absent: list[str] = []
        """Projects that were named and could not be shown, for the audit."""
        self.tenant: str | None = None
        self.principal: str | None = None
        self.code: str | None = None
        """The code of the error answered, for the log."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """What the answer has to carry beside its own."""
        self.aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Entered while the client is waited for: see ``turns``."""
        self.grow: Callable[[], Awaitable[None]] = _nothing
        """Awaited before much of a body is kept: see ``turns``."""
        self.weigh: Callable[[int], Awaitable[None]] = _unweighed
        """Awaited before so many bytes in all are kept until the end: see ``weights``."""
        self.at_end: list[Callable[[], None]] = []
        self.ends_connection: Callable[[], bool] = bool
        """Whether the connection shall take no request after this one."""
        self._receive, self._send = receive, send
        self._idle, self.total = idle, total
        self._started = time.perf_counter()
        self._until = self._started + total
        names = {name for name, value in scope["headers"] if value != b"0"}
        self.credential = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        """What the Authorization header says."""
        self.protocols = next((value for name, value in scope["headers"] if name == _PROTOCOL), None)
        """Those that a Satchel client says it speaks."""
        self.checked: Checked | None = None
        """Who sends it, once that is known and it was let in."""
        self.repeated = False
        """Whether the same was asked before."""
        self.stamp: object | None = None
        """The catalog's, where the answer follows from caller, address and catalog alone: see ``recall``."""
        self.trace: Trace | None = None
        """Of the few requests that are traced."""
        self.received = self.sent = 0
        """Bytes of the two bodies so far."""
        self._body_done = not (b"content-length" in names or b"transfer-encoding" in names)
        self._finished = False

    def agree(self) -> None:
        """Answer in a protocol the client speaks, if it says which. Raises ``ProtocolUnknown``."""
        if self.protocols is None:
            return
        self.headers.append((_PROTOCOL, str(protocol.OWN).encode()))
        number = protocol.agree(self.protocols.decode("latin-1"))
        self.headers[-1] = (_PROTOCOL, str(number).encode())

    def allow(self, seconds: float) -> None:
        """Give the whole body this long, from now."""
        self._until = time.perf_counter() + seconds

    def release(self) -> None:
        """Give back now what was taken until the end: the answer to come waits for long and works for none of it."""
        calls, self.at_end = self.at_end, []
        for call in calls:
            call()

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return time.perf_counter() - self._started

    async def receive(self) -> Message:
        if self._body_done:
            return await self._receive()
        left = self._until - time.perf_counter()
        try:
            async with self.aside(), asyncio.timeout(min(self._idle, left)):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTimeout(
                "the body took too long" if left < self._idle else f"the body paused for {self._idle:g} s"
            ) from error
        self._body_done = message["type"] != "http.request" or not message.get("more_body", False)
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        cut = False
        if message["type"] == "http.response.start":
            message = self._start(message)
        else:
            if self.method == "HEAD":
                cut, message = message.get("more_body", False), {"type": "http.response.body", "body": b""}
            self.sent += len(message.get("body", b""))
        ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        lingers = ends and not self._body_done
        async with asyncio.timeout(SEND_SECONDS):
            await self._send({**message, "more_body": True} if lingers else message)
        if lingers:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})
        self._finished = self._finished or ends
        if cut:
            raise ClientDisconnect  # of what comes in pieces nobody takes the others

    def _start(self, message: Message) -> Message:
        self.status = message["status"]
        headers = [*message.get("headers", ()), *self.headers]
        names = {name.lower() for name, _ in headers}
        headers.append((b"x-request-id", self.id.encode()))
        headers.extend(pair for pair in _ALWAYS if pair[0] not in names)
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        if not self._body_done or self.ends_connection():
            headers.append((b"connection", b"close"))
        return {**message, "headers": headers}

    async def _linger(self) -> None:
        """Read and drop what is still coming, within bounds: a closed socket with unread bytes destroys the answer."""
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            pass

    def end(self) -> None:
        """Let go of everything that holds this in turn, so that all of a request is freed when it ends, and not by the
        next collection of garbage, for which everybody waits."""
        self.at_end.clear()
        self.aside, self.grow, self.weigh = nullcontext, _nothing, _unweighed
        self.ends_connection = bool
        self._receive, self._send = _over, _gone

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def finished(self) -> bool:
        return self._finished


def told(error: Exception, exchange: Exchange) -> SatchelError:
    """What a client is told of an error; a defect is logged with where it came from, and never told itself."""
    if isinstance(error, SatchelError):
        answer = error
    elif is_short_of_memory(error):
        answer = MemoryFull("there is not enough memory for this now")
        log.error("out of memory", request=exchange.id, where=where(error))
    else:
        answer = InternalError("the server met something it did not expect")
        log.error("request failed", request=exchange.id, where=where(error))
    exchange.code = answer.code
    return answer


def is_short_of_memory(error: Exception) -> bool:
    """Also in the words of SQLite's driver, and of threads."""
    return isinstance(error, MemoryError) or type(error).__name__ == "NoMemError" or "start new thread" in str(error)


async def _nothing() -> None:
    pass


async def _unweighed(_total: int) -> None:
    pass


async def _over() -> Message:
    return {"type": "http.disconnect"}


async def _gone(_message: Message) -> None:
    raise ClientDisconnect


def asks(path: str) -> bool:
    """Whether who comes to this path is asked for a credential; elsewhere one proves nothing, since nobody looks."""
    return (path.startswith(_ASKING) and path not in _UNASKED) or path.rstrip("/") == "/mcp"


class Edge:
    """ASGI application around another: see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        random: Callable[[int], bytes],
        idle: float,
        total: float,
        address: Callable[[Scope], str] = lambda _scope: "",
        meet_stranger: Callable[[Exchange], None] = lambda _exchange: None,
        meters: Meters | None = None,
        ending: Callable[[], bool] = bool,
        traces: Traces | None = None,
    ) -> None:
        """``address`` finds where a request came from; ``meet_stranger`` may refuse one of whom no credential will
        be looked at; ``meters`` count what was answered, and ``traces`` follow some of it; while the server is
        ``ending``, each answer ends its connection, so that a proxy has none left to send another request by when the
        server goes."""
        self._meters = meters or Meters()
        self._app = app
        self._address, self._meet_stranger = address, meet_stranger
        self._random = random
        self._idle, self._total = idle, total
        self._ending = ending
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, new_id("req", self._random(16)), self._idle, self._total)
        if exchange.method == "HEAD":
            scope = {**scope, "method": "GET"}
        exchange.address = self._address(scope)
        exchange.ends_connection = self._ending
        scope["satchel"] = exchange
        if self._traces is not None:
            exchange.trace = self._traces.begin(scope)
        self._meters.under_way += 1
        try:
            exchange.agree()
            if not (exchange.credential and asks(scope["path"])) and not scope["path"].startswith(HEALTH):
                self._meet_stranger(exchange)
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.code = "cancelled"
            raise
        except Exception as error:  # noqa: BLE001 (the last place that can answer; recorded with where it came from)
            await self._failed(scope, exchange, error)
        finally:
            for call in exchange.at_end:
                call()
            self._meters.under_way -= 1
            self._record(scope, exchange)
            exchange.end()

    async def _failed(self, scope: Scope, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, ClientDisconnect):
            if not exchange.finished:
                exchange.code = "client.gone"
            return
        answer = told(error, exchange)
        if not exchange.started:
            await problem(answer, exchange.id)(scope, exchange.receive, exchange.send)
        elif not exchange.finished:
            # The answer has begun: only a broken connection can still say that it is not whole.
            raise ConnectionAbortedError("the answer could not be completed") from None

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        method = exchange.method if exchange.method in METHODS else "?"
        route = getattr(scope.get("route"), "path", None) or scope.get("satchel.route") or "(none)"
        seconds = exchange.seconds
        self._meters.answered(method, route, exchange, seconds)
        traced = {}
        if exchange.trace is not None:
            exchange.trace.end(method, route, exchange)
            traced["trace"] = exchange.trace.id
        log.info(
            "request",
            request=exchange.id,
            method=method,
            route=route,
            status=exchange.status,
            ms=round(seconds * 1000, 2),
            tenant=exchange.tenant,
            principal=exchange.principal,
            code=exchange.code,
            **traced,
        )

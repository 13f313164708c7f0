"""The outermost layer of every request: its id, its deadlines, its line in the log, and an answer whatever happens.

uvicorn leaves a half-sent body open for ever; here a body that pauses or drags on ends with 408. An answer given
before the whole body came (a refusal, mostly) is followed by a bounded reading of the rest, so that a client still
sending gets to read it, and then by the end of the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from satchel.errors import BodyTimeout, InternalError, SatchelError
from satchel.objects.ids import new_id
from satchel.server.logs import log, where
from satchel.server.problems import problem

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 3.0
SEND_SECONDS = 60.0
"""Longest wait for a client to take the next piece of an answer."""
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Exchange:
    """One request and its answer, as the edge sees them. Found in the ASGI scope under ``satchel``."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, idle: float, total: float) -> None:
        self.id = request_id
        self.tenant: str | None = None
        self.principal: str | None = None
        self.code: str | None = None
        """The code of the error answered, for the log."""
        self.status = 0
        self.at_end: list[Callable[[], None]] = []
        self._receive, self._send = receive, send
        self._idle = idle
        self._started = time.perf_counter()
        self._until = self._started + total
        names = {name for name, value in scope["headers"] if value != b"0"}
        self._body_done = not (b"content-length" in names or b"transfer-encoding" in names)
        self._finished = False

    def allow(self, seconds: float) -> None:
        """Give the whole body this long, from now."""
        self._until = time.perf_counter() + seconds

    @property
    def milliseconds(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)

    async def receive(self) -> Message:
        if self._body_done:
            return await self._receive()
        left = self._until - time.perf_counter()
        try:
            async with asyncio.timeout(min(self._idle, left)):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTimeout(
                "the body took too long" if left < self._idle else f"the body paused for {self._idle:g} s"
            ) from error
        self._body_done = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._start(message)
        ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        lingers = ends and not self._body_done
        async with asyncio.timeout(SEND_SECONDS):
            await self._send({**message, "more_body": True} if lingers else message)
        if lingers:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})
        self._finished = self._finished or ends

    def _start(self, message: Message) -> Message:
        self.status = message["status"]
        headers = list(message.get("headers", ()))
        names = {name.lower() for name, _ in headers}
        headers.append((b"x-request-id", self.id.encode()))
        headers.extend(pair for pair in _ALWAYS if pair[0] not in names)
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        if not self._body_done:
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

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def finished(self) -> bool:
        return self._finished


class Edge:
    """ASGI application around another: see the module."""

    def __init__(self, app: ASGIApp, *, random: Callable[[int], bytes], idle: float, total: float) -> None:
        self._app = app
        self._random = random
        self._idle, self._total = idle, total

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, new_id("req", self._random(16)), self._idle, self._total)
        scope["satchel"] = exchange
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.code = "cancelled"
            raise
        except Exception as error:  # noqa: BLE001 (the last place that can answer; recorded with where it came from)
            await self._failed(scope, exchange, error)
        finally:
            for call in exchange.at_end:
                call()
            self._record(scope, exchange)

    async def _failed(self, scope: Scope, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, ClientDisconnect):
            exchange.code = "client.gone"
            return
        if isinstance(error, SatchelError):
            answer = error
        else:
            answer = InternalError("the server met something it did not expect")
            log.error("request failed", request=exchange.id, where=where(error))
        exchange.code = answer.code
        if not exchange.started:
            await problem(answer, exchange.id)(scope, exchange.receive, exchange.send)
        elif not exchange.finished:
            # The answer has begun: only a broken connection can still say that it is not whole.
            raise ConnectionAbortedError("the answer could not be completed") from None

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        route = scope.get("route")
        log.info(
            "request",
            request=exchange.id,
            method=scope["method"] if scope["method"].isalpha() else "?",
            route=getattr(route, "path", None) or scope.get("satchel.route") or "(none)",
            status=exchange.status,
            ms=exchange.milliseconds,
            tenant=exchange.tenant,
            principal=exchange.principal,
            code=exchange.code,
        )

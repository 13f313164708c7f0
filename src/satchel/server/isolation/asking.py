"""A server, asked with somebody's credential: at a bounded rate, waiting where it says that this is too fast."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from satchel.remote import problem_error
from satchel.remote.raw import Reply
from satchel.server.isolation.requests import JSON, Request, decoded

WAITS = 20
"""How often one request is asked again because the server said it came too fast."""
MAX_WAIT_SECONDS = 60.0


class Door(Protocol):
    """What sends a request as it is: ``satchel.remote.raw.RawServer``."""

    def send(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None = None) -> Reply:
        """The answer. Raises ``SatchelError`` where there is none."""
        ...


class Asking:
    """One server for one thread."""

    def __init__(
        self,
        door: Door,
        *,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``rate``: requests in a second at most, ``None`` for no bound."""
        self._door = door
        self._gap = 1 / rate if rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0
        self.asked = 0
        """Requests sent so far."""
        self.waited = 0
        """How often the server said that they came too fast."""

    def send(self, request: Request, key: str | None) -> Reply:
        """The answer to a request with the credential ``key``."""
        headers = request.headers if key is None else (("authorization", f"Bearer {key}"), *request.headers)
        reply = Reply(0, (), b"")
        for left in reversed(range(WAITS)):
            self._pace()
            reply = self._door.send(request.method, request.path, headers, request.body)
            after = reply.header("retry-after")
            if reply.status != 429 or not after.isdecimal() or not left:
                break
            self.waited += 1
            self._sleep(min(float(after), MAX_WAIT_SECONDS))
        return reply

    def call(
        self,
        key: str | None,
        method: str,
        path: str,
        body: object = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Any:
        """A request below ``/api/v1`` that has to succeed; its JSON. Raises the error that the answer names."""
        data = body
        if body is not None and not isinstance(body, bytes):
            data, headers = json.dumps(body).encode(), (("content-type", JSON), *headers)
        assert data is None or isinstance(data, bytes)
        reply = self.send(Request("", method, "/api/v1" + path, tuple(headers), data), key)
        told = decoded(reply)
        if reply.status >= 300:
            problem = told if isinstance(told, dict) else {}
            raise problem_error(reply.status, problem, reply.header("retry-after") or None)
        return told

    def _pace(self) -> None:
        self.asked += 1
        now = self._clock()
        if self._next > now:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._gap

"""A server that waits for what it stands on: it lives, is not ready, says what it waits for, and tries again.

``awaited`` makes the attempts. While one lasts, and between two, the address is answered: ``health/live`` and
``health/startup`` with 200, so that nobody restarts what a restart cannot help; everything else with 503 and the kind
of the trouble. The reason and the cure, which may name places, are for the log alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from satchel import __version__
from satchel.catalog.trouble import CatalogUnavailable
from satchel.errors import SatchelError, StoreUnavailable, Unavailable
from satchel.objects.ids import new_id
from satchel.server.bodies import answer
from satchel.server.edge import HEALTH
from satchel.server.logs import log
from satchel.server.problems import problem

Made = TypeVar("Made")

QUIET_SECONDS = 1.0
"""Most starts take less; only then is the address answered meanwhile."""
TRY_SECONDS = 2.0
"""Between two attempts."""
TELL_SECONDS = 60.0
"""The same trouble is logged again after so long."""
END_SECONDS = 2.0
"""Longest wait for answers under way, when the attempt succeeded."""


def passes(error: SatchelError) -> bool:
    """Whether waiting may help: something is away, or about to be brought up to date, and nothing is wrong here."""
    return isinstance(error, Unavailable) or "retry_after" in error.facts


async def awaited(
    attempt: Callable[[], Awaitable[Made]], listener: socket.socket, config: Callable[[ASGIApp], Config]
) -> Made:
    """What ``attempt`` makes, tried until nothing is away. Raises what waiting does not mend.

    ``config`` says how an application is served on ``listener``, which stays open and usable.
    """
    trying = asyncio.ensure_future(attempt())
    done, _ = await asyncio.wait({trying}, timeout=QUIET_SECONDS)
    if done and not _waits(trying):
        return await trying
    waiting = Waiting()
    async with _served(listener, config(waiting)):
        while True:
            try:
                return await trying
            except SatchelError as error:
                if not passes(error):
                    raise
                waiting.tell(error)
            await asyncio.sleep(TRY_SECONDS)
            trying = asyncio.ensure_future(attempt())


def _waits(trying: asyncio.Future[Made]) -> bool:
    error = trying.exception()
    return isinstance(error, SatchelError) and passes(error)


class Waiting:
    """The ASGI application that answers meanwhile."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._code = ""
        self._told: tuple[str, float] = ("", 0.0)

    def tell(self, error: SatchelError) -> None:
        """Log what is waited for: at first, when it changes, and once a minute."""
        self._code = error.code
        message, at = self._told
        if error.message != message or time.monotonic() - at >= TELL_SECONDS:
            self._told = (error.message, time.monotonic())
            log.warning("waiting to start", code=error.code, message=error.message, hint=error.hint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = new_id("req", os.urandom(16))
        if scope["path"] == HEALTH + "/live":
            found = answer({"status": "ok"})
        elif scope["path"] == HEALTH + "/startup":
            found = answer({"status": "starting"})
        elif scope["path"] in (HEALTH, HEALTH + "/ready"):
            found = answer(self._report(), 503 if scope["path"].endswith("/ready") else 200)
        else:
            away = StoreUnavailable if self._away() == "store" else CatalogUnavailable
            found = problem(away(f"the server is starting, and waits for its {self._away()}"), request)
        found.headers["connection"] = "close"  # the next request finds the server itself
        found.headers["cache-control"] = "no-store"
        found.headers["x-request-id"] = request
        await found(scope, receive, send)

    def _report(self) -> dict[str, object]:
        return {
            "status": "starting",
            "version": __version__,
            "uptimeSeconds": int(time.monotonic() - self._began),
            "dependencies": [{"name": self._away(), "state": "failed"}] if self._code else [],
        }

    def _away(self) -> str:
        return "store" if self._code == StoreUnavailable.code else "catalog"


@asynccontextmanager
async def _served(listener: socket.socket, config: Config) -> AsyncIterator[None]:
    config.load()
    state = ServerState()

    def protocol() -> Any:
        kind: Any = config.http_protocol_class
        return kind(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, sock=listener.dup())
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=END_SECONDS)

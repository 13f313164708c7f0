"""A way into a server of this process that leaves HTTP out, for tests that ask thousands of times."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from satchel.remote.raw import Reply
from tests.server.running import Running


class AppDoor:
    """Asks the application itself, on the server's own event loop: what uvicorn would give it, and no socket."""

    def __init__(self, server: Running) -> None:
        self._app = server.app
        self._loop = server.loop
        self._host = urlsplit(server.url).netloc.encode()

    def send(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None = None) -> Reply:
        return asyncio.run_coroutine_threadsafe(self._ask(method, path, headers, body), self._loop).result(60)

    async def _ask(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None = None
    ) -> Reply:
        raw, _, query = path.partition("?")
        sent = [(b"host", self._host), *((name.lower().encode(), value.encode()) for name, value in headers)]
        if body is not None:
            sent.append((b"content-length", str(len(body)).encode()))
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode(), "root_path": "",
            "headers": sent, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
        }  # fmt: skip
        given = [{"type": "http.request", "body": body or b"", "more_body": False}]
        came: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if given:
                return given.pop()
            await asyncio.Event().wait()
            raise AssertionError("nothing more comes")

        async def send(message: MutableMapping[str, Any]) -> None:
            came.append(message)

        await self._app(scope, receive, send)
        found = tuple((name.decode().lower(), value.decode()) for name, value in came[0]["headers"])
        return Reply(came[0]["status"], found, b"".join(message.get("body", b"") for message in came[1:]))

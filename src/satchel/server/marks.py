"""Answers given while the store does not answer say so.

They are right, but come from what this server has: its catalog, its indexes, and the sealed bytes on its own disk. The
mark is that of RFC 9211 for an answer that a cache gave without asking further, with the reason as its detail.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CACHE_STATUS = "satchel; hit; detail=store-down"
_READS = ("/search", "/objects/query", "/objects/read")
"""Ends of addresses that are asked with POST and change nothing."""


class StoreMarks:
    """ASGI application around another."""

    def __init__(self, app: ASGIApp, down: Callable[[], bool]) -> None:
        """``down`` says whether the store is known not to answer."""
        self._app, self._down = app, down

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _reads(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400 and self._down():
                headers = [*message.get("headers", ()), (b"cache-status", CACHE_STATUS.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, marked)


def _reads(method: str, path: str) -> bool:
    """Whether a request reads what projects hold."""
    if path in ("/mcp", "/mcp/"):
        return True
    if not path.startswith(("/api/v1/projects", "/api/v1/search")):
        return False
    return method in ("GET", "HEAD") or (method == "POST" and path.endswith(_READS))

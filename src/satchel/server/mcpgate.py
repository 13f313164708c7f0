"""What stands before /mcp: Host and Origin (against DNS rebinding), then the credential, then a reader for it.

The SDK would check Origin after authentication, and takes ``127.0.0.1:evil.example`` for a port: both are done here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from satchel.config.server import ServerSettings
from satchel.mcp.http import ASK, CACHE_STATUS, Ask
from satchel.server import marks
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange
from satchel.server.problems import MethodNotAllowed, OriginRefused

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class McpGate:
    """ASGI application in front of the MCP endpoint. Its refusals are problems, made by the edge."""

    def __init__(self, endpoint: ASGIApp, cloud: Cloud) -> None:
        self._endpoint, self._cloud = endpoint, cloud
        settings = cloud.settings
        public = urlsplit(settings.url).hostname or ""
        self._hosts = frozenset(
            name.lower() for name in (*_LOOPBACK, settings.host, public, *settings.allowed_hosts) if name
        )
        self._origins = frozenset(_origins(settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers.get("host", ""))
        origin = headers.get("origin")
        if origin is not None and not self._known_origin(origin):
            raise OriginRefused("pages of this origin may not call this server")
        if scope["method"] != "POST":
            # No stream is offered, and no session is kept that could be ended.
            raise MethodNotAllowed("this address takes POST alone", allow="POST")
        cloud = self._cloud
        exchange = cast(Exchange, scope["satchel"])
        checked = await cloud.authenticator.check(headers.get("authorization"))
        who = checked.principal
        exchange.tenant, exchange.principal = who.tenant, who.id
        cloud.admission.enter(who.tenant, exchange)
        ask: Ask = lambda question: cloud.readers.ask(who, question)  # noqa: E731 (a closure over the principal)
        scope[ASK] = ask
        scope[CACHE_STATUS] = lambda: marks.CACHE_STATUS if cloud.outage.down else None
        await self._endpoint(scope, receive, send)

    def _check_host(self, host: str) -> None:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            name = ""
        if name not in self._hosts or "@" in host or "/" in host:
            raise OriginRefused("this server does not answer to the Host of the request")

    def _known_origin(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            port_is_number = parts.port is None or parts.port >= 0
        except ValueError:
            return False
        plain = not (parts.path or parts.query or parts.username or parts.password)
        return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK and plain and port_is_number


def _origins(settings: ServerSettings) -> Iterable[str]:
    parts = urlsplit(settings.url)
    yield f"{parts.scheme}://{parts.netloc}"
    yield from settings.allowed_origins

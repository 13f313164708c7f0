"""Under which names this server answers to browsers, and which origins may ask it: against DNS rebinding.

A page of somebody else can make a browser believe that its own name is this server's address. The requests it then
sends carry that name as Host and its origin as Origin, so whoever looks at these is not deceived.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from satchel.config.server import ServerSettings
from satchel.server.problems import OriginRefused

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Hosts:
    """The names and origins of a server with these settings."""

    def __init__(self, settings: ServerSettings) -> None:
        parts = urlsplit(settings.url)
        names = (*_LOOPBACK, settings.host, parts.hostname or "", *settings.allowed_hosts)
        self._hosts = frozenset(name.lower() for name in names if name)
        self._origins = frozenset((f"{parts.scheme}://{parts.netloc}", *settings.allowed_origins))

    def check_host(self, host: str) -> None:
        """Raise ``OriginRefused`` for a Host header that does not name this server."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            name = ""
        if name not in self._hosts or "@" in host or "/" in host:
            raise OriginRefused("this server does not answer to the Host of the request")

    def check_origin(self, origin: str | None) -> None:
        """Raise ``OriginRefused`` for the Origin header of a page that may not call this server; ``null`` is one."""
        if origin is not None and not self._known_origin(origin):
            raise OriginRefused("pages of this origin may not call this server")

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

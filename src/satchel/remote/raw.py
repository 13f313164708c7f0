"""Requests to a server exactly as they are given, and its answers exactly as they came.

``Connection`` is for those who trust a server with a credential and want values; this is for those who examine one: any
method, address and headers (two of one name too), every status an answer and none an error. Redirects are not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from satchel import __version__
from satchel.errors import ServerLied
from satchel.remote.connection import CHUNK_BYTES, CONNECT_SECONDS, READ_SECONDS, checked_url, trouble_as_away
from satchel.remote.http import Broken, Pairs, Pool

MAX_ANSWER_BYTES = 64 << 20


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in their order."""
    body: bytes

    def header(self, name: str) -> str:
        """The first header of that name, empty where there is none."""
        return next((value for found, value in self.headers if found == name), "")


class RawServer:
    """One server. For one thread."""

    def __init__(self, url: str, *, insecure: bool = False, limit: int = MAX_ANSWER_BYTES) -> None:
        """Raises ``ConfigInvalid`` for something that is no address, ``InsecureRemote`` for http:// elsewhere."""
        self._limit = limit
        self.url = checked_url(url, insecure=insecure)
        self._pool = Pool(self.url, connect=CONNECT_SECONDS, silence=READ_SECONDS, keep=1)
        self._prefix = (urlsplit(self.url).path or "").rstrip("/")

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def send(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None = None) -> Reply:
        """Ask for ``path``, the address below that of the server. Asked again once if the connection had ended.

        Raises ``ServerAway``, and ``ServerLied`` for an answer over the limit.
        """
        sent = [("user-agent", f"satchel/{__version__}"), *headers]
        with trouble_as_away(self.url):
            try:
                return self._once(method, path, sent, body)
            except Broken:
                return self._once(method, path, sent, body)

    def _once(self, method: str, path: str, headers: Pairs, body: bytes | None) -> Reply:
        with self._pool.ask(method, self._prefix + path, body, headers) as answer:
            data = bytearray()
            for chunk in answer.chunks(CHUNK_BYTES):
                data += chunk
                if len(data) > self._limit:
                    raise ServerLied(f"the server's answer is over {self._limit:,} bytes")
            return Reply(answer.status, tuple(answer.pairs()), bytes(data))

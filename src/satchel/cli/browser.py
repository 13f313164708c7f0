"""A login through the person's own browser: it comes back to a port of this machine that is open for that alone.

Whatever else comes to the port is told nothing and changes nothing: only an answer with the state of this login, from
the server it was begun at, ends the wait.
"""

from __future__ import annotations

import os
import socketserver
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from satchel.remote.oauth import Asking, LoginRefused

T_co = TypeVar("T_co", covariant=True)

WAIT_SECONDS = 300.0
REQUEST_SECONDS = 5.0
LOOK_SECONDS = 0.2
"""How long one wait for the browser lasts, before it is looked whether one could be opened."""
_PAGE = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    b"<title>Satchel</title><p>%s You can close this page.</p>"
)


class Login(Protocol[T_co]):
    """A login that a browser is sent on, and what comes of it."""

    def ask(self, redirect: str, random: Callable[[int], bytes]) -> Asking: ...

    def is_answer(self, asking: Asking, said: Mapping[str, str]) -> bool: ...

    def finish(self, asking: Asking, said: Mapping[str, str]) -> T_co: ...


def by_browser(
    login: Login[T_co], show: Callable[[str], None], *, seconds: float = WAIT_SECONDS, port: int = 0
) -> T_co | None:
    """What comes of a login in the browser; None where none can be opened. ``show`` is given the address.

    It comes back to ``port``, or to another where that is taken. Raises ``LoginRefused``, and what the login raises.
    """
    with _listening(port) as listener:
        asking = login.ask(f"http://127.0.0.1:{listener.server_address[1]}/callback", os.urandom)
        listener.fits = lambda said: login.is_answer(asking, said)
        show(asking.address)
        # Beside the wait: some browsers end only when the person closes them.
        opening = threading.Thread(target=_open, args=(asking.address, listener), daemon=True)
        opening.start()
        deadline = time.monotonic() + seconds
        while listener.said is None:
            if listener.no_browser:
                return None
            if time.monotonic() >= deadline:
                raise LoginRefused("nobody allowed the login in time")
            listener.handle_request()
        return login.finish(asking, listener.said)


def _listening(port: int) -> _Listener:
    try:
        return _Listener(("127.0.0.1", port), _Answer)
    except OSError:
        return _Listener(("127.0.0.1", 0), _Answer)


def _open(address: str, listener: _Listener) -> None:
    try:
        listener.no_browser = not webbrowser.open(address)
    except webbrowser.Error:
        listener.no_browser = True


class _Listener(socketserver.TCPServer):
    allow_reuse_address = True  # a port that answers of before still linger on
    timeout = LOOK_SECONDS
    no_browser = False
    said: dict[str, str] | None = None
    """What the server told by way of the browser, once it has."""

    fits: Callable[[dict[str, str]], bool]
    """Whether something that came is the answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever connects and breaks off is nobody's concern."""


class _Answer(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS
    server: _Listener

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        said = dict(parse_qsl(address.query, keep_blank_values=True))
        if address.path != "/callback" or not self.server.fits(said):
            self._answer(404, b"There is nothing here.")
            return
        self.server.said = said
        self._answer(200, b"Not allowed." if "error" in said else b"Done: go on in the terminal.")

    def _answer(self, status: int, words: bytes) -> None:
        self.send_response_only(status)
        body = _PAGE % words
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(body)),
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "connection": "close",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the standard library calls it)
        """Nothing is said on the terminal of what comes here: an address holds the code."""

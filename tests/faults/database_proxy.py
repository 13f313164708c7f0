"""A proxy between a server and its PostgreSQL that loses a COMMIT, or the answer to one, with the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum

# Bound to the unnamed portal: what only prepares them has no NUL before the name.
BEGIN, COMMIT = b"\0satchel_begin\0", b"\0satchel_commit\0"


class Lost(Enum):
    """What a COMMIT loses."""

    NOTHING = "nothing"
    QUESTION = "the COMMIT itself: the database hears that the connection ended"
    ANSWER = "the answer: the database commits"


class DatabaseProxy:
    """Listens on a free port and passes everything to ``port``, but what ``lose_next`` says of a COMMIT."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lose, self._tenant = Lost.NOTHING, b""
        self._open: set[socket.socket] = set()
        self.closes = True
        """Whether the server hears that the database closed a connection; what it said before, it hears in any case."""
        self.live = 0
        """Connections that the database has not closed."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> DatabaseProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in list(self._open):
            _end(each)

    def lose_next(self, what: Lost, tenant: str = "") -> None:
        """Of the next transaction that writes in a tenant."""
        self._tenant = tenant.encode()
        self._lose = what

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self._upstream))
                self._open |= {client, upstream}
                self.live += 1
                losing = threading.Event()
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=(client, upstream, losing), daemon=True).start()

    def _ask(self, client: socket.socket, upstream: socket.socket, losing: threading.Event) -> None:
        writing = False
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                writing = self._tenant in data if BEGIN in data else writing
                if COMMIT in data and writing and self._lose is not Lost.NOTHING:
                    lost, self._lose = self._lose, Lost.NOTHING
                    if lost is Lost.QUESTION:
                        break
                    losing.set()
                upstream.sendall(data)
        if not losing.is_set():
            _end(client)
            _end(upstream)

    def _answer(self, client: socket.socket, upstream: socket.socket, losing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65_536):
                if losing.is_set():
                    break
                client.sendall(data)
        self.live -= 1
        if self.closes:
            _end(client)
            _end(upstream)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

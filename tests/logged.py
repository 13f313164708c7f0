"""What servers in threads of the test process log: kept here, and shown with a test that failed.

Not written to ``sys.stdout`` or ``sys.stderr``: pytest empties what it captured there while a server's thread may be
writing, and CPython 3.11 can die of that (SIGSEGV within ``TextIOWrapper``).
"""

from __future__ import annotations

import socketserver
import sys
import threading
from collections import deque

import structlog

LINES = 5_000
"""The last lines that are kept."""


class _Sink:
    """A text file, as far as ``print`` asks, of the last lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._lock = threading.Lock()
        self._rest = ""

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            self._lines.extend(lines)
        return len(text)

    def flush(self) -> None:
        """It is where it has to be already."""

    def taken(self) -> list[str]:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        return lines


_SINK = _Sink()


def install() -> None:
    """Keep lines from now on, of every level."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.JSONRenderer(default=repr),
        ],
        logger_factory=structlog.PrintLoggerFactory(_SINK),  # type: ignore[arg-type]  # it only writes and flushes
    )

    socketserver.BaseServer.handle_error = _not_answered  # type: ignore[method-assign, assignment]


def _not_answered(_server: socketserver.BaseServer, _request: object, _client: object) -> None:
    """What a server of the standard library does about an exception, which is to print it from its thread."""
    structlog.get_logger().warning("a stand-in did not answer", error=repr(sys.exc_info()[1]))


def taken() -> list[str]:
    """The lines since this was asked the last time; each test begins with none."""
    return _SINK.taken()

"""uvicorn's HTTP protocol with bounds on what costs no credential: connections, heads, and answers that nobody reads.

uvicorn keeps whatever header lines come and waits for the next one for ever. A head over ``MAX_HEAD_BYTES`` ends with
431, one that is not complete after ``HEAD_SECONDS`` with the end of the connection, and trailers are dropped. An answer
that is not taken at ``TAKEN_BYTES`` in ``TAKEN_SECONDS`` at least ends with the connection, also one that was complete
for us and rests in a buffer. Where there are more connections than may be, the one that has been idle for longest goes;
so idle ones, however many, keep nobody out. Deadlines of bodies are the edge's (``server.edge``).
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from satchel.server.openfiles import connections_at_most

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers. What a socket gives at once (256 KiB) may be over it before it is noticed."""
HEAD_SECONDS = 20.0
"""From the connection, or the first byte of a later request on it, to the end of its headers."""
FRESH_SECONDS = 1.0
"""At the end of the server, for a request on a connection that was just made, or whose head has begun."""
TAKEN_SECONDS = 60.0
TAKEN_BYTES = 60 * 1024
"""What a client takes of a waiting answer in that time, at least: a kilobyte a second."""
HELD_BYTES = 4 * 1024
"""A head is no longer, nearly always; what is may go by itself."""
JOINED_BYTES = 64 * 1024
"""A longer body takes several packets anyway."""
_NO_MEMORY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Joining:
    """A transport on which the head of an answer leaves together with the first of its body, where that comes at once:
    uvicorn writes them one after the other, and each would be sent by itself and wake the client."""

    __slots__ = ("_held", "_inner", "_loop")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop = inner, loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            # Not by `writelines`, which in asyncio of Python 3.12 and 3.13 tells nobody that what is left has to wait.
            if len(data) <= JOINED_BYTES:
                data = held + data
            else:
                self._inner.write(held)
            self._inner.write(data)
        elif len(data) <= HELD_BYTES:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._inner.write(data)

    def close(self) -> None:
        self._flush()
        self._inner.close()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._inner.is_closing():
            self._inner.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class BoundedHeads(HttpToolsProtocol):
    """See the module. Takes what uvicorn gives to its own protocol."""

    most: ClassVar[int] = 8_192
    """Connections at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._taken_timer: asyncio.TimerHandle | None = None
        # Of this server, by how long they have been idle, the longest first.
        self._idle = _idle.setdefault(self.server_state, OrderedDict())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(cast(asyncio.Transport, Joining(transport, self.loop)))
        transport.set_write_buffer_limits(high=0)  # whatever waits to be taken is known of
        if len(self.connections) > self.most:
            longest = next(iter(self._idle), self)
            self._idle.pop(longest, None)
            longest.transport.abort()
        self._idle[self] = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._stop_waiting()
        self._stop_taking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taken()

    def resume_writing(self) -> None:
        self._stop_taking()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Also called where there was no memory for what came, which is nobody's malformed request."""
        if isinstance(getattr(sys.exc_info()[1], "__context__", None), MemoryError):
            self.transport.write(_NO_MEMORY)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._idle.pop(self, None)
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self._idle[self] = None
        super().on_response_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def shutdown(self) -> None:
        """As uvicorn's, but for a connection whose next request has begun, or that has just been made for its first:
        a proxy that sent one would have to say that it failed. It gets a moment to come."""
        cycle: RequestResponseCycle | None = self.cycle
        if self._head_timer is not None and (cycle is None or cycle.response_complete):
            self.loop.call_later(FRESH_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_taken(self) -> None:
        left = self.transport.get_write_buffer_size() - TAKEN_BYTES
        self._taken_timer = self.loop.call_later(TAKEN_SECONDS, self._taken, left)

    def _stop_taking(self) -> None:
        if self._taken_timer is not None:
            self._taken_timer.cancel()
            self._taken_timer = None

    def _taken(self, at_most: int) -> None:
        if self.transport.get_write_buffer_size() > max(0, at_most):
            self.transport.abort()  # to close it would wait for the client again
        else:
            self._await_taken()

    def _late(self) -> None:
        self._head_timer = None
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._await_head()  # the start of the next request came early, and is not read on before this one ends
        elif not self.transport.is_closing():
            self.transport.close()


def bounded(most: int) -> type[BoundedHeads]:
    """The protocol with at most ``most`` connections, or what open files allow."""
    return type("Bounded", (BoundedHeads,), {"most": connections_at_most(most)})


_idle: WeakKeyDictionary[object, OrderedDict[BoundedHeads, None]] = WeakKeyDictionary()

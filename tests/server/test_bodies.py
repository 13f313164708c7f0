"""Bodies that come in many small packets."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from starlette.types import Message

from satchel.errors import TooLarge
from satchel.server.bodies import GATHERED_FROM, stream

PACKET = b"x" * 1_400
PACKETS = 1_000


class _Socket:
    """A server that adds up what comes until somebody asks for it, as uvicorn does; a packet a turn of the loop."""

    def __init__(self) -> None:
        self.asked = 0
        self._held = b""
        self._left = PACKETS
        self._some = asyncio.Event()

    async def fill(self) -> None:
        while self._left:
            self._held += PACKET
            self._left -= 1
            self._some.set()
            await asyncio.sleep(0)

    async def receive(self) -> Message:
        self.asked += 1
        await self._some.wait()
        self._some.clear()
        data, self._held = self._held, b""
        return {"type": "http.request", "body": data, "more_body": self._left > 0}


async def _read(limit: int) -> tuple[bytes, int]:
    socket = _Socket()
    filling = asyncio.create_task(socket.fill())
    try:
        parts = [part async for part in stream(Request({"type": "http"}, socket.receive), limit)]
    finally:
        filling.cancel()
    return b"".join(parts), socket.asked


def test_a_long_body_in_small_packets_is_taken_in_few_pieces() -> None:
    data, asked = asyncio.run(_read(10**7))
    assert data == PACKET * PACKETS
    # Until it counts as long each packet is taken by itself; after that they gather.
    first = GATHERED_FROM // len(PACKET)
    assert first < asked < first + (PACKETS - first) // 2


def test_a_body_over_its_limit_is_refused_where_it_passes_it() -> None:
    with pytest.raises(TooLarge):
        asyncio.run(_read(GATHERED_FROM * 2))

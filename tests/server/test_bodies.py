"""Bodies that come in many small packets."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from fastapi.responses import Response
from starlette.types import Message

from satchel.errors import TooLarge
from satchel.objects import zstd
from satchel.server.bodies import GATHERED_FROM, PACKED_FROM, packed, stream

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
        parts = [part async for part in stream(Request({"type": "http", "headers": []}, socket.receive), limit)]
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


@pytest.mark.parametrize(
    ("accepts", "length", "packs"),
    [
        ("zstd", PACKED_FROM, True),
        ("gzip, ZSTD;q=0.5", PACKED_FROM, True),
        ("zstd", PACKED_FROM - 1, False),
        ("zstd;q=0, gzip", PACKED_FROM, False),
        ("zstd; q=0.000", PACKED_FROM, False),
        ("gzip, *", PACKED_FROM, False),
        ("", PACKED_FROM, False),
    ],
)
def test_a_long_answer_is_packed_for_whom_asks_so(accepts: str, length: int, packs: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept-encoding", accepts.encode())]})
    given = Response(b"x" * length, 207, media_type="application/json")
    made = asyncio.run(packed(request, given))
    assert (made.status_code, made.headers["content-type"]) == (207, "application/json")
    assert made.headers["content-length"] == str(len(made.body))
    if packs:
        assert (made.headers["content-encoding"], made.headers["vary"]) == ("zstd", "accept-encoding")
        assert zstd.decompress(bytes(made.body)) == given.body
    else:
        assert made is given

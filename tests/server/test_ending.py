"""A request that does not end in time has ended, whatever it holds, before the server has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import Receive, Scope, Send

from satchel.server.serve import Serving, listen


class _Server(Serving):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # the tests' own thread has them
        yield


def test_what_a_request_holds_is_given_back_before_the_server_has_ended() -> None:
    told: list[str] = []
    stuck = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        stuck.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):  # a rollback takes its time
                await asyncio.sleep(0)
            told.append("given back")

    async def serve() -> None:
        listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=0)
        server = _Server(config, lambda: None, asyncio.Event())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await stuck.wait()
        server.should_exit = True
        await serving
        told.append("ended")
        writer.close()

    asyncio.run(serve())
    assert told == ["given back", "ended"]

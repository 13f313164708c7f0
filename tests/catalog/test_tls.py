"""PostgreSQL behind TLS, as most are: reading and writing scopes leave through a transport that TLS was put upon."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from satchel.catalog import projects
from satchel.catalog.scope import Catalog
from tests.catalog.make import PROJECT, Tenants
from tests.postgres import Postgres
from tests.remote.test_http import certificate

Run = Callable[[Coroutine[Any, Any, None]], None]
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
"""The manual's chapter on the protocol: eight bytes, to which a server that does TLS says S."""


@asynccontextmanager
async def speaking_tls(port: int, certified: Path) -> AsyncIterator[int]:
    """A port on which the database at ``port`` is reached by TLS alone: the one of the wheel cannot do it itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified)

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == SSL_REQUEST
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, outer), carry(inner, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("verified", [False, True], ids=["require", "verify-full"])
def test_scopes_read_and_write_through_tls(postgres: Postgres, tmp_path: Path, run: Run, verified: bool) -> None:
    certified = certificate(tmp_path)
    mode = f"verify-full&sslrootcert={certified}" if verified else "require"

    async def use() -> None:
        port = urlsplit(postgres.admin).port
        assert port is not None
        async with speaking_tls(port, certified) as tls:
            place = postgres.at(tls).url.replace("127.0.0.1", "localhost")
            catalog = await Catalog.open(f"{place}?sslmode={mode}")
            tenants = await Tenants.found(catalog)
            async with catalog.write(tenants.a) as s:
                await projects.update(s, PROJECT, slug="renamed")
            async with catalog.read(tenants.a) as s:
                assert [row.slug for row in await projects.list_(s)] == ["renamed"]
            async with catalog.read(tenants.b) as s:
                assert [row.slug for row in await projects.list_(s)] == ["acme"]
            await catalog.close()

    run(use())

"""Whoever reads and writes for a tenant waits behind its own, not in front of others."""

from __future__ import annotations

import asyncio

import pytest

from satchel.catalog import projects
from satchel.catalog.scope import Catalog
from satchel.catalog.sqlite import READERS
from satchel.catalog.trouble import CatalogUnavailable
from satchel.catalog.turns import TenantTurns
from satchel.objects.ids import TenantId
from tests.catalog.make import PROJECT, Tenants
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio
ENGINES = ("SQLite",)  # where all tenants write through one connection


@pytest.mark.promise("P8")
async def test_a_tenant_that_writes_twenty_times_at_once_keeps_another_waiting_for_one_of_them(
    catalog: Catalog, tenants: Tenants
) -> None:
    done: list[str] = []

    async def write(tenant: TenantId, name: str) -> None:
        async with catalog.write(tenant) as s:
            assert await projects.get(s, PROJECT) is not None
            await asyncio.sleep(0)  # as every write does, while it waits for the database
        done.append(name)

    noisy = [asyncio.create_task(write(tenants.a, "noisy")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(write(tenants.b, "quiet"), *noisy)
    assert len(done) == 21
    assert done.index("quiet") <= 4


@pytest.mark.promise("P8")
async def test_a_tenant_that_reads_all_it_can_leaves_a_connection_to_another(
    catalog: Catalog, tenants: Tenants
) -> None:
    enough, began = asyncio.Event(), asyncio.Semaphore(0)

    async def hold() -> None:
        async with catalog.read(tenants.a):
            began.release()
            await enough.wait()

    noisy = [asyncio.create_task(hold()) for _ in range(20)]
    for _ in range(READERS - 1):
        await began.acquire()
    async with asyncio.timeout(5), catalog.read(tenants.b) as s:
        assert await projects.get(s, PROJECT) is not None
    enough.set()
    await asyncio.gather(*noisy)


@pytest.mark.promise("P8")
async def test_so_it_is_with_connections_to_a_server(postgres: Postgres) -> None:
    catalog = await Catalog.open(postgres.url, connections=4)
    readers = 2
    tenants, enough, began = await Tenants.found(catalog), asyncio.Event(), asyncio.Semaphore(0)

    async def hold() -> None:
        async with catalog.read(tenants.a):
            began.release()
            await enough.wait()

    noisy = [asyncio.create_task(hold()) for _ in range(5)]
    for _ in range(readers - 1):
        await began.acquire()
    async with asyncio.timeout(5), catalog.read(tenants.b) as s:
        assert await projects.get(s, PROJECT) is not None
    enough.set()
    await asyncio.gather(*noisy)
    await catalog.close()


async def test_whoever_waits_too_long_is_told_and_the_next_has_the_turn() -> None:
    turns = TenantTurns(1, 0.02)
    async with turns.of("a"):
        with pytest.raises(CatalogUnavailable):
            async with turns.of("a"):
                raise AssertionError("nobody else has the turn")
        async with turns.of("b"):
            pass
    async with turns.of("a"):
        pass


async def test_a_writer_that_is_broken_off_gives_its_turn_back() -> None:
    turns, began = TenantTurns(1, 5), asyncio.Event()

    async def hold() -> None:
        async with turns.of("a"):
            began.set()
            await asyncio.Event().wait()

    async def wait() -> None:
        async with turns.of("a"):
            pass

    holding = asyncio.create_task(hold())
    await began.wait()
    waiting = [asyncio.create_task(wait()) for _ in range(2)]
    await asyncio.sleep(0)
    for task in (waiting[0], holding):
        task.cancel()
    await asyncio.gather(holding, waiting[0], return_exceptions=True)
    await asyncio.wait_for(waiting[1], 5)

"""What leaves together on PostgreSQL, and what becomes of it where one of it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from satchel.catalog.direct import Writer
from satchel.catalog.postgres import Postgres as Database
from satchel.catalog.schema import TENANT, idempotency, mine
from satchel.catalog.scope import Catalog
from tests.catalog.make import Tenants
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

INSERT = insert(idempotency).values(tenant_id=TENANT)
KEYS = select(idempotency.c.key).where(mine(idempotency)).order_by(idempotency.c.key)
RENAME = (
    update(idempotency).where(mine(idempotency), idempotency.c.key == bindparam("old")).values(key=bindparam("new"))
)


def key(name: str) -> dict[str, object]:
    return {"principal_id": "key", "route": "r", "key": name, "request_hash": "", "result": "", "created": 1}


@pytest.fixture
async def catalog(postgres: Postgres) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(postgres.url)
    yield opened
    await opened.close()


@pytest.fixture
async def tenants(catalog: Catalog) -> Tenants:
    return await Tenants.found(catalog)


async def keys(catalog: Catalog, tenant: str) -> list[str]:
    async with catalog.read(tenant) as s:
        return [row.key for row in await s.rows(KEYS)]


class Counted:
    """A transport that counts what is written to it."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.writes = inner, 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_a_transaction_is_as_many_messages_as_it_asks_and_one_for_the_commit(
    catalog: Catalog, tenants: Tenants
) -> None:
    database = catalog._database
    assert isinstance(database, Database)

    async def change(names: str) -> list[str]:
        async with catalog.write(tenants.a) as s:
            for name in names:
                await s.later(INSERT, key(name))
            seen = [row.key for row in await s.rows(KEYS)]
            await s.later(RENAME, {"old": names[0], "new": names[0].upper()})
            return seen

    await change("xy")  # prepares the statements
    [line] = database._write.idle
    door = line._door
    door.inner = counted = Counted(door.inner)
    assert await change("abc") == ["X", "a", "b", "c", "y"]
    assert counted.writes == 2
    assert await keys(catalog, tenants.a) == ["A", "X", "b", "c", "y"]
    counted.writes = 0
    assert await keys(catalog, tenants.b) == []  # by a connection of readers
    async with catalog.write(tenants.a):
        pass
    assert counted.writes == 0, "nothing was asked"


@pytest.mark.promise("P4")
async def test_what_waits_and_is_refused_is_told_by_what_leaves_with_it_and_nothing_stays(
    catalog: Catalog, tenants: Tenants
) -> None:
    async def add(names: str, *, ask: bool = False) -> None:
        async with catalog.write(tenants.a) as s:
            for name in names:
                await s.later(INSERT, key(name))
            if ask:
                await s.rows(KEYS)
                pytest.fail("it was refused")

    async def go_on() -> None:
        async with catalog.write(tenants.a) as s:
            await s.later(INSERT, key("a"))
            with pytest.raises(IntegrityError):
                await s.execute(INSERT, key("a"))

    with pytest.raises(IntegrityError):
        await add("aab", ask=True)
    with pytest.raises(IntegrityError):
        await add("aab")
    with pytest.raises(RuntimeError, match="nothing was written"):
        await go_on()
    assert await keys(catalog, tenants.a) == []


@pytest.mark.promise("P4")
@pytest.mark.parametrize("begun", [False, True])
async def test_after_a_statement_that_cannot_be_sent_nothing_of_its_transaction_is_written(
    catalog: Catalog, tenants: Tenants, begun: bool
) -> None:
    async def go_on(*, ask: bool) -> None:
        async with catalog.write(tenants.a) as s:
            if begun:
                await s.execute(INSERT, key("0"))
            await s.later(INSERT, key("a"))
            with pytest.raises(asyncpg.DataError):
                await s.execute(INSERT, key("b") | {"created": "no number"})
            await s.later(INSERT, key("c"))
            if ask:
                await s.rows(KEYS)

    async def unknown() -> None:
        async with catalog.write(tenants.a) as s:
            await s.later(INSERT, key("a") | {"created": 1.5})

    for ask in (False, True):
        with pytest.raises(RuntimeError, match="nothing was written"):
            await go_on(ask=ask)
    with pytest.raises(TypeError):
        await unknown()
    assert await keys(catalog, tenants.a) == []


@pytest.mark.promise("P5")
async def test_what_waits_meets_the_wall_of_the_tenant_it_was_asked_in(catalog: Catalog, tenants: Tenants) -> None:
    async def trespass() -> None:
        async with catalog._database.writing(tenants.a) as connection:
            assert isinstance(connection, Writer)
            connection.later(INSERT, key("a") | {"scope_tenant": tenants.b})

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trespass()
    async with catalog.directory(write=True) as d:
        for tenant in (tenants.a, tenants.b):
            await d.enter(tenant).later(INSERT, key(f"of {tenant}"))
    for tenant in (tenants.a, tenants.b):
        assert await keys(catalog, tenant) == [f"of {tenant}"]


async def test_many_rows_and_few_are_written_after_what_waited_before_them(catalog: Catalog, tenants: Tenants) -> None:
    columns = tuple(key(""))
    for count in (3, 300):
        async with catalog.write(tenants.a) as s:
            await s.later(INSERT, key("before"))
            rows = [tuple(key(f"{count} {number:03}").values()) for number in range(count)]
            await s.execute_many(INSERT, columns, rows)
            await s.later(RENAME, {"old": "before", "new": f"{count} after"})
    found = await keys(catalog, tenants.a)
    assert (len(found), "before" in found, "3 after" in found, "300 after" in found) == (305, False, True, True)

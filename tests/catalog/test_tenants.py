"""Tenants: founded, suspended, erased; their quotas, audit and idempotency rows."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Principal
from satchel.catalog import audit, bootstrap, idempotency, principals, projects, quotas, tenants
from satchel.catalog.idempotency import KEPT_MS
from satchel.catalog.quotas import Limits
from satchel.catalog.schema import METADATA
from satchel.catalog.scope import Catalog
from satchel.errors import (
    AlreadyExists,
    IdempotencyReused,
    InvalidInput,
    NoSuchThing,
    QuotaReached,
    TenantSuspended,
)
from satchel.objects.ids import PrincipalId, TenantId, new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Tenants, hold, lengthen

pytestmark = pytest.mark.anyio


async def test_the_first_start_founds_one_tenant_with_an_operators_key_and_no_later_start_does(
    catalog: Catalog,
) -> None:
    assert not await bootstrap.is_founded(catalog)
    founded = await bootstrap.bootstrap(catalog, pepper=PEPPER, now=NOW)
    assert founded is not None
    assert (founded.tenant.slug, founded.tenant.state) == ("default", "active")
    assert await bootstrap.is_founded(catalog)
    assert await bootstrap.bootstrap(catalog, pepper=PEPPER, now=NOW) is None
    async with catalog.read(founded.tenant.id) as s:
        key_id = parse_key(founded.key).key_id
        who = await principals.authenticate_key(s, key_id, key_mac(PEPPER, founded.key), NOW)
        assert who.operator
        await tenants.check_active(s)


async def test_a_tenants_slug_is_taken_once(catalog: Catalog, tenants_: Tenants) -> None:
    async with catalog.directory(write=True) as d:
        with pytest.raises(AlreadyExists):
            await bootstrap.found_tenant(d, slug="first", name="", pepper=PEPPER, now=NOW)
    async with catalog.write(tenants_.b) as s:
        with pytest.raises(AlreadyExists):
            await tenants.rename(s, slug="first")
    async with catalog.write(tenants_.b) as s:
        row = await tenants.rename(s, slug="third", name="Third")
        assert (row.slug, row.name) == ("third", "Third")
        assert await tenants.rename(s) == row
    async with catalog.directory() as d:
        assert [row.slug for row in await tenants.list_(d)] == ["first", "third"]
        assert [row.slug for row in await tenants.list_(d, "first", 5)] == ["third"]
        assert await tenants.find(d, "third") == await tenants.find(d, tenants_.b)
        assert await tenants.find(d, "second") is None


async def test_a_suspended_tenant_says_so_until_it_is_resumed(catalog: Catalog, tenants_: Tenants) -> None:
    for state in ("suspended", "active"):
        async with catalog.directory(write=True) as d:
            assert await tenants.set_state(d, tenants_.a, state)
            assert not await tenants.set_state(d, TenantId(new_id("ten", bytes(16))), state)
            with pytest.raises(InvalidInput):
                await tenants.set_state(d, tenants_.a, "shredded")
        async with catalog.read(tenants_.a) as s:
            if state == "suspended":
                with pytest.raises(TenantSuspended):
                    await tenants.check_active(s)
            else:
                await tenants.check_active(s)


@pytest.mark.promise("P5")
async def test_erasing_a_tenant_leaves_a_tombstone_and_every_row_of_the_others(
    catalog: Catalog, tenants_: Tenants
) -> None:
    for tenant in (tenants_.a, tenants_.b):
        async with catalog.write(tenant) as s:
            await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one")])
            await audit.record(s, None, "commit", PROJECT, "done", "req", NOW)
            await idempotency.save(s, "p", "r", "k", "h", "{}", NOW)
            await projects.set_relations(s, PROJECT, [("part-of", "x")])

    async def census() -> dict[str, list[str]]:
        async with catalog._engines.read.connect() as raw:
            return {
                table.name: sorted((await raw.execute(text(f"SELECT tenant_id FROM {table.name}"))).scalars())
                for table in METADATA.sorted_tables
                if "tenant_id" in table.c
            }

    before = await census()
    async with catalog.directory(write=True) as d:
        await tenants.erase(d, tenants_.a)
    after = await census()
    for name, owners in before.items():
        gone = set() if name == "tenant" else {tenants_.a}
        assert after[name] == [owner for owner in owners if owner not in gone], name
    async with catalog.directory(write=True) as d:
        row = await tenants.find(d, tenants_.a)
        assert row is not None
        assert (row.slug, row.name, row.state) == (tenants_.a, "", "shredded")
        assert not await tenants.set_state(d, tenants_.a, "active")  # for good
        await bootstrap.found_tenant(d, slug="first", name="", pepper=PEPPER, now=NOW)  # the slug is free again
    async with catalog.read(tenants_.a) as s:
        with pytest.raises(NoSuchThing):
            await tenants.check_active(s)


async def test_storage_is_reserved_against_what_is_used(catalog: Catalog, tenants_: Tenants) -> None:
    async with catalog.write(tenants_.a) as s:
        await hold(s, "one", size=600)
        await quotas.set_limits(s, Limits(storage_bytes=1_000))
        await quotas.reserve(s, 400)
        with pytest.raises(QuotaReached) as caught:
            await quotas.reserve(s, 401)
        assert caught.value.facts == {"quota": {"name": "storageBytes", "used": 600, "limit": 1_000}}
        await quotas.set_limits(s, Limits(storage_bytes=-1))
        await quotas.reserve(s, 10**15)
        used = await quotas.usage(s)
        assert (used.storage_bytes, used.projects, used.members, used.keys) == (600, 1, 0, 1)
    async with catalog.read(tenants_.b) as s:
        assert (await quotas.usage(s)).storage_bytes == 0
        assert await quotas.limits(s) == Limits()


async def test_audit_rows_come_newest_first_and_page(catalog: Catalog, tenants_: Tenants) -> None:
    who = Principal(tenant=tenants_.a, id=PrincipalId("mem_1"), name="Ann", kind="member")
    async with catalog.write(tenants_.a) as s:
        for minute in range(5):
            await audit.record(s, who if minute else None, f"act-{minute}", "x" * 5_000, "done", "req", NOW + minute)
        rows = await audit.list_(s)
        assert [row.action for row in rows] == ["act-4", "act-3", "act-2", "act-1", "act-0"]
        assert (rows[0].principal_id, rows[0].principal_name, rows[4].principal_id) == ("mem_1", "Ann", "")
        assert len(rows[0].target) == 1_024
        assert await audit.list_(s, rows[1].id, 2) == rows[2:4]


@pytest.mark.promise("P7")
async def test_a_request_sent_twice_finds_its_result_for_a_day(catalog: Catalog, tenants_: Tenants) -> None:
    async with catalog.write(tenants_.a) as s:
        await idempotency.save(s, "mem_1", "sync", "key", "hash", "result", NOW)
        assert await idempotency.find(s, "mem_1", "sync", "key", "hash", NOW + KEPT_MS - 1) == "result"
        with pytest.raises(IdempotencyReused):
            await idempotency.find(s, "mem_1", "sync", "key", "another request", NOW)
        for principal, route, key in (("mem_2", "sync", "key"), ("mem_1", "put", "key"), ("mem_1", "sync", "k")):
            assert await idempotency.find(s, principal, route, key, "hash", NOW) is None
        for key in ("", "x" * 256):
            with pytest.raises(InvalidInput):
                await idempotency.find(s, "mem_1", "sync", key, "hash", NOW)
        assert await idempotency.find(s, "mem_1", "sync", "key", "anything", NOW + KEPT_MS) is None
        await idempotency.save(s, "mem_1", "sync", "key", "later", "second", NOW + KEPT_MS)  # in its place
        assert await idempotency.find(s, "mem_1", "sync", "key", "later", NOW + KEPT_MS) == "second"
        assert await idempotency.expire(s, NOW + KEPT_MS) == 0
        assert await idempotency.expire(s, NOW + 2 * KEPT_MS) == 1
    async with catalog.read(tenants_.b) as s:
        assert await idempotency.find(s, "mem_1", "sync", "key", "hash", NOW) is None


@pytest.fixture
def tenants_(tenants: Tenants) -> Tenants:
    """The two tenants, under a name that leaves the module's own to it."""
    return tenants

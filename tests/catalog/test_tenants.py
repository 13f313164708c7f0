"""Tenants: founded, suspended, erased; their quotas, audit and idempotency rows."""

from __future__ import annotations

import pytest

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Principal
from satchel.catalog import audit, bootstrap, idempotency, projects, standing, tenants
from satchel.catalog.idempotency import KEPT_MS
from satchel.catalog.schema import METADATA
from satchel.catalog.scope import Catalog
from satchel.errors import (
    AlreadyExists,
    IdempotencyReused,
    InvalidInput,
    NoSuchThing,
    TenantSuspended,
)
from satchel.objects.ids import PrincipalId, TenantId, new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Beneath, Tenants, hold, lengthen

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
        who = await standing.of_key(s, key_id, key_mac(PEPPER, founded.key), NOW)
        assert who.principal.operator
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


async def test_a_tenant_that_is_being_deleted_says_until_when_and_comes_back_as_it_was(
    catalog: Catalog, tenants_: Tenants
) -> None:
    async with catalog.directory(write=True) as d:
        before = await tenants.find(d, tenants_.a)
        assert before is not None
        row = await tenants.delete_later(d, tenants_.a, NOW + 1_000)
        assert (row.state, row.delete_at) == ("deleting", NOW + 1_000)
        assert row == await tenants.find(d, "first")
        assert await tenants.delete_later(d, tenants_.a, NOW + 9_000) == row  # said again, it is no later
        assert await tenants.due(d, NOW + 999) == []
        assert await tenants.due(d, NOW + 1_000) == [row]
        with pytest.raises(NoSuchThing):
            await tenants.delete_later(d, TenantId(new_id("ten", bytes(16))), NOW)
    async with catalog.read(tenants_.a) as s:
        with pytest.raises(TenantSuspended, match="being deleted: until 2027-01-15 08:00 UTC"):
            await tenants.check_active(s)
    async with catalog.directory(write=True) as d:
        assert await tenants.set_state(d, tenants_.a, "active")
        assert await tenants.find(d, tenants_.a) == before
        assert await tenants.due(d, 2**62) == []


async def test_a_tenant_founded_for_a_while_keeps_its_end_whatever_is_done_to_it(catalog: Catalog) -> None:
    async with catalog.directory(write=True) as d:
        made = await bootstrap.found_tenant(d, slug="brief", name="", pepper=PEPPER, now=NOW, delete_at=NOW + 500)
        for state in ("suspended", "active"):
            await tenants.set_state(d, made.tenant.id, state)
            row = await tenants.find(d, "brief")
            assert row is not None
            assert (row.state, row.delete_at) == (state, NOW + 500)
        row = await tenants.delete_later(d, made.tenant.id, NOW + 9_000)
        assert row.delete_at == NOW + 500


async def test_a_tombstone_is_looked_at_until_nothing_of_it_lies_in_the_store(
    catalog: Catalog, tenants_: Tenants
) -> None:
    async with catalog.directory(write=True) as d:
        await tenants.delete_later(d, tenants_.a, NOW)
        await tenants.erase(d, tenants_.a)
        with pytest.raises(NoSuchThing):
            await tenants.delete_later(d, tenants_.a, NOW)
        assert [(row.id, row.state) for row in await tenants.due(d, NOW)] == [(tenants_.a, "shredded")]
        await tenants.look_again(d, tenants_.a, NOW + 10)
        assert await tenants.due(d, NOW) == []
        assert [row.id for row in await tenants.due(d, NOW + 10)] == [tenants_.a]
        await tenants.look_again(d, tenants_.a, None)
        assert await tenants.due(d, 2**62) == []


async def test_the_tenants_that_operate_are_those_with_an_operator(catalog: Catalog, tenants_: Tenants) -> None:
    async with catalog.directory() as d:
        assert await tenants.operating(d) == [tenants_.a]


@pytest.mark.promise("P5")
async def test_erasing_a_tenant_leaves_a_tombstone_and_every_row_of_the_others(
    catalog: Catalog, tenants_: Tenants, beneath: Beneath
) -> None:
    for tenant in (tenants_.a, tenants_.b):
        async with catalog.write(tenant) as s:
            await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one")])
            await audit.record(s, None, "commit", PROJECT, "done", "req", NOW)
            await idempotency.save(s, "p", "r", "k", "h", "{}", NOW)
            await projects.set_relations(s, PROJECT, [("part-of", "x")])

    async def census() -> dict[str, list[str]]:
        return {
            table.name: sorted(str(row[0]) for row in await beneath(f"SELECT tenant_id FROM {table.name}"))
            for table in METADATA.sorted_tables
            if "tenant_id" in table.c and table.name != "change"  # which tells every node of the end
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


async def test_audit_rows_come_newest_first_and_page(catalog: Catalog, tenants_: Tenants) -> None:
    who = Principal(tenant=tenants_.a, id=PrincipalId("mem_1"), name="Ann", kind="member")
    async with catalog.write(tenants_.a) as s:
        for number in range(5):  # more than one in a millisecond
            await audit.record(
                s, who if number else None, f"act-{number}", "x" * 5_000, "done", "req", NOW + number // 3
            )
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

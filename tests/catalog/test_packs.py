"""Packs: pending, live, dying; and objects that are there in full or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, update

from satchel.catalog import dying, quotas
from satchel.catalog.packs import DYING, add_pack, all_places, forget_packs, missing, places
from satchel.catalog.schema import mine, pack
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import ObjectsMissing
from tests.catalog.make import NOW, PROJECT, Tenants, hold, lengthen, named, place

pytestmark = pytest.mark.anyio


async def begin_to_die(s: Scope, name: str) -> None:
    dying = update(pack).where(mine(pack), pack.c.pack == bindparam("of_pack")).values(state=DYING)
    await s.execute(dying, {"of_pack": name})


async def test_a_pending_pack_counts_as_held_but_is_read_only_once_a_commit_relies_on_it(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await hold(s, "one", "two")
        assert await missing(s, PROJECT, [named("one"), named("three"), named("one")]) == [named("three")]
        assert await places(s, PROJECT, [named("one")]) == []
    with pytest.raises(ObjectsMissing):  # a commit that does not name the pack has a record that does not tell of it
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"a.md": "one"}, packs=[])
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"a.md": "one"}, packs=["pack-1"])
        assert [row.object for row in await places(s, PROJECT, [named("one"), named("two"), named("x")])] == sorted(
            [named("one"), named("two")]
        )


async def test_a_pack_a_commit_brings_goes_live_even_where_its_objects_were_held_already(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one", pack="first")])
        await lengthen(s, {"b.md": "one"}, packs=[await hold(s, "one", pack="again")])
        assert {row.pack for row in await all_places(s, PROJECT)} == {"first", "again"}
        assert len(await places(s, PROJECT, [named("one")])) == 1


async def test_a_long_object_is_there_only_with_all_its_parts_in_whichever_packs(
    catalog: Catalog, tenants: Tenants
) -> None:
    name = named("long")
    async with catalog.write(tenants.a) as s:
        parts = [
            place(name, f"p{part // 2}", part=part, parts=3, size=25, length=(10, 10, 5)[part]) for part in range(3)
        ]
        await add_pack(s, PROJECT, "p0", 1, parts[:2], NOW)
        assert await missing(s, PROJECT, [name]) == [name]
        await add_pack(s, PROJECT, "p1", 1, parts[2:], NOW)
        assert await missing(s, PROJECT, [name]) == []
        await lengthen(s, {"long.bin": "long"})
        assert await places(s, PROJECT, [name]) == parts


async def test_parts_that_do_not_add_up_are_not_an_object(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await add_pack(s, PROJECT, "p", 1, [place(named("short"), "p", size=25, length=24, parts=2)], NOW)
        assert await missing(s, PROJECT, [named("short")]) == [named("short")]


@pytest.mark.promise("P4")
async def test_a_commit_does_not_rely_on_a_dying_pack(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await hold(s, "one")
        await begin_to_die(s, "pack-1")
        assert await missing(s, PROJECT, [named("one")]) == [named("one")]
    with pytest.raises(ObjectsMissing):
        async with catalog.write(tenants.a) as s:
            await lengthen(s, {"a.md": "one"}, packs=["pack-1"])
    async with catalog.write(tenants.a) as s:  # sent again, it is there
        await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one", pack="pack-2")])
        assert {row.pack for row in await places(s, PROJECT, [named("one")])} == {"pack-2"}


@pytest.mark.promise("P4")
async def test_objects_that_arrived_with_the_commit_are_relied_on_and_all_others_are_looked_for(
    catalog: Catalog, tenants: Tenants
) -> None:
    with pytest.raises(ObjectsMissing) as refused:  # noqa: PT012 -- the block is the transaction
        async with catalog.write(tenants.a) as s:
            packs = [await hold(s, "one")]
            await lengthen(s, {"a.md": "one", "b.md": "elsewhere"}, packs=packs, arrived=["one"])
    assert refused.value.facts["objects"] == [named("elsewhere")]
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one")], arrived=["one"])
        assert [row.object for row in await places(s, PROJECT, [named("one")])] == [named("one")]


async def test_pending_packs_can_be_taken_back_with_their_use_and_live_ones_cannot(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await lengthen(s, {"a.md": "one"}, packs=[await hold(s, "one", pack="kept", size=500)])
        await hold(s, "two", pack="aborted", size=300)
        assert (await quotas.usage(s)).storage_bytes == 800
        assert await forget_packs(s, PROJECT, ["aborted", "kept", "never was"]) == ["aborted"]
        assert await forget_packs(s, PROJECT, ["aborted"]) == []
        assert (await quotas.usage(s)).storage_bytes == 500
        assert await missing(s, PROJECT, [named("one"), named("two")]) == [named("two")]


@pytest.mark.promise("P3")
async def test_a_pack_that_a_commit_came_to_rely_on_since_the_look_does_not_die(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        pack_name = await hold(s, "one")
        await lengthen(s, {"a.md": "one"}, packs=[pack_name])
        await lengthen(s, {"a.md": None})
        seen = 2  # here nothing at or above version 2 needs it
        await lengthen(s, {"b.md": "one"})
        assert await dying.begin_to_die(s, PROJECT, [pack_name], seen, 2, NOW) == []
        assert [row.object for row in await places(s, PROJECT, [named("one")])] == [named("one")]
        await lengthen(s, {"b.md": None})
        assert [row.name for row in await dying.begin_to_die(s, PROJECT, [pack_name], 4, 4, NOW)] == [pack_name]
        assert await places(s, PROJECT, [named("one")]) == []

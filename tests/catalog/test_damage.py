"""Notes of content that the storage lost: only of what is lost, and gone once it is whole again."""

from __future__ import annotations

import pytest

from satchel.catalog import damage, packs, projects
from satchel.catalog.scope import Catalog
from tests.catalog.make import NOW, PROJECT, Tenants, hold, lengthen, named, new_project, place

pytestmark = pytest.mark.anyio


@pytest.fixture
async def held(catalog: Catalog, tenants: Tenants) -> Tenants:
    """A project with three files in one live pack."""
    async with catalog.write(tenants.a) as s:
        pack = await hold(s, "one", "two", "three")
        await lengthen(s, {"1.md": "one", "2.md": "two", "3.md": "three"}, packs=[pack])
    return tenants


async def test_only_what_no_live_pack_holds_is_noted_and_each_object_once(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.a) as s:
        assert await damage.note(s, PROJECT, [named("one"), named("gone")], NOW) == 1
        assert await damage.note(s, PROJECT, [named("gone"), named("gone"), named("other")], NOW) == 1
        assert await damage.count(s, PROJECT) == 2
        assert [row.damaged for row in await projects.list_(s)] == [2]
        asked = sorted([named("gone"), named("other")])
        assert await damage.list_(s, PROJECT) == asked
        assert await damage.list_(s, PROJECT, limit=1) == asked[:1]
        assert await damage.list_(s, PROJECT, asked[0]) == asked[1:]
        assert await damage.among(s, PROJECT, [named("one"), named("gone")]) == {named("gone")}


async def test_content_sent_again_counts_at_once_and_settles_the_note(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.a) as s:
        await packs.mark_dying(s, PROJECT, ["pack-1"], NOW)
        assert await damage.note(s, PROJECT, [named(text) for text in ("one", "two", "three")], NOW) == 3
        await hold(s, "one", "else", pack="pack-2")
        assert await damage.settle(s, PROJECT, [named("one"), named("two"), named("else")], ["pack-2"]) == {
            named("one")
        }
        assert await damage.list_(s, PROJECT) == sorted([named("two"), named("three")])
        assert [row.pack for row in await packs.places(s, PROJECT, [named("one")])] == ["pack-2"]


async def test_content_that_nothing_asks_for_stays_pending(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.a) as s:
        await hold(s, "else", pack="pack-2")
        assert await damage.settle(s, PROJECT, [named("else")], ["pack-2"]) == set()
        assert await packs.places(s, PROJECT, [named("else")]) == []


async def test_a_part_alone_does_not_make_an_object_whole(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.a) as s:
        assert await damage.note(s, PROJECT, [named("long")], NOW) == 1
        await packs.add_pack(
            s, PROJECT, "pack-2", 10, [place(named("long"), "pack-2", part=0, parts=2, size=20, length=10)], NOW + 1
        )
        assert await damage.settle(s, PROJECT, [named("long")], ["pack-2"]) == set()
        assert await damage.count(s, PROJECT) == 1


async def test_what_no_readable_version_holds_is_asked_for_no_more(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.a) as s:
        await packs.mark_dying(s, PROJECT, ["pack-1"], NOW)
        await damage.note(s, PROJECT, [named("one"), named("two"), named("never")], NOW)
        await lengthen(s, {"1.md": None})
        assert await damage.forget_unneeded(s, PROJECT, 0) == 1  # what never was in a version
        assert await damage.forget_unneeded(s, PROJECT, 2) == 1  # what version 2 dropped
        assert await damage.list_(s, PROJECT) == [named("two")]


@pytest.mark.promise("P5")
async def test_notes_of_another_tenant_or_project_are_not_seen(catalog: Catalog, held: Tenants) -> None:
    async with catalog.write(held.b) as s:
        await damage.note(s, PROJECT, [named("gone")], NOW)
    async with catalog.write(held.a) as s:
        assert await damage.count(s, PROJECT) == 0
        other = await new_project(s, "other", id=PROJECT[:-1] + "1")  # type: ignore[arg-type]
        assert await damage.list_(s, other) == []

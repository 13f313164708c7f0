"""A catalog from the bucket and the root key alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.auth.keys import key_mac, parse_key
from satchel.catalog import packs, projects, purges, recover, retention, standing, tenants, versions
from satchel.catalog.packs import PlaceRow
from satchel.errors import WrongKey
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.objects.record import Purge
from satchel.store.packs import Place, StoredPack, pack_table
from satchel.store.rootkey import RootKey
from satchel.upkeep.about import refresh_about
from satchel.upkeep.collect import collect
from satchel.upkeep.rebuild import NothingToRebuild
from tests.engines import on_file
from tests.upkeep.house import House, fill
from tests.upkeep.recovering import DAY, Ruin, check_sound, flip, head_name, pack_names, record_name, state

pytestmark = [pytest.mark.anyio, on_file]
MANIFEST = b'{"name": "notes", "relations": [{"type": "related-to", "project": "other"}]}'


@pytest.fixture
def ruin(tmp_path: Path) -> Ruin:
    return Ruin(tmp_path)


async def lived_in(house: House) -> tuple[TenantId, ProjectId]:
    """A project with a past: changes, deletions, content that returns, a long file, a manifest."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    steps: list[tuple[str, bytes | None]] = [
        ("a.md", b"# A\n\n- [ ] open task\n"),
        ("docs/plan.md", b"---\nkind: plan\ntitle: The plan\n---\n\nGo.\n"),
        ("context.json", MANIFEST),
        ("a.md", b"# A anew\n"),
        ("long.bin", bytes(range(256)) * 6_000),
        ("docs/plan.md", None),
        ("a.md", b"# A\n\n- [ ] open task\n"),
        ("docs/plan.md", b"# Another plan\n"),
        ("long.bin", None),
    ]
    for path, data in steps:
        await house.put(tenant, project, path, data)
    await refresh_about(house.estate, tenant)
    return tenant, project


@pytest.mark.promise("P9")
async def test_all_projects_versions_and_contents_come_back_from_the_bucket_alone(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        async with house.estate.catalog.write(tenant) as s:
            await projects.update(s, project, slug="better", description="said later")
        other = await house.tenant("other")
        theirs = await house.project(other, "theirs")
        await house.put(other, theirs, "x.md", b"# X\n")
        empty = await house.project(other, "empty")
        for one in (tenant, other):
            await refresh_about(house.estate, one)
        before = [await state(house, *of) for of in ((tenant, project), (other, theirs), (other, empty))]
        names = await house.names()
        async with house.estate.catalog.read(tenant) as s:
            places = await versions.all_places(s, project)
    ruin.lose_catalog()
    report = await ruin.rebuild()
    assert [(one.slug, one.operates) for one in report.owners] == [("acme", True), ("other", False)]
    assert not any(one.new_lineage or one.missing for one in report.projects)
    assert (report.unnamed, report.shredded, report.unreadable) == (0, 0, ())
    async with ruin.house() as house:
        now = [await state(house, *of) for of in ((tenant, project), (other, theirs), (other, empty))]
        assert now == before
        await check_sound(house)
        assert await house.names() == names  # nothing was written to the bucket
        async with house.estate.catalog.read(tenant) as s:
            assert sorted(await versions.all_places(s, project)) == sorted(places)
        async with house.estate.catalog.directory() as d:
            assert [(row.slug, row.name) for row in await tenants.list_(d)] == [("acme", "Acme"), ("other", "Other")]
        pepper = (await house.estate.keyring.installation()).pepper
        for owner in report.owners:
            key_id, mac = parse_key(owner.key).key_id, key_mac(pepper, owner.key)
            async with house.estate.catalog.read(owner.tenant) as s:
                who = await standing.of_key(s, key_id, mac, house.clock())
            assert who.principal.tenant_role.value == "owner"


async def test_a_rebuild_that_is_killed_leaves_no_catalog_and_begins_again(
    ruin: Ruin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        before = await state(house, tenant, project)
    ruin.lose_catalog()

    async def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for where in ("satchel.upkeep.rebuild.recover_all", "satchel.catalog.recover.add_versions"):
        with monkeypatch.context() as patched:
            patched.setattr(where, die)
            with pytest.raises(KeyboardInterrupt):
                await ruin.rebuild()
        assert not ruin.catalog.exists()
    await ruin.rebuild()
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


async def test_names_that_were_never_said_are_replaced_by_ids(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        before = await state(house, tenant, project)
        for name in await house.names():
            if name.endswith("/about"):
                await house.estate.store.delete(name)
    ruin.lose_catalog()
    report = await ruin.rebuild()
    assert report.unnamed == 2
    [owner] = report.owners
    assert owner.slug == tenant
    [one] = report.projects
    assert (one.slug, one.new_lineage) == (project, False)
    async with ruin.house() as house:
        now = await state(house, tenant, project)
        assert (now.versions, now.trees, now.contents) == (before.versions, before.trees, before.contents)


async def test_what_was_shredded_stays_so_and_what_has_no_key_is_told(ruin: Ruin) -> None:
    async with ruin.house() as house:
        await lived_in(house)
        doomed, keyless = await house.tenant("doomed"), await house.tenant("keyless")
        for one in (doomed, keyless):
            of_it = await house.project(one)
            await house.put(one, of_it, "x.md", b"# X\n")
            await refresh_about(house.estate, one)
        await house.estate.keyring.shred(doomed)
        await house.estate.store.delete(f"tenants/{keyless}/keys/1")
    ruin.lose_catalog()
    report = await ruin.rebuild()
    assert report.shredded == 1
    assert [tenant for tenant, _ in report.unreadable] == [keyless]
    assert [owner.slug for owner in report.owners] == ["acme"]


@pytest.mark.promise("P3")
async def test_an_unconfirmed_record_is_told_and_ends_the_lineage_only_beyond_its_end(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        head = await head_name(house, tenant, project, 9)
        sealed = await house.estate.store.get(head)
        await house.estate.store.delete(head)
        before = await state(house, tenant, project, upto=8)
    ruin.lose_catalog()
    [one] = (await ruin.rebuild()).projects
    assert (one.version, one.new_lineage, [lost.version for lost in one.unconfirmed]) == (8, True, [9])
    async with ruin.house() as house:
        now = await state(house, tenant, project)
        assert now.row.lineage == one.lineage != before.row.lineage
        assert (now.versions, now.trees, now.contents) == (before.versions, before.trees, before.contents)
        await check_sound(house)
        mark = f"tenants/{tenant}/projects/{project}/heads/{one.lineage}/8"
        assert mark in await house.names()
    # Rebuilt once more, the lineage that was begun is the one that counts.
    ruin.lose_catalog()
    [again] = (await ruin.rebuild()).projects
    assert (again.version, again.new_lineage, again.lineage) == (8, False, one.lineage)
    await ruin.store.put(head, sealed)


@pytest.mark.parametrize("broken", [1, 5])
async def test_after_a_cut_the_next_whole_listing_is_gone_on_from(
    ruin: Ruin, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    monkeypatch.setattr("satchel.sync.commit.FULL_LISTING_EVERY", 8)
    monkeypatch.setattr("satchel.upkeep.recovery.FULL_LISTING_EVERY", 8)
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        before = await state(house, tenant, project)
        await flip(house.estate.store, await record_name(house, tenant, project, broken))
    ruin.lose_catalog()
    [one] = (await ruin.rebuild()).projects
    assert (one.version, one.new_lineage) == (9, True)
    assert f"version {broken}" in one.why
    async with ruin.house() as house:
        now = await state(house, tenant, project, upto=0)
        assert now.row.digest == before.row.digest
        async with house.estate.catalog.read(tenant) as s:
            tree = {row.path: row.object for row in await versions.tree(s, project)}
        assert tree == {row.path: row.object for row in before.trees[-1]}


async def test_versions_older_than_the_oldest_record_are_not_asked_for(
    ruin: Ruin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.sync.commit.FULL_LISTING_EVERY", 4)
    monkeypatch.setattr("satchel.upkeep.recovery.FULL_LISTING_EVERY", 4)
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        before = await state(house, tenant, project)
        async with house.estate.catalog.read(tenant) as s:
            rows: dict[str, list[PlaceRow]] = {}
            for place in await versions.all_places(s, project):
                rows.setdefault(place.pack, []).append(place)
            sizes = {row.name: row.size for row in await recover.packs(s, project)}
        # As a collection does it: what the records told of packs is said in a table before they go, oldest first.
        told = [
            pack_table(StoredPack(name, sizes[name], len({p.frame for p in some}), tuple(Place(*p) for p in some)))
            for name, some in rows.items()
        ]
        await house.estate.vault.put_tables(tenant, project, told)
        for number in range(1, 4):
            for name in (
                await head_name(house, tenant, project, number),
                await record_name(house, tenant, project, number),
            ):
                await house.estate.store.delete(name)
    ruin.lose_catalog()
    [one] = (await ruin.rebuild()).projects
    assert (one.version, one.new_lineage, one.missing, one.applied) == (9, False, 0, 6)
    async with ruin.house() as house:
        for number in range(4, 10):
            assert await house.tree(tenant, project, number) == before.contents[number - 1]
        await check_sound(house)


async def test_moved_content_is_found_by_its_table_and_purged_content_is_not_missed(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        kept, secret = b"# Kept\n", b"# Secret\n"
        await fill(house, tenant, project, {"kept.md": kept, "secret.md": secret})
        first, second = await pack_names(house, tenant, project)
        writer = house.estate.vault.writer(tenant, project)
        for frame in make_frames([(object_id(kept), kept)]):
            await writer.add(frame)
        [moved] = await writer.finish()
        await house.estate.vault.put_tables(tenant, project, [pack_table(moved)])
        purge = Purge((object_id(secret),), ("secret.md",), house.clock())
        await house.estate.vault.put_purge(tenant, project, purge)
        for name in (first, second):
            await house.estate.store.delete(name)
        await refresh_about(house.estate, tenant)
    ruin.lose_catalog()
    [one] = (await ruin.rebuild()).projects
    assert (one.version, one.new_lineage, one.missing) == (2, False, 0)
    async with ruin.house() as house, house.estate.catalog.read(tenant) as s:
        assert await purges.every(s, project) == [object_id(secret)]
        titles = {row.path: row.title for row in await versions.tree(s, project)}
        assert titles == {"kept.md": "Kept", "secret.md": ""}
        assert await packs.missing(s, project, [object_id(kept), object_id(secret)]) == [object_id(secret)]


async def test_content_purged_by_a_run_that_was_killed_does_not_come_back(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        await fill(house, tenant, project, {"secret.md": b"# Secret\n"})
        purge = Purge((object_id(b"# Secret\n"),), ("secret.md",), house.clock())
        await house.estate.vault.put_purge(tenant, project, purge)
    ruin.lose_catalog()
    await ruin.rebuild()
    async with ruin.house() as house, house.estate.catalog.read(tenant) as s:
        assert await purges.every(s, project) == [object_id(b"# Secret\n")]
        assert await packs.missing(s, project, [object_id(b"# Secret\n")])


async def test_a_wrong_root_key_and_an_empty_bucket_are_refused(ruin: Ruin, tmp_path: Path) -> None:
    async with ruin.house():
        pass
    ruin.lose_catalog()
    with pytest.raises(NothingToRebuild):
        await ruin.rebuild()
    key = ruin.folder / "root.key"
    key.rename(tmp_path / "kept.key")
    RootKey.create(key)
    with pytest.raises(WrongKey):
        await ruin.rebuild()
    assert not list(ruin.folder.glob("catalog.db*"))


async def test_content_that_expired_and_was_collected_is_not_taken_for_lost(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await lived_in(house)
        before = await state(house, tenant, project)
        made = await ruin.backup(house)
        async with house.estate.catalog.write(tenant) as s:
            await retention.set_(s, retention.Retention(versions=2))
        await collect(house.estate, tenant, window_ms=7 * DAY)
        house.clock.now += 30 * DAY
        await collect(house.estate, tenant, window_ms=7 * DAY)
        assert len(await pack_names(house, tenant, project)) < len(before.versions)
    for recovering in (ruin.rebuild, lambda: ruin.restore(made.id)):
        ruin.lose_catalog()
        [one] = (await recovering()).projects
        assert (one.version, one.missing, one.new_lineage) == (9, 0, False)
        assert 1 < one.floor <= 8
        async with ruin.house() as house:
            await check_sound(house)
            for number in range(one.floor, 10):
                assert await house.tree(tenant, project, number) == before.contents[number - 1]

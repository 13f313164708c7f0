"""From a backup to the newest acknowledged version, or, where the bucket cannot prove it, to a new lineage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from satchel.catalog import audit, packs, principals, purges, recover, tenants
from satchel.catalog import projects as catalog_projects
from satchel.catalog.tenants import erase
from satchel.errors import WrongKey
from satchel.objects.ids import ProjectId, TenantId, new_id, object_id
from satchel.objects.record import decode_record, encode_record
from satchel.store.durable_local import LocalStore
from satchel.store.packs import HeadClash
from satchel.store.rootkey import RootKey
from satchel.upkeep.about import refresh_about
from satchel.upkeep.archive import BackupDamaged, BackupRefused
from satchel.upkeep.collect import collect
from satchel.upkeep.fresh import CatalogInTheWay
from satchel.upkeep.keys import rotate_root, shred
from satchel.upkeep.purge import purge
from satchel.upkeep.reseal import rotate_tenant
from tests.engines import on_file
from tests.upkeep.house import House, fill
from tests.upkeep.recovering import DAY, Ruin, check_sound, flip, head_name, pack_names, record_name, state
from tests.upkeep.test_collect import commit, push, send

pytestmark = [pytest.mark.anyio, on_file]
MANIFEST = b'{"name": "notes", "relations": [{"type": "related-to", "project": "other"}]}'


@pytest.fixture
def ruin(tmp_path: Path) -> Ruin:
    return Ruin(tmp_path)


async def begun(house: House) -> tuple[TenantId, ProjectId]:
    """A project with three versions."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A\n", "b.md": b"# B\n", "c.md": b"# C\n"})
    return tenant, project


@pytest.mark.promise("P3")
async def test_every_acknowledged_commit_since_the_backup_comes_back_and_the_lineage_stays(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await house.put(tenant, project, "a.md", b"# A anew\n")
        await house.put(tenant, project, "b.md", None)
        await house.put(tenant, project, "context.json", MANIFEST)
        await house.put(tenant, project, "sub/d.md", b"# D\n" * 400_000)  # in two parts
        await house.put(tenant, project, "b.md", b"# B\n")  # content that was there before
        before = await state(house, tenant, project)
    ruin.lose_catalog()
    report = await ruin.restore(made.id)
    [one] = report.projects
    assert (one.applied, one.version, one.new_lineage, one.missing, one.why) == (5, 8, False, 0, "")
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before
        await check_sound(house)
        after = await house.put(tenant, project, "e.md", b"# E\n")
        assert (after.version, after.lineage) == (9, before.row.lineage)
        async with house.estate.catalog.read(tenant) as s:
            assert "tenant.restore" in {row.action for row in await audit.list_(s)}


@pytest.mark.promise("P3")
@pytest.mark.parametrize("kept", [3, 0])
async def test_what_a_database_took_after_it_had_lost_commits_gives_way_to_what_was_acknowledged(
    ruin: Ruin, kept: int
) -> None:
    async with ruin.house() as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        await fill(house, tenant, project, dict.fromkeys(("a.md", "b.md", "c.md")[:kept], b"# Before\n"))
    older = ruin.catalog.read_bytes()
    async with ruin.house() as house:
        await house.put(tenant, project, "a.md", b"# A anew\n")
        await house.put(tenant, project, "d.md", b"# D\n")
        before = await state(house, tenant, project)
    ruin.catalog.write_bytes(older)
    async with ruin.house() as house:
        for path in ("x.md", "y.md"):  # the first is committed, the second refused: nobody is told that it was done
            with pytest.raises(HeadClash):
                await house.receiver.write(house.caller(tenant), project, path, b"# X\n", None, "*absent", path)
        assert (await state(house, tenant, project)).row.version == kept + 1
        made = await ruin.backup(house)
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert (one.applied, one.version, one.new_lineage, one.missing) == (2, kept + 2, True, 0)
    assert one.why == f"the catalog had another version {kept + 1} than was acknowledged"
    async with ruin.house() as house:
        after = await state(house, tenant, project)
        assert after == before._replace(row=before.row._replace(lineage=after.row.lineage))
        await check_sound(house)
        again = await house.receiver.write(house.caller(tenant), project, "x.md", b"# X\n", None, "*absent", "x.md")
        assert again.version == kept + 3  # and is not taken for done


async def test_restoring_twice_comes_to_the_same_and_the_old_catalog_is_kept(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await house.put(tenant, project, "d.md", b"# D\n")
        before = await state(house, tenant, project)
        with pytest.raises(CatalogInTheWay, match="there is a catalog already"):
            await ruin.restore(made.id)
        with pytest.raises(CatalogInTheWay, match="open"):
            await ruin.restore(made.id, replace=True)
    for times in (1, 2):
        await ruin.restore(made.id, replace=True)
        assert (ruin.folder / f"catalog.db.replaced-{times}").exists()
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


async def test_tenants_and_projects_made_renamed_suspended_or_shredded_since_are_as_they_were(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        doomed, quiet, leaving = [await house.tenant(slug) for slug in ("doomed", "quiet", "leaving")]
        buried = await house.project(doomed, "buried")
        await house.put(doomed, buried, "secret.md", b"# Secret\n")
        made = await ruin.backup(house)
        later, late = await house.project(tenant, "later"), await house.tenant("late")
        theirs = await house.project(late, "theirs")
        await house.put(tenant, later, "x.md", b"# X\n")
        await house.put(late, theirs, "y.md", b"# Y\n")
        async with house.estate.catalog.write(tenant) as s:
            await catalog_projects.update(s, project, slug="renamed", description="said later")
            await catalog_projects.archive(s, project, 7)
        async with house.estate.catalog.directory(write=True) as d:
            await tenants.set_state(d, quiet, tenants.SUSPENDED)
            await tenants.delete_later(d, leaving, house.clock() + 1_000)
        await house.estate.keyring.shred(doomed)
        async with house.estate.catalog.directory(write=True) as d:
            await erase(d, doomed)
        for one in (tenant, late, quiet, leaving):
            await refresh_about(house.estate, one)  # as the server does with each change
        was = [await state(house, tenant, project), await state(house, tenant, later), await state(house, late, theirs)]
    ruin.lose_catalog()
    report = await ruin.restore(made.id)
    assert report.erased == 1
    [owner] = report.owners
    assert (owner.tenant, owner.slug, owner.operates) == (late, "late", False)
    async with ruin.house() as house:
        now = [await state(house, tenant, project), await state(house, tenant, later), await state(house, late, theirs)]
        assert now == was
        await check_sound(house)
        assert now[0].row.archived == 7
        rows = {row.id: row.state for row in await house.estate.tenants()}
        # When it was to go is not known: the operator says again.
        assert rows == {tenant: "active", quiet: "suspended", leaving: "suspended", late: "active"}
        async with house.estate.catalog.read(late) as s:
            [key] = await principals.list_(s, principals.KEY)
            assert key.tenant_role.value == "owner"


@pytest.mark.promise("P3")
@pytest.mark.parametrize("how", ["record gone", "record flipped", "head gone", "head flipped"])
async def test_a_chain_that_is_cut_begins_a_new_lineage_at_the_last_sound_version(ruin: Ruin, how: str) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        for number in range(4, 9):
            await house.put(tenant, project, f"n{number}.md", b"# N %d\n" % number)
        before = await state(house, tenant, project, upto=5)
        name = await (record_name if how.startswith("record") else head_name)(house, tenant, project, 6)
        await (house.estate.store.delete(name) if how.endswith("gone") else flip(house.estate.store, name))
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert (one.version, one.new_lineage) == (5, True)
    assert "version 6" in one.why
    async with ruin.house() as house:
        now = await state(house, tenant, project)
        assert now.row.lineage == one.lineage != before.row.lineage
        assert (now.versions, now.trees, now.contents) == (before.versions, before.trees, before.contents)
        await check_sound(house)
        after = await house.put(tenant, project, "later.md", b"# Later\n")
        assert (after.version, after.lineage) == (6, one.lineage)
        before = await state(house, tenant, project)
    # From now on the new line is the line, whatever is left of the old one beyond the fork.
    ruin.lose_catalog()
    [again] = (await ruin.restore(made.id)).projects
    assert (again.version, again.new_lineage, again.lineage) == (6, False, one.lineage)
    async with ruin.house() as house:
        assert (await state(house, tenant, project)).contents == before.contents


async def test_a_commit_that_may_have_been_read_before_it_was_acknowledged_ends_the_lineage(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await house.put(tenant, project, "d.md", b"# D\n")
        await house.estate.store.delete(await head_name(house, tenant, project, 4))  # as a crash before it leaves it
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert (one.version, one.new_lineage) == (3, True)
    assert [(lost.version, lost.lineage == one.lineage) for lost in one.unconfirmed] == [(4, False)]


async def test_a_loser_of_the_commit_race_is_told_and_not_applied(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await house.put(tenant, project, "d.md", b"# D\n")
        winner = await house.estate.vault.get_record(
            tenant, project, (await record_name(house, tenant, project, 4)).rpartition("/")[2]
        )
        loser = decode_record(winner)
        name = new_id("rec", bytes(16))
        other = loser.changes[0]._replace(path="other.md")
        planted = encode_record(replace(loser, id=name, changes=(other,)))
        await house.estate.vault.put_record(tenant, project, name, planted)
        before = await state(house, tenant, project)
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert [lost.record for lost in one.unconfirmed] == [name]
    assert not one.new_lineage
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


async def test_a_listing_that_lags_hides_nothing_from_a_restore(ruin: Ruin, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await fill(house, tenant, project, {f"n{n}.md": b"# N %d\n" % n for n in range(5)})
        before = await state(house, tenant, project)
        fresh = {await head_name(house, tenant, project, n) for n in (6, 7, 8)}
        fresh |= set(await pack_names(house, tenant, project))
    ruin.lose_catalog()
    listing = LocalStore.list

    async def lagging(self: LocalStore, prefix: str):  # type: ignore[no-untyped-def]
        async for stored in listing(self, prefix):
            if stored.name not in fresh:
                yield stored

    monkeypatch.setattr(LocalStore, "list", lagging)
    [one] = (await ruin.restore(made.id)).projects
    assert (one.version, one.new_lineage, one.missing) == (8, False, 0)
    monkeypatch.undo()
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


@pytest.mark.promise("P3")
async def test_a_lost_bucket_is_filled_again_from_the_copy(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        doomed = await house.tenant("doomed")
        await house.project(doomed)
        made = await ruin.backup(house, objects=True)
        before = await state(house, tenant, project)
        await house.put(tenant, project, "since.md", b"# Lost with the bucket\n")
        await house.estate.keyring.shred(doomed)
        async with house.estate.catalog.directory(write=True) as d:
            await erase(d, doomed)
        await ruin.backup(house)  # without a copy of the content, but with the tombstone
    ruin.lose_catalog()
    (ruin.folder / "store").rename(ruin.folder / "lost")
    with pytest.raises(BackupRefused, match="the store is empty"):
        await ruin.restore(made.id)
    report = await ruin.restore(made.id, fill=True)
    assert report.filled > 8
    assert report.erased == 1
    [one] = report.projects
    assert (one.version, one.new_lineage) == (3, False)
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before
        assert not [name for name in await house.names() if doomed in name and not name.endswith("/shredded")]


async def test_a_bucket_filled_by_a_backup_whose_keys_expired_is_refused(ruin: Ruin) -> None:
    async with ruin.house() as house:
        await begun(house)
        old = await ruin.backup(house, objects=True)
        ruin.clock.now += 8 * DAY
        await ruin.backup(house, objects=True)
    ruin.lose_catalog()
    (ruin.folder / "store").rename(ruin.folder / "lost")
    with pytest.raises(BackupRefused, match="keys in this backup have expired"):
        await ruin.restore(old.id, fill=True)
    assert not ruin.catalog.exists()


async def test_content_that_was_collected_since_is_missed_and_asked_for(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        [first, *_] = await pack_names(house, tenant, project)
        await house.estate.store.delete(first)
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert (one.missing, one.version) == (1, 3)
    async with ruin.house() as house, house.estate.catalog.read(tenant) as s:
        assert len(await recover.packs(s, project)) == 2


async def test_a_backup_of_another_installation_or_key_or_a_newer_schema_is_refused(
    ruin: Ruin, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ruin.house() as house:
        await begun(house)
        made = await ruin.backup(house)
    ruin.lose_catalog()
    other = Ruin(tmp_path_factory.mktemp("other"))
    (other.folder / "root.key").write_bytes((ruin.folder / "root.key").read_bytes())
    (other.folder / "root.key").chmod(0o600)
    async with other.house() as house:
        await begun(house)
    other.lose_catalog()
    other.backups = ruin.backups
    with pytest.raises(BackupRefused, match="of the installation ins_"):
        await other.restore(made.id)
    before = {stored.name async for stored in other.store.list("")}
    with pytest.raises(BackupRefused, match="of the installation ins_"):
        await other.restore(made.id, fill=True)
    assert {stored.name async for stored in other.store.list("")} == before
    with pytest.raises(BackupRefused, match="no backup"):
        await ruin.restore(new_id("bak", bytes(16)))
    with pytest.raises(BackupRefused, match="is not the id"):
        await ruin.restore("../../etc")
    with pytest.raises(WrongKey):
        await ruin.restore(made.id, backup_root=RootKey.create(ruin.folder / "another.key"))
    with monkeypatch.context() as patched:
        patched.setattr("satchel.catalog.revision.KNOWN", ("0001",))
        with pytest.raises(BackupRefused, match="newer than this Satchel knows"):
            await ruin.restore(made.id)
    await flip(ruin.backups, f"backups/{made.id}/catalog/0")
    with pytest.raises(BackupDamaged):
        await ruin.restore(made.id)
    assert not list(ruin.folder.glob("catalog.db*"))


@pytest.mark.promise("P6")
async def test_a_restore_that_is_killed_leaves_no_catalog_and_begins_again(
    ruin: Ruin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        await fill(house, tenant, project, {"d.md": b"# D\n", "e.md": b"# E\n"})
        before = await state(house, tenant, project)
    ruin.lose_catalog()
    for where in ("recover_all", "add_unknown", "_obey_tombstones", "begin_again"):
        with monkeypatch.context() as patched:

            async def die(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patched.setattr(f"satchel.upkeep.restore.{where}", die)
            with pytest.raises(KeyboardInterrupt):
                await ruin.restore(made.id)
        assert not ruin.catalog.exists()
    (ruin.folder / "catalog.db.making").write_bytes(b"what kill -9 left")
    await ruin.restore(made.id)
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


async def test_a_backup_of_before_a_change_of_the_root_key_opens_with_the_old_one(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house, objects=True)
        old = ruin.folder / "old.key"
        old.write_bytes((ruin.folder / "root.key").read_bytes())
        old.chmod(0o600)
        await house.put(tenant, project, "d.md", b"# D\n")
        before = await state(house, tenant, project)
        await rotate_root(house.estate)
    ruin.lose_catalog()
    with pytest.raises(WrongKey, match=RootKey.load(old).id):
        await ruin.restore(made.id)
    [one] = (await ruin.restore(made.id, backup_root=RootKey.load(old))).projects
    assert (one.version, one.new_lineage) == (4, False)
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before
        await check_sound(house)


async def test_content_sealed_anew_since_is_found_under_its_new_packs(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house)
        before = await state(house, tenant, project)
        await rotate_tenant(house.estate, tenant, full=True)
        await collect(house.estate, tenant, window_ms=7 * DAY)
        ruin.clock.now += 8 * DAY
        await collect(house.estate, tenant, window_ms=7 * DAY)
        await rotate_tenant(house.estate, tenant, full=True)
        assert 1 not in await house.estate.keyring.epochs(tenant)
    for recovering in (lambda: ruin.restore(made.id), ruin.rebuild):
        ruin.lose_catalog()
        [one] = (await recovering()).projects
        assert (one.version, one.new_lineage, one.missing) == (3, False, 0)
        async with ruin.house() as house:
            assert (await state(house, tenant, project)).contents == before.contents
            await check_sound(house)


@pytest.mark.promise("P3")
async def test_content_that_waited_for_its_commit_when_the_backup_was_made_is_not_lost(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        await send(house, tenant, project, b"# Sent ahead\n")
        made = await ruin.backup(house)
        await commit(house, tenant, project, {"ahead.md": b"# Sent ahead\n"})
        before = await state(house, tenant, project)
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id)).projects
    assert (one.version, one.new_lineage, one.missing) == (4, False, 0)
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before
        ruin.clock.now += 30 * DAY
        await collect(house.estate, tenant, window_ms=0)
        assert await state(house, tenant, project) == before
        await check_sound(house)


async def test_filling_a_bucket_brings_no_keys_of_a_tenant_back_that_was_shredded_since(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        doomed = await house.tenant("doomed")
        await house.put(doomed, await house.project(doomed), "s.md", b"# Secret\n")
        made = await ruin.backup(house, objects=True)
        await shred(house.estate, doomed)
        for name in await house.names():
            if doomed in name and not name.endswith("/shredded"):
                await house.estate.store.delete(name)
        before = await state(house, tenant, project)
    ruin.lose_catalog()
    report = await ruin.restore(made.id, fill=True)
    assert (report.erased, report.filled) == (1, 0)
    async with ruin.house() as house:
        assert [name for name in await house.names() if doomed in name] == [f"tenants/{doomed}/shredded"]
        assert await state(house, tenant, project) == before


async def test_filling_a_bucket_brings_nothing_back_that_was_purged_since(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        await house.put(tenant, project, "again.md", b"# Purged once, and sent again\n")
        await purge(house.estate, house.receiver, house.caller(tenant), project, ["again.md"])
        await house.put(tenant, project, "again.md", b"# Purged once, and sent again\n")
        await push(house, tenant, project, {"s.md": b"# Secret\n", "beside.md": b"# Beside it\n"})
        made = await ruin.backup(house, objects=True)
        await purge(house.estate, house.receiver, house.caller(tenant), project, ["s.md"])
        head = await house.tree(tenant, project)
    ruin.lose_catalog()
    [one] = (await ruin.restore(made.id, fill=True)).projects
    assert (one.version, one.new_lineage, one.missing) == (8, False, 0)
    async with ruin.house() as house:
        assert await house.tree(tenant, project) == head
        secret = object_id(b"# Secret\n")
        async with house.estate.catalog.read(tenant) as s:
            assert await packs.available(s, project, [secret]) == []
            assert await purges.every(s, project) == [secret]
        ruin.clock.now += 30 * DAY
        await collect(house.estate, tenant, window_ms=DAY)
        await check_sound(house)


async def test_what_a_copy_says_of_keys_is_not_believed(ruin: Ruin) -> None:
    async with ruin.house() as house:
        tenant, project = await begun(house)
        made = await ruin.backup(house, objects=True)
        before = await state(house, tenant, project)
    for name in (f"tenants/{tenant}/keys/9", "installation/9", "stray", "tenants/stray"):
        await ruin.backups.put(f"objects/{name}", b"not from a backup")
    ruin.lose_catalog()
    (ruin.folder / "store").rename(ruin.folder / "lost")
    await ruin.restore(made.id, fill=True)
    async with ruin.house() as house:
        assert await state(house, tenant, project) == before


@pytest.mark.promise("P3")
@pytest.mark.parametrize("how", ["lost", "damaged"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "expired"])
async def test_the_keyring_of_a_tenant_comes_back_and_without_it_the_others_do(
    ruin: Ruin, how: str, kept: bool
) -> None:
    async with ruin.house() as house:
        hurt, project = await begun(house)
        other = await house.tenant("other")
        await fill(house, other, await house.project(other), {"a.md": b"# A\n"})
        await house.estate.keyring.begin_epoch(hurt)  # the second generation
        made = await ruin.backup(house)
        await house.put(hurt, project, "d.md", b"# D\n")
        before = await house.tree(hurt, project)
        keyring = f"tenants/{hurt}/keys/2"
        await (house.estate.store.delete(keyring) if how == "lost" else flip(house.estate.store, keyring))
    ruin.lose_catalog()
    if not kept:
        await ruin.backups.delete(f"backups/{made.id}/keys/{hurt}")
    report = await ruin.restore(made.id)
    assert [tenant for tenant, _ in report.unreadable] == ([] if kept else [hurt])
    assert {one.tenant for one in report.projects} == ({hurt, other} if kept else {other})
    assert not any(one.new_lineage for one in report.projects)
    async with ruin.house() as house:
        if kept:
            assert await house.tree(hurt, project) == before
            await check_sound(house)

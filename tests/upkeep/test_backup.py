"""Backups: whole, sealed, bound to their place, and gone when they expire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.errors import Damaged, StoreMissing, WrongKey
from satchel.objects.ids import TenantId
from satchel.store.objectstore import MemoryStore, ObjectStore
from satchel.store.rootkey import RootKey
from satchel.upkeep import backup as backup_module
from satchel.upkeep.archive import CATALOG, MAGIC, Archive, BackupDamaged, Label, kept, last_key_backup_expiry
from satchel.upkeep.backup import Keeping, make_backup
from satchel.upkeep.keys import shred
from satchel.upkeep.manifest import named, read_manifest
from tests.upkeep.house import House, fill
from tests.upkeep.recovering import DAY, KEEPING, Ruin, flip, pack_names

pytestmark = pytest.mark.anyio


async def make(house: House, target: ObjectStore, *, objects: bool = False, keeping: Keeping = KEEPING) -> str:
    return (await make_backup(house.estate, target, house.folder, keeping, objects=objects)).id


async def test_a_backup_names_everything_that_its_catalog_needs_and_nothing_of_the_keys(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A", "b.md": b"# B"})
    target = MemoryStore()
    backup = await make(house, target)
    archive = Archive(target, house.estate.root, house.estate.random)
    _, manifest = await read_manifest(archive, backup)
    names = dict([item async for item in named(archive, backup, manifest)])
    stored = {item.name: item.size async for item in house.estate.store.list("tenants/")}
    assert names == {name: size for name, size in stored.items() if "/keys/" not in name}
    assert manifest.keys == (tenant,)
    assert [row.complete for row in await kept(target)] == [True]
    assert not list(house.folder.glob(".snapshot-*"))


async def test_tenants_are_looked_at_several_at_once_and_stand_in_the_backup_in_their_order(house: House) -> None:
    class Together(MemoryStore):
        """Answers a read of a keyring once another one is asked for."""

        waiting: asyncio.Event | None = None

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if "/keys/" in name and self.waiting is None:
                self.waiting = asyncio.Event()
                await asyncio.wait_for(self.waiting.wait(), 30)
            elif "/keys/" in name:
                self.waiting.set()  # type: ignore[union-attr]  # the first one waits
            await super().put(name, data, create=create)

    made = [await house.tenant(f"tenant-{number}") for number in range(6)]
    for tenant in made:
        await house.project(tenant)
    target = Together()
    report = await make_backup(house.estate, target, house.folder, KEEPING)
    archive = Archive(target, house.estate.root, house.estate.random)
    _, manifest = await read_manifest(archive, report.id)
    assert manifest.keys == tuple(made)
    whose = [name.split("/")[1] async for name, _ in named(archive, report.id, manifest)]
    assert list(dict.fromkeys(whose)) == made
    assert report.bytes == sum(map(len, target.objects.values()))


async def test_who_has_the_backup_alone_sees_no_name_path_or_content(house: House) -> None:
    tenant = await house.tenant("velvet-tenant")
    project = await house.project(tenant, "velvet-project")
    await house.put(tenant, project, "velvet-path.md", b"# velvet title\n\nvelvet words " * 20)
    target = MemoryStore()
    await make(house, target, objects=True)
    for name, data in target.objects.items():
        assert b"velvet" not in data
        assert "velvet" not in name
        assert b"SQLite" not in data
        if name.startswith("backups/"):
            line = data.partition(b"\n")[0]
            assert line.startswith(MAGIC)
            assert b"\n" not in line
            assert data[len(line) + 1 :].startswith(b"SEAL")


@pytest.mark.parametrize("part", ["manifest", "catalog/0", "installation", "names/0", "heads/0", "keys"])
async def test_every_part_that_was_flipped_or_cut_is_refused(house: House, part: str) -> None:
    tenant = await house.tenant()
    target = MemoryStore()
    backup = await make(house, target)
    where = f"keys/{tenant}" if part == "keys" else part
    name = f"backups/{backup}/{where}"
    piece, _, number = where.partition("/")
    archive = Archive(target, house.estate.root, house.estate.random)
    args = (backup, piece, int(number)) if number.isdigit() else (backup, where)
    whole = target.objects[name]
    await archive.get(*args)
    line = whole.index(b"\n")
    for at in [*range(0, line + 1, 5), line + 1, line + 30, line + 76, len(whole) - 1]:
        target.objects[name] = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        with pytest.raises((BackupDamaged, WrongKey)):
            await archive.get(*args)
    for cut in (0, 10, line, line + 50, len(whole) - 1):
        target.objects[name] = whole[:cut]
        with pytest.raises(BackupDamaged):
            await archive.get(*args)


async def test_a_part_in_the_place_of_another_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "PIECE_BYTES", 64 << 10)
    await house.tenant()
    target = MemoryStore()
    first, second = await make(house, target), await make(house, target)
    archive = Archive(target, house.estate.root, house.estate.random)
    _, manifest = await read_manifest(archive, second)
    assert manifest.catalog_pieces > 2
    objects = dict(target.objects)
    at = f"backups/{second}/catalog/"
    for other in (f"{at}1", f"backups/{first}/catalog/0", f"backups/{second}/manifest"):
        target.objects[f"{at}0"] = objects[other]
        with pytest.raises(BackupDamaged):
            await archive.get(second, CATALOG, 0)
    target.objects = dict(objects)
    await target.delete(f"{at}{manifest.catalog_pieces - 1}")
    with pytest.raises(BackupDamaged, match=f"of {manifest.catalog_pieces} of the catalog is missing"):
        async for _ in archive.sequence(second, CATALOG, manifest.catalog_pieces):
            pass
    with pytest.raises(BackupDamaged, match="the manifest names"):
        async for _ in archive.sequence(second, CATALOG, manifest.catalog_pieces - 1):
            pass


async def test_another_root_key_is_told_from_damage_by_its_id(house: House, tmp_path: Path) -> None:
    target = MemoryStore()
    backup = await make(house, target)
    other = RootKey.create(tmp_path / "other.key")
    with pytest.raises(WrongKey, match=f"{house.estate.root.id}, and this one is {other.id}"):
        await read_manifest(Archive(target, other, house.estate.random), backup)


async def test_keys_expire_before_their_backup_and_the_last_date_is_told(house: House) -> None:
    tenant, target = await house.tenant(), MemoryStore()
    assert await last_key_backup_expiry(target, tenant) is None
    first = await make(house, target, keeping=Keeping(30 * DAY, 7 * DAY))
    house.clock.now += DAY
    await make(house, target, keeping=Keeping(30 * DAY, 2 * DAY))
    rows = {row.id: row for row in await kept(target)}
    assert await last_key_backup_expiry(target, tenant) == rows[first].keys_expire
    assert await last_key_backup_expiry(target, TenantId("ten_0000000000000000000000000a")) is None

    house.clock.now += 7 * DAY
    report = await make_backup(house.estate, target, house.folder, KEEPING)
    assert len(report.pruned_keys) == 2
    assert not report.pruned
    assert {row.keys for row in await kept(target)} == {0, 1}
    assert await last_key_backup_expiry(target, tenant) == report.keys_expire
    house.clock.now += 23 * DAY
    report = await make_backup(house.estate, target, house.folder, KEEPING)
    assert first in report.pruned
    assert first not in {row.id for row in await kept(target)}
    assert not [name for name in target.objects if first in name]


async def test_a_machine_that_never_served_can_make_the_backup(house: House) -> None:
    scratch = house.folder / "not" / "there yet"
    await make_backup(house.estate, MemoryStore(), scratch, KEEPING)
    assert list(scratch.iterdir()) == []
    assert scratch.stat().st_mode & 0o077 == 0


async def test_a_backup_that_was_cut_off_is_no_backup_and_is_cleared_away_after_a_day(house: House) -> None:
    class Failing(MemoryStore):
        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if name.endswith("/manifest"):
                raise RuntimeError
            await super().put(name, data, create=create)

    tenant, target = await house.tenant(), Failing()
    with pytest.raises(RuntimeError):
        await make(house, target)
    sound = MemoryStore()
    sound.objects = dict(target.objects)
    [row] = await kept(sound)
    assert not row.complete
    assert await last_key_backup_expiry(sound, tenant) == row.keys_expire  # its keys are keys all the same
    await make(house, sound)
    assert len(await kept(sound)) == 2  # it might be one that is being made
    house.clock.now += DAY + 10
    await make(house, sound)
    assert row.id not in {other.id for other in await kept(sound)}


async def test_objects_are_copied_once_and_dropped_when_no_backup_names_them(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A", "b.md": b"# B"})
    target = MemoryStore()
    first = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert first.copied == first.names > 6
    again = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert again.copied <= 2  # what a tenant and a project are called is replaced, and so copied each time
    await house.put(tenant, project, "c.md", b"# C")
    more = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert 3 <= more.copied <= 5
    name = (await pack_names(house, tenant, project))[0]
    assert target.objects[f"objects/{name}"] == await house.estate.store.get(name)
    assert not [name for name in target.objects if name.startswith("objects/") and "/keys/" in name]

    await target.put("objects/tenants/ten_0/projects/prj_0/packs/pak_0", b"of a backup long gone")
    last = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert last.pruned_objects == 1
    assert f"objects/{name}" in target.objects


@pytest.mark.promise("P3")
async def test_a_backup_that_is_made_while_another_prunes_keeps_what_it_copied(house: House) -> None:
    class Meanwhile(MemoryStore):
        """While a first backup asks which copies the others name, a second is made."""

        second: Callable[[], Awaitable[str]] | None = None
        made = ""

        async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
            data = await super().get(name, offset=offset, length=length)
            if self.second is not None and name.endswith("/manifest") and length is None:
                begin, self.second = self.second, None
                self.made = await begin()
            return data

    async def second() -> str:
        await house.put(tenant, project, "b.md", b"# B")
        return await make(house, target, objects=True)

    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", b"# A")
    target = Meanwhile()
    await make(house, target, objects=True)
    target.second = second
    await make(house, target, objects=True)
    archive = Archive(target, house.estate.root, house.estate.random)
    _, manifest = await read_manifest(archive, target.made)
    names = {f"objects/{name}" async for name, _ in named(archive, target.made, manifest)}
    assert names <= objects_of(target)


def objects_of(target: MemoryStore) -> set[str]:
    return {name for name in target.objects if name.startswith("objects/")}


async def test_a_copy_that_was_cut_off_goes_on_where_it_stopped(house: House) -> None:
    class Failing(MemoryStore):
        left = 5

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if name.startswith("objects/"):
                self.left -= 1
                if self.left < 0:
                    raise RuntimeError
            await super().put(name, data, create=create)

    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A", "b.md": b"# B", "c.md": b"# C"})
    target = Failing()
    with pytest.raises(RuntimeError):
        await make(house, target, objects=True)
    target.left = 1_000
    before = {name for name in target.objects if name.startswith("objects/") and not name.endswith("/about")}
    report = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert before
    assert report.copied <= report.names - len(before)


async def test_what_the_bucket_lacks_is_told(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", b"# A")
    [pack] = await pack_names(house, tenant, project)
    await house.estate.store.delete(pack)
    report = await make_backup(house.estate, MemoryStore(), house.folder, KEEPING)
    assert (report.missing, report.missing_names) == (1, (pack,))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("how", ["lost", "damaged"])
async def test_a_tenant_whose_keys_are_gone_keeps_no_other_from_being_backed_up_and_older_copies_of_them_stay(
    house: House, how: str
) -> None:
    target, unlucky, other = MemoryStore(), await house.tenant("unlucky"), await house.tenant("other")
    for tenant in (unlucky, other):
        await house.put(tenant, await house.project(tenant), "a.md", b"# A")
    first = await make(house, target, objects=True)
    keyring = f"tenants/{unlucky}/keys/1"
    await (house.estate.store.delete(keyring) if how == "lost" else flip(house.estate.store, keyring))
    house.estate.keyring.forget(unlucky)
    house.clock.now += 31 * DAY

    report = await make_backup(house.estate, target, house.folder, KEEPING, objects=True)
    assert report.missing_names == (f"tenants/{unlucky}/keys",)
    held = {name.split("/", 1)[1] for name in target.objects if "/keys/" in name and name.startswith("backups/")}
    assert held == {f"{first}/keys/{unlucky}", f"{report.id}/keys/{other}"}
    assert (first in report.pruned_keys, report.pruned) == (True, ())


async def test_a_name_that_crash_left_unsaid_is_said_by_the_next_backup(tmp_path: Path) -> None:
    ruin = Ruin(tmp_path)
    async with ruin.house() as house:
        tenant = await house.tenant()
        await house.project(tenant)
        assert not [name for name in await house.names() if name.endswith("/about")]
        await ruin.backup(house)
        about = [name for name in await house.names() if name.endswith("/about")]
        assert len(about) == 2
        await flip(house.estate.store, about[0])
        await ruin.backup(house)
        with pytest.raises(StoreMissing):
            await house.estate.store.get("tenants/none/about")
    assert issubclass(BackupDamaged, Damaged)


@pytest.mark.promise("P5")
async def test_a_tenant_that_is_shredded_while_its_keys_are_backed_up_leaves_none_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = MemoryStore()
    doomed, other = await house.tenant("doomed"), await house.tenant("other")
    put = Archive.put

    async def beside(self: Archive, label: Label, content: bytes) -> int:
        if label.part == f"keys/{doomed}":
            assert (await shred(house.estate, doomed, backups=target)).keys_expire is None
        return await put(self, label, content)

    monkeypatch.setattr(Archive, "put", beside)
    report = await make_backup(house.estate, target, house.folder, KEEPING)
    names = {stored.name async for stored in target.list("") if "/keys/" in stored.name}
    assert names == {f"backups/{report.id}/keys/{other}"}

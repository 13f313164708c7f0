"""A new key for a tenant, and the end of the old one."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator

import pytest

from satchel.catalog import quotas
from satchel.objects.ids import ProjectId, TenantId
from satchel.objects.seal import EPOCH_BYTES, epoch_of
from satchel.store.keyring import CACHE_MS, EpochUnknown, Keyring
from satchel.store.objectstore import MemoryStore
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey
from satchel.sync.failpoints import arm, disarm
from satchel.sync.receive import Receiver
from satchel.upkeep.about import refresh_about
from satchel.upkeep.backup import Keeping, make_backup
from satchel.upkeep.collect import collect
from satchel.upkeep.lease import LEASE_MS
from satchel.upkeep.reseal import RETIRE_AFTER_MS, ResealReport, rotate_tenant
from satchel.upkeep.verify import verify
from tests.upkeep.house import House, fill, open_house

pytestmark = pytest.mark.anyio

FILES = {f"notes/{n:02}.md": f"# Note {n}\n\n".encode() + os.urandom(600).hex().encode() for n in range(12)}
LONG = os.urandom(1_300_000)
POINTS = ["repack.after_packs", "repack.after_tables", "reseal.after_switch", "reseal.after_object"]


class Killed(BaseException):
    """As if the process had died here."""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    disarm()


async def epochs(house: House, tenant: TenantId) -> dict[str, int]:
    """In which epoch each object of the tenant is sealed, the keyring aside."""
    names = [name for name in await house.names() if name.startswith(f"tenants/{tenant}/") and "/keys/" not in name]
    return {name: epoch_of(await house.estate.store.get(name)) for name in names}


async def stocked(house: House) -> tuple[TenantId, ProjectId]:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, FILES | {"long.bin": LONG})
    await refresh_about(house.estate, tenant)
    return tenant, project


async def retired(house: House, tenant: TenantId) -> ResealReport:
    """Sealed anew, the old packs collected, looked at again."""
    await rotate_tenant(house.estate, tenant, full=True)
    house.clock.now += RETIRE_AFTER_MS + LEASE_MS
    await collect(house.estate, tenant, window_ms=0)
    return await rotate_tenant(house.estate, tenant, full=True)


async def test_a_new_epoch_seals_what_comes_and_leaves_what_there_is(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"before\n"})
    report = await rotate_tenant(house.estate, tenant)
    assert (report.epoch, report.old, report.packs) == (2, (1,), 0)
    before = await epochs(house, tenant)
    await fill(house, tenant, project, {"b.md": b"after\n"})
    assert set(before.values()) == {1}
    assert {e for name, e in (await epochs(house, tenant)).items() if name not in before} == {2}
    assert await house.tree(tenant, project) == {"a.md": b"before\n", "b.md": b"after\n"}
    assert (await rotate_tenant(house.estate, tenant)).epoch == 3


async def test_the_old_key_is_destroyed_when_nothing_is_sealed_with_it_any_more(house: House) -> None:
    tenant, project = await stocked(house)
    key_one = (await house.estate.keyring.key_of(tenant))(1)
    seen: list[tuple[int, int]] = []
    first = await rotate_tenant(house.estate, tenant, full=True, progress=lambda d, t: seen.append((d, t)))
    assert (first.epoch, first.packs, first.old, first.retired) == (2, len(FILES) + 1, (1,), ())
    assert (first.waiting, first.unnamed, first.damaged) == (len(FILES) + 1, 0, ())  # dying, in the backup window
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] <= seen[-1][1]
    assert (await house.estate.keyring.epochs(tenant)).keys() == {1, 2}
    await collect(house.estate, tenant, window_ms=0)
    soon = await rotate_tenant(house.estate, tenant, full=True)
    assert (soon.epoch, soon.packs, soon.waiting, soon.retired) == (2, 0, 0, ())
    assert soon.retire_from is not None  # another process may still be sealing with the old key
    house.clock.now = soon.retire_from
    last = await rotate_tenant(house.estate, tenant, full=True)
    assert (last.retired, last.old) == ((1,), ())
    assert (await house.estate.keyring.epochs(tenant)).keys() == {2}
    assert set((await epochs(house, tenant)).values()) == {2}
    async with open_house(house.folder, house.clock) as again:
        assert await again.tree(tenant, project) == FILES | {"long.bin": LONG}
        assert await again.tree(tenant, project, 3) == dict(itertools.islice(FILES.items(), 3))
        report = await verify(again.estate, full=True)
        assert report.clean, report.problems
        with pytest.raises(EpochUnknown):
            (await again.estate.keyring.key_of(tenant))(1)
    assert key_one != (await house.estate.keyring.current(tenant))[1]
    async with house.estate.catalog.read(tenant) as s:
        used = (await quotas.usage(s)).storage_bytes
    packs = [each.size async for each in house.estate.store.list(f"tenants/{tenant}/") if "/packs/" in each.name]
    assert used == sum(packs)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", [1, 4])
async def test_sealing_anew_that_was_killed_is_finished_by_the_next_run(house: House, point: str, times: int) -> None:
    tenant = await house.tenant()
    for slug in ("one", "two", "three", "four"):
        await fill(house, tenant, await house.project(tenant, slug), dict(itertools.islice(FILES.items(), 3)))
    count = itertools.count(1)

    def die() -> None:
        if next(count) == times:
            raise Killed

    arm(point, die)
    with pytest.raises(Killed):
        await rotate_tenant(house.estate, tenant, full=True)
    disarm()
    assert (await verify(house.estate, full=True)).clean
    await rotate_tenant(house.estate, tenant, full=True)
    house.clock.now += 3 * 24 * 60 * 60 * 1000  # what the killed run left is old enough to be swept
    for name in await house.names():  # the store's clock is this machine's
        os.utime(house.folder / "store" / name, (0, 0))
    await collect(house.estate, tenant, window_ms=0)
    last = await rotate_tenant(house.estate, tenant, full=True)
    assert (last.epoch, last.retired, last.unnamed, last.waiting) == (2, (1,), 0, 0)
    report = await verify(house.estate, full=True)
    assert report.clean, report.problems


@pytest.mark.promise("P3")
async def test_pushes_go_on_while_everything_is_sealed_anew(house: House) -> None:
    tenant, project = await stocked(house)
    own = Keyring(house.estate.store, house.estate.root, clock=house.clock, random=os.urandom)
    await own.current(tenant)  # a server that has opened the keyring before
    server = Receiver(
        house.estate.catalog,
        Vault(house.estate.store, own, random=os.urandom),
        clock=house.clock,
        random=os.urandom,
    )
    pushed = {f"new/{n}.md": f"pushed {n}\n".encode() for n in range(20)}

    async def push() -> None:
        for path, data in pushed.items():
            await server.write(house.caller(tenant), project, path, data, None, "*absent", None)

    await asyncio.gather(push(), rotate_tenant(house.estate, tenant, full=True))
    house.clock.now += CACHE_MS
    late = await server.write(house.caller(tenant), project, "late.md", b"late\n", None, "*absent", None)
    assert late.version == len(FILES) + 1 + len(pushed) + 1
    assert (await retired(house, tenant)).retired == (1,)
    assert await house.tree(tenant, project) == FILES | pushed | {"late.md": b"late\n", "long.bin": LONG}
    assert (await verify(house.estate, full=True)).clean


async def test_a_server_that_opened_the_keyring_before_reads_what_was_sealed_anew(house: House) -> None:
    tenant, project = await stocked(house)
    own = Keyring(house.estate.store, house.estate.root, clock=house.clock, random=os.urandom)
    await own.current(tenant)
    await rotate_tenant(house.estate, tenant, full=True)
    server = House(
        house.folder,
        house.clock,
        type(house.estate)(
            house.estate.catalog,
            house.estate.store,
            house.estate.root,
            own,
            Vault(house.estate.store, own, random=os.urandom),
            house.clock,
            os.urandom,
        ),
        house.receiver,
    )
    assert await server.tree(tenant, project) == FILES | {"long.bin": LONG}


@pytest.mark.parametrize("kind", ["packs", "records", "heads"])
async def test_what_is_put_while_an_epoch_begins_is_sealed_in_the_new_one(house: House, kind: str) -> None:
    """A process may stop for a day between looking at the key and the end of its put: it looks again afterwards."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    own = Keyring(house.estate.store, house.estate.root, clock=house.clock, random=os.urandom)
    await own.current(tenant)
    store = house.estate.store

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            await store.put(name, data, create=create)
            if f"/{kind}/" in name and not begun:
                begun.append(name)
                await house.estate.keyring.begin_epoch(tenant)
                house.clock.now += CACHE_MS

    begun: list[str] = []
    vault = Vault(Slow(), own, random=os.urandom)  # type: ignore[arg-type]
    server = Receiver(house.estate.catalog, vault, clock=house.clock, random=os.urandom)
    await server.write(house.caller(tenant), project, "a.md", b"A\n", None, "*absent", None)
    (slow,) = begun
    there = await epochs(house, tenant)
    assert 1 not in {epoch for name, epoch in there.items() if f"/{kind}/" in name}
    assert slow in there or kind == "packs"  # a pack is put anew under another name
    assert await house.tree(tenant, project) == {"a.md": b"A\n"}


async def test_an_old_key_stays_while_anything_at_all_is_sealed_with_it(house: House) -> None:
    tenant, project = await stocked(house)
    orphan = f"tenants/{tenant}/projects/{project}/packs/pak_0000000000000000000000000a"
    source = next(name for name in await house.names() if "/packs/" in name)
    await house.estate.store.put(orphan, await house.estate.store.get(source))
    damaged = next(name for name in await house.names() if "/records/" in name)
    whole = await house.estate.store.get(damaged)
    await house.estate.store.put(damaged, whole[:-1] + bytes([whole[-1] ^ 1]))
    report = await retired(house, tenant)
    assert (report.retired, report.old, report.unnamed, report.damaged) == ((), (1,), 1, (damaged,))
    await house.estate.store.put(damaged, whole)  # brought back from a copy: the key it needs is still there
    await house.estate.store.delete(orphan)
    assert (await rotate_tenant(house.estate, tenant, full=True)).retired == (1,)
    assert (await verify(house.estate, full=True)).clean


async def test_an_object_in_an_epoch_the_keyring_lacks_is_told_from_damage(house: House) -> None:
    tenant, project = await stocked(house)
    record = next(name for name in await house.names() if "/records/" in name).rpartition("/")[2]
    newest = await house.estate.keyring.begin_epoch(tenant)
    root = RootKey.load(house.folder / "root.key")
    ring = Keyring(house.estate.store, root, clock=house.clock, random=os.urandom)
    await ring.retire(tenant, newest)  # too early, as a keyring from another time would be
    vault = Vault(house.estate.store, ring, random=os.urandom)
    with pytest.raises(EpochUnknown) as refused:
        await vault.get_record(tenant, project, record)
    assert "no key of epoch 1" in refused.value.message
    assert tenant not in refused.value.message + refused.value.hint
    assert "restore the keyring from a backup" in refused.value.hint


@pytest.mark.promise("P3")
async def test_a_copy_of_the_bucket_follows_what_was_sealed_anew_under_its_own_name(house: House) -> None:
    tenant, project = await stocked(house)
    copies, keeping = MemoryStore(), Keeping(10**10, 10**10)
    await make_backup(house.estate, copies, house.folder, keeping, objects=True)
    await retired(house, tenant)
    await make_backup(house.estate, copies, house.folder, keeping, objects=True)
    records = {name for name in await house.names() if f"/{project}/" in name and "/packs/" not in name}
    assert {epoch_of(copies.objects[f"objects/{name}"]) for name in records} == {2}
    again = await make_backup(house.estate, copies, house.folder, keeping, objects=True)
    assert again.copied == len([name for name in await house.names() if name.endswith("/about")])


async def test_copies_are_asked_for_their_epoch_several_at_once(house: House) -> None:
    class Together(MemoryStore):
        """Tells a copy's epoch once it is asked for another's."""

        asked = 0
        second = asyncio.Event()

        async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
            if name.startswith("objects/") and length == EPOCH_BYTES:
                self.asked += 1
                if self.asked > 1:
                    self.second.set()
                await asyncio.wait_for(self.second.wait(), 30)
            return await super().get(name, offset=offset, length=length)

    tenant, _ = await stocked(house)
    await retired(house, tenant)
    copies, keeping = Together(), Keeping(10**10, 10**10)
    for _ in range(2):
        await make_backup(house.estate, copies, house.folder, keeping, objects=True)
    assert copies.asked > 2

"""Changing the root key, and destroying the keys of a tenant."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.catalog import audit, tenants
from satchel.catalog.bootstrap import found_tenant
from satchel.errors import Damaged, SatchelError, StoreUnavailable, WrongKey
from satchel.objects.ids import TenantId
from satchel.objects.seal import Binding, open_sealed
from satchel.store.keyring import Keyring, TenantShredded
from satchel.store.kms import KmsPlace
from satchel.store.objectstore import MemoryStore
from satchel.store.rootkey import RootKey, next_path
from satchel.sync.failpoints import NAMES, arm, disarm
from satchel.upkeep.backup import Keeping, make_backup
from satchel.upkeep.keys import KeyStaged, rotate_root, shred
from satchel.upkeep.lease import UpkeepBusy
from satchel.upkeep.verify import verify
from tests.upkeep.house import NOW, PEPPER, Clock, House, fill, open_house

pytestmark = pytest.mark.anyio

FILES = {"a.md": b"# A\n\nwords\n", "b.md": b"# B\n" * 400}
POINTS = [name for name in NAMES if name.startswith("rotate.")]


class Killed(BaseException):
    """As if the process had died here."""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    disarm()


def die() -> None:
    raise Killed


def roots(house: House) -> dict[str, RootKey]:
    """Every key file that lies there, by name."""
    return {path.name: RootKey.load(path) for path in house.folder.glob("root.key*")}


async def opens_with(house: House, root: RootKey) -> set[str]:
    """Which of installation and tenants a process that knows this root key alone can open."""
    ring = Keyring(house.estate.store, RootKey(root._secret), clock=house.clock, random=os.urandom)
    found = set()
    try:
        await ring.installation()
        found.add("installation")
    except WrongKey:
        pass
    for row in await house.estate.tenants():
        try:
            await ring.current(row.id)
            found.add(row.slug)
        except WrongKey:
            pass
    return found


async def test_another_root_key_opens_everything_and_the_old_one_nothing(house: House) -> None:
    a, b = await house.tenant("acme"), await house.tenant("beta")
    project = await house.project(a)
    await fill(house, a, project, FILES)
    await house.estate.keyring.begin_epoch(b)
    pepper = (await house.estate.keyring.installation()).pepper
    old = RootKey.load(house.folder / "root.key")
    seen: list[tuple[int, int]] = []
    report = await rotate_root(house.estate, progress=lambda done, total: seen.append((done, total)))
    new = RootKey.load(house.folder / "root.key")
    assert (report.old, report.new, report.rewrapped, report.unreadable) == (old.id, new.id, 2, ())
    assert seen == [(1, 2), (2, 2)]
    assert await opens_with(house, new) == {"installation", "acme", "beta"}
    assert await opens_with(house, old) == set()
    assert roots(house) == {"root.key": new, f"root.key.{old.id}": old}
    assert report.old_file == house.folder / f"root.key.{old.id}"
    async with open_house(house.folder) as again:
        assert await again.tree(a, project) == FILES
        assert (await again.estate.keyring.installation()).pepper == pepper
        assert (await again.estate.keyring.epochs(b)).keys() == {1, 2}
    assert {name for name in await house.names() if "/keys/" in name or name.startswith("installation/")} == {
        "installation/2", f"tenants/{a}/keys/2", f"tenants/{b}/keys/3",
    }  # fmt: skip


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", POINTS)
async def test_a_change_of_the_root_key_that_was_killed_is_finished_by_the_next_run(house: House, point: str) -> None:
    slugs = {"acme", "beta", "gamma"}
    owned = {slug: await house.tenant(slug) for slug in sorted(slugs)}
    project = await house.project(owned["acme"])
    await fill(house, owned["acme"], project, FILES)
    old = RootKey.load(house.folder / "root.key")
    countdown = itertools.count()
    arm(point, lambda: die() if point != "rotate.after_keyring" or next(countdown) == 1 else None)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await rotate_root(house.estate)
    disarm()
    async with open_house(house.folder) as between:  # a server that starts now finds everything
        assert await between.tree(owned["acme"], project) == FILES
        for tenant in owned.values():
            await between.estate.keyring.current(tenant)
        late = await between.tenant("late")
        report = await rotate_root(between.estate)
    new = RootKey.load(house.folder / "root.key")
    assert (report.old, report.new) == (old.id, new.id)
    assert await opens_with(house, new) == {"installation", "late", *slugs}
    assert await opens_with(house, old) == set()
    assert roots(house) == {"root.key": new, f"root.key.{old.id}": old}
    async with open_house(house.folder) as again:
        assert await again.tree(owned["acme"], project) == FILES
        await again.estate.keyring.current(late)


async def test_a_staged_key_is_the_one_that_the_next_run_uses(house: House) -> None:
    await house.tenant()
    old = RootKey.load(house.folder / "root.key")
    staged = await rotate_root(house.estate, stage=True)
    assert staged.old_file is None
    assert (await rotate_root(house.estate, stage=True)).new == staged.new
    assert await opens_with(house, old) == {"installation", "acme"}
    with pytest.raises(KeyStaged):
        await rotate_root(house.estate, kms=KmsPlace("aws-kms", "alias/other"))
    assert (await rotate_root(house.estate)).new == staged.new
    assert (await rotate_root(house.estate)).old == staged.new  # and the one after that is another change


async def test_two_changes_of_one_root_key_do_not_meet(house: House) -> None:
    def second() -> None:
        raise AssertionError("it was let in")

    async def during() -> None:
        arm("rotate.after_next", second)
        with pytest.raises(UpkeepBusy, match="being changed already"):
            await rotate_root(house.estate)

    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    arm("rotate.after_installation", lambda: tasks.append(loop.create_task(during())))
    await house.tenant()
    await rotate_root(house.estate)
    await tasks[0]


async def test_a_keyring_made_under_the_old_root_key_while_it_was_changed_is_wrapped_anew(tmp_path: Path) -> None:
    class Meanwhile(MemoryStore):
        changing: RootKey | None = None

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if self.changing is not None and "/keys/" in name:  # the other process has looked at all tenants by now
                new, self.changing = self.changing, None
                await Keyring(self, old, clock=Clock(), random=os.urandom).rewrap_installation(new)
            await super().put(name, data, create=create)

    store, tenant = Meanwhile(), TenantId("ten_a")
    old = RootKey.create(tmp_path / "root.key")
    ring = Keyring(store, old, clock=Clock(), random=os.urandom)
    await ring.found()
    store.changing = RootKey.create(next_path(tmp_path / "root.key"))
    new = store.changing
    await ring.create(tenant)
    alone = Keyring(store, RootKey(new._secret), clock=Clock(), random=os.urandom)
    assert await alone.current(tenant) == await ring.current(tenant)


async def test_a_store_that_goes_away_while_keyrings_are_wrapped_is_told_as_such(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("acme", "beta"):
        await house.tenant(slug)
    with monkeypatch.context() as away:

        async def fails(*_given: object) -> bool:
            raise StoreUnavailable("away")

        away.setattr(Keyring, "rewrap", fails)
        with pytest.raises(StoreUnavailable):
            await rotate_root(house.estate)
    assert (await rotate_root(house.estate)).rewrapped == 2


async def test_a_keyring_that_no_key_opens_is_named_and_the_others_are_wrapped(house: House) -> None:
    a, b = await house.tenant("acme"), await house.tenant("beta")
    name = f"tenants/{a}/keys/1"
    sealed = await house.estate.store.get(name)
    await house.estate.store.put(name, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    report = await rotate_root(house.estate)
    assert (report.unreadable, report.rewrapped) == ((a,), 1)
    assert await opens_with(house, RootKey.load(house.folder / "root.key")) >= {"installation", "beta"}
    await house.estate.keyring.current(b)


# Shredding -----------------------------------------------------------------------------------------------------------


async def stored(house: House, tenant: TenantId) -> dict[str, bytes]:
    names = [name for name in await house.names() if name.startswith(f"tenants/{tenant}/")]
    return {name: await house.estate.store.get(name) for name in names}


def whole(name: str) -> tuple[Binding, str]:
    """How an object is bound, from its name alone: what somebody with everything can know."""
    kinds = {"records": "record", "heads": "head", "tables": "table", "purges": "purge", "packs": "frame"}
    match name.split("/"):
        case [_, tenant, "projects", project, kind, *rest] if kind in kinds:
            return Binding(TenantId(tenant), project, kinds[kind]), "/".join(rest)
        case [_, tenant, "projects", project, last]:
            return Binding(TenantId(tenant), project, last), last
        case [_, tenant, kind, *rest]:
            bound = {"keys": ("keyring", rest[-1] if rest else ""), "shredded": ("tombstone", "tombstone")}
            return Binding(TenantId(tenant), "", bound.get(kind, (kind, kind))[0]), bound.get(kind, (kind, kind))[1]
    raise AssertionError(name)


async def opened_by_anybody(house: House, objects: dict[str, bytes]) -> set[str]:
    """Those that open with what bucket, catalog, root key and installation give."""
    own, root = await house.estate.keyring.installation(), house.estate.root
    purposes = ["keyring", "installation", "tombstone", "backup", "key pepper", "signing keys"]
    keys = [root._secret, own._secret, *(root.derive(p) for p in purposes), *(own.derive(p) for p in purposes)]
    found = set()
    for name, sealed in objects.items():
        binding, bound = whole(name)
        for key in keys:
            try:
                open_sealed(lambda _, key=key: key, binding, bound, sealed)  # type: ignore[misc]
                found.add(name)
            except Damaged:
                continue
    return found


async def test_after_a_shredding_nothing_of_the_tenant_opens_with_all_there_is(house: House) -> None:
    a, b = await house.tenant("acme"), await house.tenant("beta")
    project = await house.project(a)
    await fill(house, a, project, FILES)
    cache = house.folder / "cache"
    (cache / "index" / a / project).mkdir(parents=True)
    (cache / "store" / "tenants" / a).mkdir(parents=True)
    before = await stored(house, a)
    keyring = f"tenants/{a}/keys/1"
    assert await opened_by_anybody(house, before) == {keyring}  # the test sees a keyring where there is one
    report = await shred(house.estate, a, cache=cache)
    assert (report.slug, report.backups_looked, report.keys_expire) == ("acme", False, None)
    after = await stored(house, a)
    assert after.keys() == (before.keys() - {keyring}) | {f"tenants/{a}/shredded"}
    assert await opened_by_anybody(house, after) == {f"tenants/{a}/shredded"}
    assert [path for path in cache.rglob("*") if a in str(path)] == []
    async with house.estate.catalog.read(a) as s:
        assert (await tenants.own(s)).state == tenants.SHREDDED
    assert [row.id for row in await house.estate.tenants()] == [b]
    await house.estate.keyring.current(b)


async def test_a_shredding_that_is_killed_is_in_the_operators_audit_or_can_be_said_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.estate.catalog.directory(write=True) as d:
        made = await found_tenant(d, slug="default", name="", pepper=PEPPER, now=house.clock(), operates=True)
    await house.estate.keyring.create(made.tenant.id)
    gone = await house.tenant("gone")

    async def killed(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", killed)
        with pytest.raises(Killed):
            await shred(house.estate, gone)
    assert (await house.estate.tenant("gone")).state == tenants.ACTIVE
    await shred(house.estate, gone)
    async with house.estate.catalog.read(made.tenant.id) as s:
        assert [(row.action, row.target) for row in await audit.list_(s)] == [("tenant.shred", gone)]
    assert (await verify(house.estate)).notes == []


async def test_the_tombstone_wins_over_a_keyring_that_is_put_back(house: House) -> None:
    tenant = await house.tenant()
    kept = await stored(house, tenant)
    await shred(house.estate, tenant)
    for name, data in kept.items():
        await house.estate.store.put(name, data)
    async with open_house(house.folder) as again:
        for use in (again.estate.keyring.current, again.estate.keyring.key_of, again.estate.keyring.begin_epoch):
            with pytest.raises(TenantShredded):
                await use(tenant)
        old = RootKey.load(house.folder / "root.key")
        assert (await rotate_root(again.estate)).rewrapped == 0  # nor is it carried on
        assert old != RootKey.load(house.folder / "root.key")


async def test_a_shredding_tells_when_the_last_backup_lets_go_of_the_keys(house: House) -> None:
    a = await house.tenant("acme")
    backups = MemoryStore()
    day = 24 * 60 * 60 * 1000
    await make_backup(house.estate, backups, house.folder, Keeping(30 * day, 7 * day))
    b = await house.tenant("beta")
    report = await shred(house.estate, a, backups=backups)
    assert report.keys_expire is not None
    assert 7 * day <= report.keys_expire - NOW <= 7 * day + 1_000
    with_none = await shred(house.estate, b, backups=backups)
    assert (with_none.backups_looked, with_none.keys_expire) == (True, None)
    with pytest.raises(SatchelError):
        await house.estate.keyring.current(a)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("change", ["begin an epoch", "wrap anew"])
async def test_a_keyring_that_was_shredded_while_it_changed_leaves_no_keys_behind(tmp_path: Path, change: str) -> None:
    class Meanwhile(MemoryStore):
        shredder: Keyring | None = None

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if self.shredder is not None and "/keys/" in name:  # another process, from beginning to end
                ring, self.shredder = self.shredder, None
                await ring.shred(tenant)
            await super().put(name, data, create=create)

    store, tenant = Meanwhile(), TenantId("ten_a")
    old = RootKey.create(tmp_path / "root.key")
    ring, other = (Keyring(store, old, clock=Clock(), random=os.urandom) for _ in range(2))
    await ring.found()
    await ring.create(tenant)
    new = RootKey.create(tmp_path / "new.key")
    store.shredder = other
    with pytest.raises(TenantShredded):
        await (ring.rewrap(tenant, new) if change == "wrap anew" else ring.begin_epoch(tenant))
    assert [name for name in store.objects if tenant in name] == [f"tenants/{tenant}/shredded"]


@pytest.mark.promise("P5")
async def test_a_shredding_beside_a_change_of_the_root_key_hinders_neither(house: House) -> None:
    a, b, c = [await house.tenant(slug) for slug in ("acme", "beta", "cut-off")]
    kept = await house.estate.store.get(f"tenants/{c}/keys/1")
    await house.estate.keyring.shred(c)
    await house.estate.store.put(f"tenants/{c}/keys/1", kept)  # as a process that was killed may leave it
    loop, tasks = asyncio.get_running_loop(), []
    arm("rotate.after_installation", lambda: tasks.append(loop.create_task(house.estate.keyring.shred(a))))
    report = await rotate_root(house.estate)
    await asyncio.gather(*tasks)
    assert (len(tasks), report.unreadable) == (1, ())
    assert {name.split("/")[1] for name in await house.names() if "/keys/" in name} == {b}

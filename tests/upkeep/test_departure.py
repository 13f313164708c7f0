"""The end of a tenant: keys, rows and objects go, in that order, whatever cuts it off, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from satchel.auth.keys import key_mac, parse_key
from satchel.catalog import audit, bootstrap, standing, tenants
from satchel.errors import CredentialInvalid, NoSuchThing, StoreUnavailable
from satchel.objects.ids import TenantId
from satchel.store.keyring import TenantShredded
from satchel.sync import failpoints
from satchel.upkeep.departure import LOOK_AGAIN_MS, Departed, depart, due
from satchel.upkeep.lease import LEASE_MS, UpkeepBusy, upkeep_lease
from tests.postgres import Postgres
from tests.upkeep.house import PEPPER, House, fill, open_house

pytestmark = pytest.mark.anyio
FILES = {f"docs/{number}.md": f"# {number}\n".encode() for number in range(5)}
WEEK_MS = 7 * 24 * 60 * 60 * 1000


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of a migrated catalog; None for one of the house's own."""
    if request.param == "SQLite":
        return None
    database: Postgres = request.getfixturevalue("postgres")
    return database.url


@pytest.fixture
async def house(tmp_path: Path, address: str | None) -> AsyncIterator[House]:
    async with open_house(tmp_path, catalog=address) as opened:
        yield opened


async def _filled(house: House, slug: str) -> TenantId:
    tenant = await house.tenant(slug)
    await fill(house, tenant, await house.project(tenant), FILES)
    return tenant


async def _delete(house: House, tenant: TenantId, grace_ms: int = WEEK_MS) -> None:
    async with house.estate.catalog.directory(write=True) as d:
        await tenants.delete_later(d, tenant, house.clock() + grace_ms)


async def _state(house: House, tenant: TenantId) -> tuple[str, int | None]:
    async with house.estate.catalog.directory() as d:
        row = await tenants.find(d, tenant)
    assert row is not None
    return row.state, row.delete_at


async def _of(house: House, tenant: TenantId) -> set[str]:
    return {name for name in await house.names() if name.startswith(f"tenants/{tenant}/")}


@pytest.mark.promise("P5")
async def test_a_deleted_tenant_goes_with_keys_rows_and_objects_when_it_is_due_and_no_other_does(house: House) -> None:
    gone, stays = await _filled(house, "gone"), await _filled(house, "stays")
    before = await _of(house, stays)
    await _delete(house, gone)
    assert await due(house.estate) == []
    assert await depart(house.estate, gone) == Departed(shredded=False, objects=0)
    objects = len(await _of(house, gone))
    house.clock.now += WEEK_MS
    assert [row.id for row in await due(house.estate)] == [gone]
    done = await depart(house.estate, gone)
    assert done.shredded
    assert 0 < done.objects < objects  # the keyring went before
    assert await _of(house, gone) == {f"tenants/{gone}/shredded"}
    with pytest.raises(TenantShredded):
        await house.estate.keyring.current(gone)
    async with house.estate.catalog.read(gone) as s:
        with pytest.raises(NoSuchThing):
            await tenants.check_active(s)
    assert await _of(house, stays) == before
    [row] = await house.estate.tenants()
    assert row.id == stays
    async with house.estate.catalog.directory(write=True) as d:  # the name is free again
        await bootstrap.found_tenant(d, slug="gone", name="", pepper=PEPPER, now=house.clock())


async def test_what_a_late_write_left_in_the_store_goes_two_days_later(house: House) -> None:
    gone = await _filled(house, "gone")
    await _delete(house, gone, 0)
    assert (await depart(house.estate, gone)).shredded
    late = f"tenants/{gone}/projects/prj_00000000000000000000000001/packs/pak_00000000000000000000000001"
    await house.estate.store.put(late, b"sealed")
    assert await due(house.estate) == []
    for left in (1, 0):
        house.clock.now += LOOK_AGAIN_MS
        assert [row.id for row in await due(house.estate)] == [gone]
        assert await depart(house.estate, gone) == Departed(shredded=False, objects=left)
        assert await _of(house, gone) == {f"tenants/{gone}/shredded"}
    assert await _state(house, gone) == ("shredded", None)
    house.clock.now += LOOK_AGAIN_MS
    assert await due(house.estate) == []


async def test_a_store_that_goes_away_meanwhile_is_told_as_such_and_the_next_run_ends_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await _filled(house, "gone")
    await _delete(house, gone, 0)
    store = house.estate.store
    with monkeypatch.context() as away:
        delete = store.delete

        async def fails(name: str) -> None:
            if "/packs/" in name:
                raise StoreUnavailable("away")
            await delete(name)

        away.setattr(store, "delete", fails)
        with pytest.raises(StoreUnavailable):
            await depart(house.estate, gone)
    assert await _of(house, gone) > {f"tenants/{gone}/shredded"}
    await depart(house.estate, gone)
    assert await _of(house, gone) == {f"tenants/{gone}/shredded"}


async def test_a_tenant_brought_back_in_time_is_as_it_was(house: House) -> None:
    tenant = await _filled(house, "acme")
    before, objects = await _state(house, tenant), await _of(house, tenant)
    await _delete(house, tenant)
    [row] = await house.estate.tenants()
    async with house.estate.catalog.directory(write=True) as d:
        await tenants.set_state(d, tenant, tenants.ACTIVE)
    house.clock.now += 2 * WEEK_MS
    assert row.state == tenants.DELETING
    assert await depart(house.estate, tenant) == Departed(shredded=False, objects=0)  # found due before, and late
    assert await _state(house, tenant) == before
    assert await _of(house, tenant) == objects
    async with house.estate.catalog.read(tenant) as s:
        await tenants.check_active(s)


class Killed(BaseException):
    pass


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", [name for name in failpoints.NAMES if name.startswith("departure.")])
async def test_cut_off_anywhere_the_next_run_ends_it(house: House, point: str) -> None:
    gone = await _filled(house, "gone")
    await _delete(house, gone, 0)

    def die() -> None:
        raise Killed

    failpoints.arm(point, die)
    try:
        with pytest.raises((Killed, BaseExceptionGroup)):
            await depart(house.estate, gone)
    finally:
        failpoints.disarm()
    with pytest.raises(TenantShredded):  # from the first step on nothing of it opens
        await house.estate.keyring.current(gone)
    house.clock.now += LEASE_MS
    assert [row.id for row in await due(house.estate)] == [gone]
    await depart(house.estate, gone)
    assert (await _state(house, gone))[0] == "shredded"
    assert await _of(house, gone) == {f"tenants/{gone}/shredded"}


async def test_other_upkeep_of_the_tenant_is_waited_for(house: House) -> None:
    gone = await _filled(house, "gone")
    await _delete(house, gone, 0)
    async with upkeep_lease(house.estate, gone, "collect"):
        with pytest.raises(UpkeepBusy):
            await depart(house.estate, gone)
    assert (await depart(house.estate, gone)).shredded


async def test_the_operators_find_it_in_their_audit(house: House) -> None:
    async with house.estate.catalog.directory(write=True) as d:
        made = await bootstrap.found_tenant(d, slug="default", name="", pepper=PEPPER, now=house.clock(), operates=True)
    gone = await _filled(house, "gone")
    await _delete(house, gone, 0)
    await depart(house.estate, gone)
    async with house.estate.catalog.read(made.tenant.id) as s:
        [row] = await audit.list_(s)
    assert (row.action, row.target, row.principal_id) == ("tenant.shred", f"{gone} was due", "")


async def test_its_key_opens_nothing_from_the_deletion_on(house: House) -> None:
    async with house.estate.catalog.directory(write=True) as d:
        made = await bootstrap.found_tenant(d, slug="gone", name="", pepper=PEPPER, now=house.clock())
        await house.estate.keyring.create(made.tenant.id)
    await _delete(house, made.tenant.id, 0)
    await depart(house.estate, made.tenant.id)
    async with house.estate.catalog.read(made.tenant.id) as s:
        key_id = parse_key(made.key).key_id
        with pytest.raises(CredentialInvalid):
            await standing.of_key(s, key_id, key_mac(PEPPER, made.key), house.clock())

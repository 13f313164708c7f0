"""One upkeep work per tenant at a time."""

from __future__ import annotations

import pytest

from satchel.objects.ids import TenantId
from satchel.upkeep.lease import LEASE_MS, UpkeepBusy, upkeep_lease
from tests.upkeep.house import House

pytestmark = pytest.mark.anyio


async def fail_at(house: House, tenant: TenantId, work: str, note: str) -> None:
    async with upkeep_lease(house.estate, tenant, work) as lease:
        async with house.estate.catalog.write(tenant) as s:
            await lease.note(s, note)
        raise RuntimeError


async def test_a_second_work_is_told_that_one_is_under_way(house: House) -> None:
    tenant = await house.tenant()
    async with upkeep_lease(house.estate, tenant, "collect"):
        with pytest.raises(UpkeepBusy, match="a collect of this tenant is under way"):
            await upkeep_lease(house.estate, tenant, "verify").__aenter__()
        other = await house.tenant("other")
        async with upkeep_lease(house.estate, other, "verify"):
            pass
    async with upkeep_lease(house.estate, tenant, "verify"):
        pass


@pytest.mark.promise("P6")
async def test_the_lease_of_a_killed_work_ends_by_itself_and_its_note_is_found_again(house: House) -> None:
    tenant = await house.tenant()
    killed = upkeep_lease(house.estate, tenant, "collect")  # held, so that nothing ends it
    lease = await killed.__aenter__()
    async with house.estate.catalog.write(tenant) as s:
        await lease.note(s, "came as far as here")
    with pytest.raises(UpkeepBusy):
        await upkeep_lease(house.estate, tenant, "collect").__aenter__()
    house.clock.now += LEASE_MS
    async with upkeep_lease(house.estate, tenant, "collect") as next_run:
        assert await next_run.state() == "came as far as here"
        with pytest.raises(UpkeepBusy, match="lost its turn"):
            await lease.renew()
    async with upkeep_lease(house.estate, tenant, "collect") as after_success:
        assert await after_success.state() == ""


@pytest.mark.parametrize("off", [400 * 24 * 3_600_000, -400 * 24 * 3_600_000])
async def test_a_clock_that_was_far_off_blocks_no_work_for_longer_than_a_lease(house: House, off: int) -> None:
    tenant = await house.tenant()
    house.clock.now += off
    killed = upkeep_lease(house.estate, tenant, "collect")
    lease = await killed.__aenter__()
    house.clock.now -= off  # put right while the work is under way
    async with upkeep_lease(house.estate, tenant, "verify"):
        if off > 0:
            with pytest.raises(UpkeepBusy, match="lost its turn"):
                await lease.renew()


async def test_a_work_that_fails_gives_the_lease_back_and_keeps_its_note(house: House) -> None:
    tenant = await house.tenant()
    with pytest.raises(RuntimeError):
        await fail_at(house, tenant, "collect", "half")
    async with upkeep_lease(house.estate, tenant, "collect") as lease:
        assert await lease.state() == "half"
        await lease.renew()


async def test_the_note_of_another_work_is_not_taken_for_ones_own(house: House) -> None:
    tenant = await house.tenant()
    with pytest.raises(RuntimeError):
        await fail_at(house, tenant, "collect", "half")
    async with upkeep_lease(house.estate, tenant, "reseal") as lease:
        assert await lease.state() == ""

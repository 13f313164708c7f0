"""The end of a tenant whose time has come: its keys, its rows, and then its objects in the store.

    keys shredded  ·  rows erased, the tombstone says that objects are left  ·  objects removed  ·  looked at once more

From the first step on nothing of it can be read; the rest may be cut off anywhere, and the next run goes on. A node
that had begun a write before may still put objects there: so the store is looked at again two days later, when no such
write can be under way, until nothing is found. The tombstone in the store stays for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from satchel.catalog import audit, members, tenants
from satchel.catalog.tenants import TenantRow
from satchel.objects.ids import TenantId
from satchel.store.keyring import tombstone_name
from satchel.sync.failpoints import reach
from satchel.upkeep.estate import Estate
from satchel.upkeep.lease import upkeep_lease
from satchel.upkeep.sweep import ORPHAN_MS

WORK = "delete"
AT_ONCE = 16
"""Objects removed at a time."""
BATCH = 1_000
"""Objects removed between two words to the others that this goes on."""
LOOK_AGAIN_MS = ORPHAN_MS


class Departed(NamedTuple):
    """What a run did for one tenant."""

    shredded: bool
    """Whether its keys and rows went now; they may have gone before."""
    objects: int
    """Removed from the store."""


async def due(estate: Estate) -> list[TenantRow]:
    """The tenants that ``depart`` is to be called for now."""
    async with estate.catalog.directory() as d:
        return await tenants.due(d, estate.clock())


async def depart(estate: Estate, tenant: TenantId) -> Departed:
    """Take the next steps for a tenant that is due; nothing for one that was brought back meanwhile.

    Raises ``UpkeepBusy`` while other upkeep on it is under way, here or elsewhere, and what the store raises.
    """
    async with upkeep_lease(estate, tenant, WORK):
        shredded = await _shred(estate, tenant)
    reach("departure.after_rows")
    async with estate.catalog.directory() as d:
        row = await tenants.find(d, tenant)
    if row is None or row.state != tenants.SHREDDED or row.delete_at is None or row.delete_at > estate.clock():
        return Departed(shredded, 0)
    return Departed(shredded, await _clear(estate, tenant))


async def _shred(estate: Estate, tenant: TenantId) -> bool:
    """Destroy keys and rows, if it is still to be; whether it was done now.

    Judged inside the transaction that nobody can bring the tenant back beside.
    """
    async with estate.catalog.directory(write=True) as d:
        row, now = await tenants.find(d, tenant), estate.clock()
        if row is None or row.state == tenants.SHREDDED or row.delete_at is None or row.delete_at > now:
            return False
        # Keys first: rows without keys are harmless, and the next run finishes.
        await estate.keyring.shred(tenant)
        reach("departure.after_keys")
        await members.erase_tenant(d, tenant)
        for operating in await tenants.operating(d):
            await audit.record(d.enter(operating), None, "tenant.shred", f"{tenant} was due", "done", "", now)
    return True


async def _clear(estate: Estate, tenant: TenantId) -> int:
    """Remove what lies in the store of a shredded tenant, but its tombstone; how many objects."""
    removed, names = 0, list[str]()
    async with upkeep_lease(estate, tenant, WORK) as lease:
        async for stored in estate.store.list(f"tenants/{tenant}/"):
            if stored.name == tombstone_name(tenant):
                continue
            names.append(stored.name)
            removed += 1
            if len(names) == BATCH:
                await lease.renew()
                await _remove(estate, names)
                names.clear()
        await _remove(estate, names)
        reach("departure.after_objects")
        async with estate.catalog.directory(write=True) as d:
            await tenants.look_again(d, tenant, estate.clock() + LOOK_AGAIN_MS if removed else None)
    return removed


async def _remove(estate: Estate, names: Sequence[str]) -> None:
    for some in (names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)):
        try:
            async with asyncio.TaskGroup() as group:
                for name in some:
                    group.create_task(estate.store.delete(name))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # what is told is why the first one failed

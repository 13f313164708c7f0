"""One upkeep work per tenant at a time, under a lease that a killed holder leaves behind for five minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from satchel.catalog import upkeep
from satchel.catalog.scope import Scope
from satchel.errors import Unavailable
from satchel.objects.ids import TenantId, new_id
from satchel.upkeep.estate import Estate

LEASE_MS = 5 * 60 * 1000


class UpkeepBusy(Unavailable):
    code = "upkeep.busy"
    default_hint = "Wait until that work has ended, or five minutes if it was killed, and run the command again."


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do upkeep on one tenant. Renew it at least every five minutes."""

    estate: Estate
    tenant: TenantId
    holder: str
    work: str

    async def renew(self) -> None:
        """Prolong the lease. Raises ``UpkeepBusy`` if it was lost."""
        async with self.estate.catalog.write(self.tenant) as s:
            await self.stands(s)

    async def stands(self, s: Scope) -> None:
        """Make sure, inside the transaction of a change, that the lease still stands. Raises ``UpkeepBusy``."""
        now = self.estate.clock()
        if not await upkeep.hold(s, self.holder, now, now + LEASE_MS):
            raise UpkeepBusy(f"this {self.work} took too long to say that it goes on, and lost its turn")

    async def state(self) -> str:
        """What an earlier run of this work noted; empty if there is nothing to go on from."""
        async with self.estate.catalog.read(self.tenant) as s:
            row = await upkeep.find(s)
        return "" if row is None else row.state

    async def note(self, s: Scope, state: str) -> None:
        """Note in a transaction how far the work came, so that its next run goes on from there."""
        await self.stands(s)
        await upkeep.note(s, self.holder, state)


@asynccontextmanager
async def upkeep_lease(estate: Estate, tenant: TenantId, work: str) -> AsyncIterator[Lease]:
    """Hold the lease for the block. A block that ends well forgets the noted state, one that raises keeps it.

    Raises ``UpkeepBusy`` if another work is under way.
    """
    lease = Lease(estate, tenant, new_id("upk", estate.random(16)), work)
    async with estate.catalog.write(tenant) as s:
        now = estate.clock()
        other = await upkeep.take(s, work, lease.holder, now, now + LEASE_MS)
    if other is not None:
        raise UpkeepBusy(f"a {other.work} of this tenant is under way")
    try:
        yield lease
    except BaseException:
        async with estate.catalog.write(tenant) as s:
            now = estate.clock()
            await upkeep.hold(s, lease.holder, now, now)  # given back: the next run need not wait
        raise
    async with estate.catalog.write(tenant) as s:
        row = await upkeep.find(s)
        if row is not None and row.holder == lease.holder:
            await upkeep.forget(s)

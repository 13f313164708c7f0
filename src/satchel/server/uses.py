"""When API keys were last used, to the hour: noted when a key is looked up, and written some time later, in batches.

A request whose credential is remembered does nothing here. A key that is used on and on is looked up again every few
seconds, and of these look-ups one in an hour leaves a note. Notes that are lost, with a process or because the catalog
was away, are made again at the next look-up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from satchel.auth.roles import Principal
from satchel.catalog import principals
from satchel.catalog.principals import USED_WITHIN_MS
from satchel.catalog.scope import Catalog
from satchel.objects.ids import PrincipalId, TenantId

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

MAX_WAITING = 10_000
"""Keys whose use waits to be written; those beyond leave a note another time."""
WRITE_SECONDS = 30.0
"""How often notes are written."""


class Uses:
    """One for a process; for tasks of one event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._waiting: dict[tuple[TenantId, PrincipalId], int] = {}

    def note(self, who: Principal, written: int | None, now: int) -> None:
        """Note that a key was used ``now`` (milliseconds UTC); ``written`` is what the catalog says of it."""
        hour = now - now % USED_WITHIN_MS
        if who.kind != principals.KEY or (written is not None and written >= hour):
            return
        if len(self._waiting) < MAX_WAITING or (who.tenant, who.id) in self._waiting:
            self._waiting[who.tenant, who.id] = hour

    async def write(self) -> None:
        """Write down what was noted, one transaction for each tenant."""
        taken, self._waiting = self._waiting, {}
        by_tenant: dict[TenantId, list[tuple[PrincipalId, int]]] = {}
        for (tenant, key), hour in taken.items():
            by_tenant.setdefault(tenant, []).append((key, hour))
        for tenant, used in by_tenant.items():
            async with self._catalog.write(tenant) as s:
                for key, hour in used:
                    await principals.note_used(s, key, hour)


async def noting(cloud: Cloud) -> None:
    """Write notes again and again, until cancelled."""
    while True:
        await asyncio.sleep(WRITE_SECONDS)
        await cloud.uses.write()

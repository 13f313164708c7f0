"""Moving what is still needed out of packs that are mostly not: whole frames as they rest, others compressed anew.

    new packs in the store  ·  a table of them  ·  the catalog's transaction  ·  the old packs die

The transaction refuses if a commit came to need something meanwhile that was not moved; then nothing has changed but
for new packs that nobody names, and the next run tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from satchel.catalog import packs
from satchel.catalog.packs import NewPack, PlaceRow
from satchel.errors import StoreMissing
from satchel.objects.ids import ProjectId, TenantId
from satchel.store.packs import Place, StoredPack, pack_table
from satchel.sync.failpoints import reach
from satchel.upkeep.estate import Estate

TABLES_AT_ONCE = 256
"""Packs told of in one object of tables."""


async def move(estate: Estate, tenant: TenantId, project: ProjectId, rows: Sequence[PlaceRow]) -> list[NewPack]:
    """Put what ``rows`` name into new packs, durable and told of in the bucket; of long objects all parts.

    Raises ``StoreMissing``, ``SealBroken``, ``WrongKey`` and what puts raise; what was put is deleted then.
    """
    places = await _whole(estate, tenant, project, rows)
    writer = estate.vault.writer(tenant, project)
    try:
        async for frame in estate.vault.read_frames(tenant, project, places):
            await writer.add(frame)
        stored = await writer.finish()
    except BaseException:
        await asyncio.shield(writer.abort())
        raise
    reach("repack.after_packs")
    for start in range(0, len(stored), TABLES_AT_ONCE):
        tables = [pack_table(pack) for pack in stored[start : start + TABLES_AT_ONCE]]
        await estate.vault.put_tables(tenant, project, tables)
    reach("repack.after_tables")
    return [_new(pack) for pack in stored]


async def forget(estate: Estate, tenant: TenantId, project: ProjectId, moved: Sequence[NewPack]) -> None:
    """Delete packs that were made and not needed."""
    for pack in moved:
        await estate.vault.delete(tenant, project, "packs", pack.name)


async def _whole(estate: Estate, tenant: TenantId, project: ProjectId, rows: Sequence[PlaceRow]) -> list[Place]:
    """The places with all parts of each long object: a sequence of frames is written as one."""
    parts: dict[str, int] = {}
    for row in rows:
        parts[row.object] = parts.get(row.object, 0) + 1
    torn = {row.object for row in rows if parts[row.object] < row.parts}
    if not torn:
        return [Place(*row) for row in rows]
    async with estate.catalog.read(tenant) as s:
        found = await packs.places(s, project, torn)
    if torn - {row.object for row in found}:
        raise StoreMissing("a part of a long object is nowhere stored")
    return [Place(*row) for row in (*(row for row in rows if row.object not in torn), *found)]


def _new(pack: StoredPack) -> NewPack:
    return NewPack(pack.name, pack.size, [PlaceRow(*place) for place in pack.places])

"""The bytes of objects by the catalog's word, looked up again where packs moved between the look and the read.

Collect and purge move content to other packs and delete the old ones. Whoever looked before and reads after finds
nothing there, looks again, and goes on where it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from satchel.catalog import packs
from satchel.catalog.packs import PlaceRow
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import ObjectsMissing, StoreMissing
from satchel.objects.frame import Frame
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.store.packs import Place, Vault

LOOKS = 4
"""How often content may move under one read before it counts as missing."""
MAX_NAMED = 10_000
Lookup = Callable[[Scope, str, Iterable[ObjectId]], Awaitable[list[PlaceRow]]]


async def places(
    catalog: Catalog,
    tenant: TenantId,
    project: ProjectId,
    objects: Iterable[ObjectId],
    lookup: Lookup = packs.places,
) -> list[Place]:
    """Where ``objects`` rest. Raises ``ObjectsMissing`` for those that are nowhere in full."""
    wanted = sorted(set(objects))
    async with catalog.read(tenant) as s:
        rows = await lookup(s, project, wanted)
    missing = sorted(set(wanted) - {row.object for row in rows})
    if missing:
        raise ObjectsMissing(f"{len(missing):,} of the objects are not in the project", objects=missing[:MAX_NAMED])
    return [Place(*row) for row in rows]


async def read_objects(
    catalog: Catalog,
    vault: Vault,
    tenant: TenantId,
    project: ProjectId,
    objects: Iterable[ObjectId],
    lookup: Lookup = packs.places,
) -> AsyncIterator[tuple[ObjectId, bytes]]:
    """Every object once, checked. Raises ``ObjectsMissing``, and as ``Vault.read_objects``."""
    left = set(objects)
    for looks_left in reversed(range(LOOKS)):
        found = await places(catalog, tenant, project, left, lookup)
        try:
            async for name, data in vault.read_objects(tenant, project, found):
                left.discard(name)
                yield name, data
            return
        except StoreMissing:
            if not looks_left or not await _moved(catalog, tenant, project, left, found, lookup):
                raise


async def read_frames(
    catalog: Catalog, vault: Vault, tenant: TenantId, project: ProjectId, found: Sequence[Place]
) -> AsyncIterator[Frame]:
    """Frames holding exactly the objects of ``found``, for sending to somebody who checks them; raises as above.

    Once a part of a long object has gone out there is no going back to its first: then what is missing is raised.
    """
    left = {place.object for place in found}
    for looks_left in reversed(range(LOOKS)):
        torn = False
        try:
            async for frame in vault.read_frames(tenant, project, found):
                torn = frame.part < frame.parts - 1
                if not torn:
                    left -= {slot.object for slot in frame.table}
                yield frame
            return
        except StoreMissing:
            before = found
            if torn or not looks_left or not await _moved(catalog, tenant, project, left, before, packs.places):
                raise
            found = await places(catalog, tenant, project, left)


async def _moved(
    catalog: Catalog,
    tenant: TenantId,
    project: ProjectId,
    objects: Iterable[ObjectId],
    before: Sequence[Place],
    lookup: Lookup,
) -> bool:
    """Whether one of the packs has gone from where the objects were."""
    now = await places(catalog, tenant, project, objects, lookup)
    wanted = set(objects)
    return not {place.pack for place in before if place.object in wanted} <= {place.pack for place in now}

"""The server's side of deltas on a pull: an edit told as its difference from what a version held that the reader has.

Only the version named is a source of bases, and only for what has changed under the same path since: both ends are
contents that the caller may read, and a base that was purged or lost is none. What one request makes us read and
compress is bounded; whatever is beyond it, or does not get much shorter, goes out whole as it rests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from satchel.catalog import versions
from satchel.catalog.scope import Catalog
from satchel.errors import Damaged, NoSuchVersion, ObjectsMissing, StoreMissing, VersionExpired
from satchel.objects.delta import MAX_BASE_RAW, MIN_BASE_RAW, make_delta
from satchel.objects.frame import MAX_FRAME_RAW, Frame
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.store.packs import Place, Vault
from satchel.sync import contents
from satchel.sync.wire import MAX_DELTAS

MAX_BYTES = 4 << 20
"""Most content that one request gets as deltas, and most of all their bases: 40 ms of one processor."""
WORTH = 4
"""A delta that is not that many times shorter than its content saves little: what rests is compressed too."""


class _Pair(NamedTuple):
    object: ObjectId
    size: int
    base: ObjectId
    base_size: int


async def packed(
    catalog: Catalog, vault: Vault, tenant: TenantId, project: ProjectId, places: Sequence[Place], since: int
) -> AsyncIterator[bytes]:
    """A pack of the objects of ``places``, as a stream: what ``differences`` tells, then the rest in whole frames."""
    yield encode_pack_start()
    count, told = 0, set[ObjectId]()
    async for delta in differences(catalog, vault, tenant, project, places, since):
        told |= {slot.object for slot in delta.table}
        count += 1
        yield encode_frame(delta)
    left = [place for place in places if place.object not in told]
    async for frame in contents.read_frames(catalog, vault, tenant, project, left):
        count += 1
        yield encode_frame(frame)
    yield encode_pack_end(count)


async def differences(
    catalog: Catalog, vault: Vault, tenant: TenantId, project: ProjectId, places: Sequence[Place], since: int
) -> AsyncIterator[Frame]:
    """Deltas that hold some of the objects of ``places``, each once; none where ``since`` is 0 or not to be read."""
    wanted = {place.object for place in places}
    if not since or len(wanted) > MAX_DELTAS:
        return
    for group in _groups(await _pairs(catalog, tenant, project, wanted, since)):
        names = {name for pair in group for name in (pair.object, pair.base)}
        try:
            found = {name: data async for name, data in contents.read_objects(catalog, vault, tenant, project, names)}
        except (Damaged, ObjectsMissing, StoreMissing):  # purged or lost: what is asked for is looked for again, whole
            continue
        delta = await asyncio.to_thread(_delta, group, found)
        if delta is not None:
            yield delta


async def _pairs(
    catalog: Catalog, tenant: TenantId, project: ProjectId, wanted: set[ObjectId], since: int
) -> list[_Pair]:
    """What is wanted and stands where ``since`` had something else, as far as both are of a size for a delta."""
    found: dict[ObjectId, _Pair] = {}
    try:
        async with catalog.read(tenant) as s:
            head = await versions.head(s, project)
            if since >= head.version:
                return []
            rows = [row for row in await versions.changes(s, project, since, head.version) if row.object in wanted]
            before = await versions.entries_at(s, project, [row.path for row in rows], since)
    except (NoSuchVersion, VersionExpired):
        return []
    room = MAX_BYTES
    for row in rows:
        was = before.get(row.path)
        if was is None or row.object in found or max(row.size, was.size) > room:
            continue
        if row.size <= MAX_FRAME_RAW and MIN_BASE_RAW <= was.size <= MAX_BASE_RAW:
            found[ObjectId(row.object)] = _Pair(ObjectId(row.object), row.size, ObjectId(was.object), was.size)
            room -= max(row.size, was.size)
    return list(found.values())


def _groups(pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """As many as one delta holds."""
    group: list[_Pair] = []
    held = beside = 0
    for pair in pairs:
        if group and (held + pair.size > MAX_FRAME_RAW or beside + pair.base_size > MAX_BASE_RAW):
            yield group
            group, held, beside = [], 0, 0
        group.append(pair)
        held, beside = held + pair.size, beside + pair.base_size
    if group:
        yield group


def _delta(group: Sequence[_Pair], found: dict[ObjectId, bytes]) -> Frame | None:
    bases = {pair.base: found[pair.base] for pair in group}
    delta = make_delta([(pair.object, found[pair.object]) for pair in group], list(bases.items()))
    return delta if len(encode_frame(delta)) * WORTH < delta.raw_size else None

"""Which pack holds which object, and what a pack is good for.

A pack is ``pending`` from the moment its bytes are durable until a commit relies on it, then ``live``; ``dying`` when
it is about to be collected, and then it counts as absent. An object may rest in several packs; one longer than a
frame has several parts, each 1 MiB but the last, which may lie in different packs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from satchel.catalog.schema import TENANT, mine, pack, place, usage
from satchel.catalog.scope import Record, Scope, chunks
from satchel.objects.ids import FrameId, ObjectId

PENDING = "pending"
LIVE = "live"
DYING = "dying"


class PlaceRow(NamedTuple):
    """Where one part of an object rests: bytes ``offset`` .. ``offset + length`` of a frame's content, the frame being
    bytes ``pack_offset`` .. ``pack_offset + pack_length`` of a pack."""

    object: ObjectId
    part: int
    parts: int
    size: int
    """Of the whole object."""
    pack: str
    frame: FrameId
    pack_offset: int
    pack_length: int
    offset: int
    length: int


class PackRow(NamedTuple):
    """A pack and everything that lies in it, in the order it rests."""

    name: str
    size: int
    frames: int
    places: tuple[PlaceRow, ...]


_PLACE_COLUMNS = [place.c[name] for name in PlaceRow._fields]
_IN_PROJECT = and_(mine(place), place.c.project_id == bindparam("project"))

_INSERT_PACK = insert(pack).values(tenant_id=TENANT)
_INSERT_PLACE = insert(place).values(tenant_id=TENANT)
_ADD_USE = update(usage).where(mine(usage)).values(stored_bytes=usage.c.stored_bytes + bindparam("more"))
_IN_PACKS = place.join(pack, and_(mine(pack), pack.c.project_id == place.c.project_id, pack.c.pack == place.c.pack))
_WHERE = (
    select(place.c.object, place.c.part, place.c.parts, place.c.size, place.c.length, place.c.pack)
    .select_from(_IN_PACKS)
    .where(
        *_IN_PROJECT,
        place.c.object.in_(bindparam("objects", expanding=True)),
        pack.c.state.in_(bindparam("states", expanding=True)),
    )
    .order_by(place.c.object, pack.c.state, place.c.pack, place.c.part)  # `live` sorts before `pending`
)
_FIND = _WHERE.add_columns(place.c.frame, place.c.pack_offset, place.c.pack_length, place.c.offset)
_LOCK = (
    select(pack.c.pack)
    .where(mine(pack), pack.c.project_id == bindparam("project"))
    .where(pack.c.pack.in_(bindparam("packs", expanding=True)), pack.c.state != DYING)
    .with_for_update()
)
_MAKE_LIVE = (
    update(pack)
    .where(mine(pack), pack.c.project_id == bindparam("of_project"))
    .where(pack.c.pack.in_(bindparam("packs", expanding=True)), pack.c.state == PENDING)
    .values(state=LIVE, lease_until=None)
)
_BEGIN_TO_DIE = (
    update(pack)
    .where(mine(pack), pack.c.project_id == bindparam("of_project"))
    .where(pack.c.pack == bindparam("old"), pack.c.state == LIVE)
    .values(state=DYING, dying_since=bindparam("at"))
)
_PENDING_SIZES = (
    select(pack.c.pack, pack.c.size)
    .where(mine(pack), pack.c.project_id == bindparam("project"), pack.c.state == PENDING)
    .where(pack.c.pack.in_(bindparam("packs", expanding=True)))
)
_PENDING = (
    select(pack.c.pack, pack.c.size, pack.c.frames)
    .where(mine(pack), pack.c.project_id == bindparam("project"), pack.c.state == PENDING)
    .where(pack.c.pack.in_(bindparam("packs", expanding=True)))
)
_PLACES_IN = (
    select(*_PLACE_COLUMNS)
    .where(_IN_PROJECT, place.c.pack == bindparam("pack"))
    .order_by(place.c.pack_offset, place.c.offset, place.c.length)
)
_DROP_PLACES = delete(place).where(_IN_PROJECT, place.c.pack.in_(bindparam("packs", expanding=True)))
_DROP_PACKS = delete(pack).where(
    mine(pack), pack.c.project_id == bindparam("project"), pack.c.pack.in_(bindparam("packs", expanding=True))
)
_ALL_PLACES = (
    select(*_PLACE_COLUMNS)
    .select_from(_IN_PACKS)
    .where(_IN_PROJECT, pack.c.state == LIVE)
    .order_by(place.c.pack, place.c.pack_offset, place.c.offset)
)


async def add_pack(
    s: Scope,
    project: str,
    name: str,
    size: int,
    places: Sequence[PlaceRow],
    lease_until: int,
    *,
    now: int | None = None,
) -> None:
    """Record a pack whose bytes are durable, as pending until ``lease_until``, and count its bytes as used.

    ``places`` name this pack; ``size`` is what the pack takes at rest.
    """
    await s.execute(
        _INSERT_PACK,
        {
            "project_id": project,
            "pack": name,
            "state": PENDING,
            "size": size,
            "frames": len({row.frame for row in places}),
            "created": lease_until if now is None else now,
            "lease_until": lease_until,
        },
    )
    await s.execute_many(_INSERT_PLACE, ("project_id", *PlaceRow._fields), ((project, *row) for row in places))
    await s.execute(_ADD_USE, {"more": size})


async def replace_pack(
    s: Scope, project: str, old: str, name: str, size: int, places: Sequence[PlaceRow], now: int
) -> bool:
    """Let ``name``, whose bytes are durable, take the place of the live pack ``old``, which begins to die ``now``.

    ``places`` name the new pack and hold all that is still wanted of the old one. False, and nothing is changed, if
    ``old`` is not live any more. The bytes of the old pack stay, and count as used, until they are collected.
    """
    if await s.execute(_BEGIN_TO_DIE, {"of_project": project, "old": old, "at": now}) != 1:
        return False
    await s.execute(_DROP_PLACES, {"project": project, "packs": [old]})
    if places:
        await add_pack(s, project, name, size, places, now, now=now)
        await s.execute(_MAKE_LIVE, {"of_project": project, "packs": [name]})
    return True


async def forget_packs(s: Scope, project: str, names: Sequence[str]) -> list[str]:
    """Take back pending packs and their places; returns the names taken back, whose bytes may now be deleted.

    A pack a commit relies on is left alone.
    """
    rows = await s.rows(_PENDING_SIZES, {"project": project, "packs": list(names)})
    gone = [row.pack for row in rows]
    if gone:
        await s.execute(_DROP_PLACES, {"project": project, "packs": gone})
        await s.execute(_DROP_PACKS, {"project": project, "packs": gone})
        await s.execute(_ADD_USE, {"more": -sum(row.size for row in rows)})
    return gone


async def places(s: Scope, project: str, objects: Iterable[ObjectId]) -> list[PlaceRow]:
    """All parts of the named objects in packs that commits rely on, each part once, parts in order.

    An object that is not there in full has no rows.
    """
    return await _places(s, project, objects, [LIVE])


async def available(s: Scope, project: str, objects: Iterable[ObjectId]) -> list[PlaceRow]:
    """As ``places``, and in packs sent ahead of their commit too: what a commit may name."""
    return await _places(s, project, objects, [LIVE, PENDING])


async def _places(s: Scope, project: str, objects: Iterable[ObjectId], states: list[str]) -> list[PlaceRow]:
    found: list[PlaceRow] = []
    for chunk in chunks(list(dict.fromkeys(objects))):
        rows = await s.rows(_FIND, {"project": project, "objects": list(chunk), "states": states})
        found.extend(_choose(rows))
    return found


async def pending_packs(s: Scope, project: str, names: Sequence[str]) -> list[PackRow]:
    """Those of the named packs that no commit relies on yet, with all that lies in them."""
    found: list[PackRow] = []
    for chunk in chunks(names):
        for row in await s.rows(_PENDING, {"project": project, "packs": list(chunk)}):
            rows = await s.rows(_PLACES_IN, {"project": project, "pack": row.pack})
            found.append(PackRow(row.pack, row.size, row.frames, tuple(PlaceRow._make(place) for place in rows)))
    return found


async def all_places(s: Scope, project: str) -> list[PlaceRow]:
    """Every place in the packs commits rely on, in the order they rest: what a check of the store walks."""
    return [PlaceRow._make(row) for row in await s.rows(_ALL_PLACES, {"project": project})]


async def missing(s: Scope, project: str, objects: Iterable[ObjectId]) -> list[ObjectId]:
    """Those of ``objects`` that the project does not hold in full, neither live nor pending."""
    asked = list(dict.fromkeys(objects))
    there = await _packs_holding(s, project, asked)
    return [name for name in asked if name not in there]


async def rely_on(s: Scope, project: str, objects: Iterable[ObjectId], names: Sequence[str]) -> list[ObjectId]:
    """Make live the packs in ``names`` and those holding ``objects``; returns the objects that are missing.

    The pack rows stay locked until the transaction ends, so that none can begin to die meanwhile.
    """
    asked = list(dict.fromkeys(objects))
    holding = await _packs_holding(s, project, asked)
    needed = sorted(set().union(names, *set(holding.values())))
    locked: set[str] = set()
    for chunk in chunks(needed):
        rows = await s.rows(_LOCK, {"project": project, "packs": list(chunk)})
        locked.update(row.pack for row in rows)
        await s.execute(_MAKE_LIVE, {"of_project": project, "packs": list(chunk)})
    # A pack may have begun to die between the look and the lock.
    standing = {packs: locked.issuperset(packs) for packs in set(holding.values())}
    return [name for name in asked if name not in holding or not standing[holding[name]]]


async def _packs_holding(s: Scope, project: str, objects: Sequence[ObjectId]) -> dict[ObjectId, tuple[str, ...]]:
    """For each object that is there in full, live or pending, the packs of its parts."""
    holding: dict[ObjectId, tuple[str, ...]] = {}
    for chunk in chunks(objects):
        rows = await s.rows(_WHERE, {"project": project, "objects": list(chunk), "states": [LIVE, PENDING]})
        long: list[Record] = []
        for row in rows:
            if row[2] == 1:
                holding.setdefault(row[0], (row[5],))
            else:
                long.append(row)
        for parts in _whole(long).values():
            holding[parts[0][0]] = tuple(part[5] for part in parts)
    return holding


def _choose(rows: Sequence[Record]) -> list[PlaceRow]:
    """One row for each part of each object that is there in full."""
    return [
        PlaceRow(name, part, parts, size, pack_name, frame, pack_offset, pack_length, offset, length)
        for held in _whole(rows).values()
        for name, part, parts, size, length, pack_name, frame, pack_offset, pack_length, offset in held
    ]


def _whole(rows: Sequence[Record]) -> dict[ObjectId, list[Record]]:
    """The parts in order of each object that is there in full; of several copies the first, live before pending.

    A row begins with object, part, parts, size, length, pack.
    """
    found: dict[ObjectId, dict[int, Record]] = {}
    for row in rows:
        found.setdefault(row[0], {}).setdefault(row[1], row)
    return {
        name: [held[part] for part in sorted(held)]
        for name, held in found.items()
        if len(held) == held[min(held)][2] and sum(row[4] for row in held.values()) == held[min(held)][3]
    }

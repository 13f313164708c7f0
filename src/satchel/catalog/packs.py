"""Which pack holds which object, and what a pack is good for.

A pack is ``pending`` from the moment its bytes are durable until a commit relies on it, then ``live``; ``dying`` once
no readable version needs it, and then it counts as absent, although its bytes and places stay for the backup window.
An object may rest in several packs; one longer than a frame has several parts, each 1 MiB but the last, which may lie
in different packs. What makes packs die is in ``satchel.catalog.dying``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from satchel.catalog.schema import TENANT, entry, mine, pack, place, usage
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


class NewPack(NamedTuple):
    """A pack whose bytes are durable, to take the place of others."""

    name: str
    size: int
    places: Sequence[PlaceRow]


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
    select(pack.c.pack, pack.c.state, pack.c.size)
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
_MARK_DYING = (
    update(pack)
    .where(mine(pack), pack.c.project_id == bindparam("of_project"))
    .where(pack.c.pack.in_(bindparam("packs", expanding=True)))
    .values(state=DYING, dying_since=bindparam("at"), lease_until=None)
)
_NEEDED_SINCE = (
    select(entry.c.object)
    .distinct()
    .where(mine(entry), entry.c.project_id == bindparam("project"), entry.c.since > bindparam("seen"))
    .where(or_(entry.c.until.is_(None), entry.c.until > bindparam("floor")))
)
_PARTS_IN = select(place.c.pack, place.c.object, place.c.part).where(
    _IN_PROJECT,
    place.c.object.in_(bindparam("objects", expanding=True)),
    place.c.pack.in_(bindparam("packs", expanding=True)),
)
_ALL_PARTS_IN = select(place.c.object, place.c.part).where(
    _IN_PROJECT, place.c.pack.in_(bindparam("packs", expanding=True))
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
    await s.later(
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
    await s.later(_ADD_USE, {"more": size})


async def replace_packs(
    s: Scope, project: str, old: Sequence[str], new: Sequence[NewPack], now: int, *, seen: int = -1, floor: int = 0
) -> bool:
    """Let ``new`` take the place of the live packs ``old``, which begin to die ``now``.

    ``new`` holds all of the old packs that versions from ``floor`` on need, as far as was known at version ``seen``
    (default: nothing is known). False, and nothing is changed, if an old pack is not live any more, or if something
    that is needed would have no place.
    """
    if (await lock_live(s, project, old)).keys() != set(old):
        return False
    moved = {(row.object, row.part) for each in new for row in each.places}
    left = [
        row for chunk in chunks(old) for row in await s.rows(_ALL_PARTS_IN, {"project": project, "packs": list(chunk)})
    ]
    if not moved.issuperset((row.object, row.part) for row in left):
        needed = await needed_since(s, project, old, seen, floor)
        lost = {row.object for row in needed if (row.object, row.part) not in moved}
        elsewhere = {row.object for row in await places(s, project, lost) if row.pack not in set(old)}
        if lost - elsewhere:
            return False
    await mark_dying(s, project, old, now)
    for each in new:
        await add_pack(s, project, each.name, each.size, each.places, now, now=now)
        await s.execute(_MAKE_LIVE, {"of_project": project, "packs": [each.name]})
    return True


async def lock_live(s: Scope, project: str, names: Sequence[str]) -> dict[str, int]:
    """Those of ``names`` that are live, with their sizes, locked against commits until the transaction ends."""
    found: dict[str, int] = {}
    for chunk in chunks(names):
        rows = await s.rows(_LOCK, {"project": project, "packs": list(chunk)})
        found.update((row.pack, row.size) for row in rows if row.state == LIVE)
    return found


async def mark_dying(s: Scope, project: str, names: Sequence[str], now: int) -> None:
    """Let packs die, whatever needs them: the caller has made sure, under ``lock_live``."""
    for chunk in chunks(names):
        await s.execute(_MARK_DYING, {"of_project": project, "packs": list(chunk), "at": now})


async def needed_since(s: Scope, project: str, names: Sequence[str], seen: int, floor: int) -> list[Record]:
    """(pack, object, part) of what, in the packs ``names``, versions above ``seen`` brought that ``floor`` on need."""
    objects = [row.object for row in await s.rows(_NEEDED_SINCE, {"project": project, "seen": seen, "floor": floor})]
    found: list[Record] = []
    for some in chunks(objects):
        for chunk in chunks(names):
            found += await s.rows(_PARTS_IN, {"project": project, "objects": list(some), "packs": list(chunk)})
    return found


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
    """Make live the packs in ``names``; returns those of ``objects`` that are neither there nor in another live pack.

    The rows of the packs relied on stay locked until the transaction ends, so that none can begin to die meanwhile.
    A pending pack that is not in ``names`` is not relied on: the commit record would not tell what lies in it.
    """
    asked = list(dict.fromkeys(objects))
    holding = await _packs_holding(s, project, asked)
    needed = sorted(set().union(names, *set(holding.values())))
    brought = set(names)
    standing: set[str] = set()
    for chunk in chunks(needed):
        rows = await s.rows(_LOCK, {"project": project, "packs": list(chunk)})
        standing.update(row.pack for row in rows if row.state == LIVE or row.pack in brought)
    for chunk in chunks(sorted(brought)):
        await s.later(_MAKE_LIVE, {"of_project": project, "packs": list(chunk)})
    # A pack may have begun to die between the look and the lock.
    whole = {packs: standing.issuperset(packs) for packs in set(holding.values())}
    return [name for name in asked if name not in holding or not whole[holding[name]]]


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

"""How packs come to their end: from pending or live to dying, and from dying to gone.

    pending, its lease over      -> gone
    live, and nothing needs it   -> dying -> gone, after the backup window
    live, its content moved      -> dying -> gone, after the backup window
    any, holding purged content  -> dying since 0, which is past every window -> gone

What needs a pack is looked for outside the transaction that takes it, since that look is long. The transaction then
locks the pack rows, as every commit does that relies on them, and looks again at what was committed since: entries are
only added above the head that the long look began with, and the floor only rises. A commit that comes later finds the
pack dying and is told that its objects are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, case, delete, func, or_, select, update

from satchel.catalog.packs import DYING, LIVE, PENDING, PlaceRow, lock_live, mark_dying, needed_since
from satchel.catalog.schema import entry, mine, pack, place, usage
from satchel.catalog.scope import Scope, chunks
from satchel.objects.ids import ObjectId

AT_ONCE = 0
"""As ``dying_since``: past every backup window."""


class PackUse(NamedTuple):
    """How much of a live pack readable versions need: in objects (parts of long ones) and in bytes of content."""

    name: str
    size: int
    """At rest."""
    content: int
    wanted: int
    wanted_places: int


class PackSize(NamedTuple):
    name: str
    size: int
    """At rest."""


class HoldingPack(NamedTuple):
    name: str
    size: int
    state: str


_PROJECT = bindparam("project", type_=pack.c.project_id.type)
_OF_PROJECT = and_(mine(pack), pack.c.project_id == _PROJECT)
_NEEDED = (
    select(entry.c.object)
    .where(mine(entry), entry.c.project_id == _PROJECT)
    .where(or_(entry.c.until.is_(None), entry.c.until > bindparam("floor")))
)
_IS_NEEDED = place.c.object.in_(_NEEDED)
_PLACES_OF = pack.outerjoin(
    place, and_(mine(place), place.c.project_id == pack.c.project_id, place.c.pack == pack.c.pack)
)
_USES = (
    select(
        pack.c.pack,
        pack.c.size,
        func.coalesce(func.sum(place.c.length), 0),
        func.coalesce(func.sum(case((_IS_NEEDED, place.c.length), else_=0)), 0),
        func.coalesce(func.sum(case((_IS_NEEDED, 1), else_=0)), 0),
    )
    .select_from(_PLACES_OF)
    .where(_OF_PROJECT, pack.c.state == LIVE)
    .group_by(pack.c.pack, pack.c.size)
    .order_by(pack.c.pack)
)
_IN_PACKS = (mine(place), place.c.project_id == _PROJECT, place.c.pack.in_(bindparam("packs", expanding=True)))
_PLACES = select(*(place.c[name] for name in PlaceRow._fields)).where(*_IN_PACKS)
_ORDER = (place.c.pack, place.c.pack_offset, place.c.offset, place.c.length)
_NEEDED_PLACES = _PLACES.where(_IS_NEEDED).order_by(*_ORDER)
_EXPIRED = (
    select(pack.c.pack, pack.c.size)
    .where(_OF_PROJECT, pack.c.state == PENDING, pack.c.lease_until <= bindparam("now"))
    .order_by(pack.c.pack)
)
_EXPIRED_LOCKED = _EXPIRED.with_for_update()
_DEAD = (
    select(pack.c.pack, pack.c.size)
    .where(_OF_PROJECT, pack.c.state == DYING, pack.c.dying_since <= bindparam("until"))
    .order_by(pack.c.pack)
)
_HOLDING = (
    select(pack.c.pack, pack.c.size, pack.c.state)
    .distinct()
    .select_from(
        place.join(pack, and_(mine(pack), pack.c.project_id == place.c.project_id, pack.c.pack == place.c.pack))
    )
    .where(mine(place), place.c.project_id == _PROJECT, place.c.object.in_(bindparam("objects", expanding=True)))
)
_NAMES = select(pack.c.pack, pack.c.size).where(_OF_PROJECT)
_DROP_PLACES = delete(place).where(*_IN_PACKS)
_DROP_PACKS = delete(pack).where(_OF_PROJECT, pack.c.pack.in_(bindparam("packs", expanding=True)))
_LESS_USE = update(usage).where(mine(usage)).values(stored_bytes=usage.c.stored_bytes - bindparam("less"))


async def uses(s: Scope, project: str, floor: int) -> list[PackUse]:
    """What versions from ``floor`` on need of each live pack. Looks through all entries of the project once."""
    return [PackUse._make(row) for row in await s.rows(_USES, {"project": project, "floor": floor})]


async def needed_places(s: Scope, project: str, packs: Sequence[str], floor: int) -> list[PlaceRow]:
    """What versions from ``floor`` on need of these packs, in the order it rests."""
    found: list[PlaceRow] = []
    for chunk in chunks(packs):
        rows = await s.rows(_NEEDED_PLACES, {"project": project, "packs": list(chunk), "floor": floor})
        found += [PlaceRow._make(row) for row in rows]
    return found


async def begin_to_die(s: Scope, project: str, names: Sequence[str], seen: int, floor: int, now: int) -> list[PackSize]:
    """Mark packs that nothing needed at version ``seen``, unless a later commit relies on them; returns the marked."""
    locked = await lock_live(s, project, names)
    relied_on = {row.pack for row in await needed_since(s, project, list(locked), seen, floor)}
    marked = [PackSize(name, size) for name, size in locked.items() if name not in relied_on]
    await mark_dying(s, project, [row.name for row in marked], now)
    return marked


async def drop_expired(s: Scope, project: str, now: int) -> list[PackSize]:
    """Forget pending packs whose lease has ended; their bytes may be deleted once this has committed."""
    rows = [PackSize._make(row) for row in await s.rows(_EXPIRED_LOCKED, {"project": project, "now": now})]
    await _drop(s, project, rows)
    return rows


async def expired(s: Scope, project: str, now: int) -> list[PackSize]:
    """Pending packs whose lease has ended."""
    return [PackSize._make(row) for row in await s.rows(_EXPIRED, {"project": project, "now": now})]


async def dead(s: Scope, project: str, until: int) -> list[PackSize]:
    """Packs that have been dying since ``until`` or longer: their bytes may be deleted, and then their rows."""
    return [PackSize._make(row) for row in await s.rows(_DEAD, {"project": project, "until": until})]


async def drop_dead(s: Scope, project: str, rows: Sequence[PackSize]) -> None:
    """Forget dying packs whose bytes were deleted, and count those as used no more."""
    there = {row.pack for row in await s.rows(_NAMES, {"project": project})}
    await _drop(s, project, [row for row in rows if row.name in there])


async def condemn(s: Scope, project: str, names: Sequence[str]) -> None:
    """Make packs of any state die at once: their bytes may be deleted as soon as this has committed."""
    await mark_dying(s, project, names, AT_ONCE)


async def holding(s: Scope, project: str, objects: Iterable[ObjectId]) -> list[HoldingPack]:
    """Packs of any state that hold one of ``objects``, or a part of it."""
    found: set[HoldingPack] = set()
    for chunk in chunks(sorted(set(objects))):
        rows = await s.rows(_HOLDING, {"project": project, "objects": list(chunk)})
        found |= {HoldingPack._make(row) for row in rows}
    return sorted(found)


async def names(s: Scope, project: str) -> dict[str, int]:
    """Every pack of the project with its size, whatever its state."""
    return {row.pack: row.size for row in await s.rows(_NAMES, {"project": project})}


async def _drop(s: Scope, project: str, rows: Sequence[PackSize]) -> None:
    for chunk in chunks([row.name for row in rows]):
        await s.execute(_DROP_PLACES, {"project": project, "packs": list(chunk)})
        await s.execute(_DROP_PACKS, {"project": project, "packs": list(chunk)})
    if rows:
        await s.execute(_LESS_USE, {"less": sum(row.size for row in rows)})

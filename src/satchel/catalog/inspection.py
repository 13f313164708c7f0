"""What a check of a project reads: its rows as they stand, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, cast, func, or_, select, tuple_

from satchel.catalog.packs import LIVE, PlaceRow
from satchel.catalog.schema import TEXT, entry, mine, pack, place, project, purged, usage, version
from satchel.catalog.scope import Record, Scope, chunks
from satchel.catalog.versions import VersionRow
from satchel.objects.ids import FrameId, ObjectId

PAGE = 1_000
MAX_PLACES_NAMED = 20
"""Most paths and versions that are named of what is affected; the rest is counted."""


class PackState(NamedTuple):
    name: str
    state: str
    size: int
    frames: int


class FrameHeld(NamedTuple):
    """What the rows of places say of a frame and of what lies in it, in the order in which it rests."""

    frame: FrameId
    offset: int
    length: int
    part: int
    parts: int
    held: list[str]
    """Of each object: its id, its whole size, its offset and its length in the frame's content."""


class Held(NamedTuple):
    """A file of a tree, as a commit record tells of it too."""

    path: str
    mode: str
    object: ObjectId
    size: int


class Where(NamedTuple):
    """A path, and the versions it had some content in: from ``since`` up to and not including ``until``."""

    path: str
    since: int
    until: int | None


_OF_PROJECT = (mine(pack), pack.c.project_id == bindparam("project"))
_PACK_COLUMNS = (pack.c.pack, pack.c.state, pack.c.size, pack.c.frames)
_PACKS = select(*_PACK_COLUMNS).where(*_OF_PROJECT, pack.c.pack > bindparam("after")).order_by(pack.c.pack).limit(PAGE)
_ONE_PACK = select(*_PACK_COLUMNS).where(*_OF_PROJECT, pack.c.pack == bindparam("pack"))
_STORED = select(func.sum(pack.c.size)).where(mine(pack))
_COUNTED = select(usage.c.stored_bytes, func.coalesce(_STORED.scalar_subquery(), 0)).where(mine(usage))
_PLACES = (
    select(*(place.c[name] for name in PlaceRow._fields))
    .with_hint(place, "INDEXED BY ix_place_tenant_id_project_id_pack", "sqlite")  # else it reads all the project's
    .where(mine(place), place.c.project_id == bindparam("project"), place.c.pack == bindparam("pack"))
    .order_by(place.c.pack_offset, place.c.offset, place.c.length)
)
_HELD = _PLACES.add_columns(
    (
        place.c.object + " " + cast(place.c.size, TEXT) + " " + cast(place.c.offset, TEXT) + " "
        + cast(place.c.length, TEXT)
    ).label("held")
).subquery()  # fmt: skip
_OF_FRAME = (_HELD.c.frame, _HELD.c.pack_offset, _HELD.c.pack_length, _HELD.c.part, _HELD.c.parts)
_FRAMES = (
    select(*_OF_FRAME, func.aggregate_strings(_HELD.c.held, " ")).group_by(*_OF_FRAME).order_by(_HELD.c.pack_offset)
)
_FLOOR = select(project.c.floor).where(mine(project), project.c.project_id == bindparam("project"))
_VERSIONS = (
    select(*(version.c[name] for name in VersionRow._fields))
    .where(mine(version), version.c.project_id == bindparam("project"), version.c.version > bindparam("after"))
    .order_by(version.c.version)
    .limit(PAGE)
)
_ENTRIES = select(entry.c.path, entry.c.mode, entry.c.object, entry.c.size).where(
    mine(entry), entry.c.project_id == bindparam("project")
)
_SET_AT = _ENTRIES.where(entry.c.since == bindparam("at"))
_SET_LINES = (
    select((entry.c.mode + " " + entry.c.object + " " + cast(entry.c.size, TEXT) + " " + entry.c.path).label("line"))
    .where(mine(entry), entry.c.project_id == bindparam("project"), entry.c.since == bindparam("at"))
    .order_by(entry.c.path)
    .subquery()
)
_SET_TEXT = select(func.count(_SET_LINES.c.line), func.aggregate_strings(_SET_LINES.c.line, "\n"))
_ENDED_AT = select(entry.c.path).where(
    mine(entry), entry.c.project_id == bindparam("project"), entry.c.until == bindparam("at")
)
_STANDING = (
    _ENTRIES.where(entry.c.since <= bindparam("at"), or_(entry.c.until.is_(None), entry.c.until > bindparam("at")))
    .where(entry.c.path > bindparam("after"))
    .order_by(entry.c.path)
    .limit(PAGE)
)
# Values and no EXISTS: those are looked up for each file by the keys, while the database makes a join of an EXISTS.
# Before it has counted what is in its tables, after a restore, that compared each file with every pack. Each names the
# tenant of what is around it too: the guard knows of no query there.
_STATE = (
    select(pack.c.state)
    .where(*_OF_PROJECT, pack.c.pack == place.c.pack, mine(place))
    .correlate(place)
    .scalar_subquery()
)
_WHOLE = (
    select(place.c.object)
    .where(mine(place), place.c.project_id == bindparam("project"), place.c.object == entry.c.object)
    .where(place.c.parts == 1, _STATE == LIVE, mine(entry))
    .limit(1)
    .correlate(entry)
    .scalar_subquery()
)
_NOT_WHOLE = (
    select(entry.c.path, entry.c.since, entry.c.object)
    .where(mine(entry), entry.c.project_id == bindparam("project"), _WHOLE.is_(None))
    .where(or_(entry.c.until.is_(None), entry.c.until > bindparam("floor")))
    .where(tuple_(entry.c.path, entry.c.since) > tuple_(bindparam("path"), bindparam("since")))
    .order_by(entry.c.path, entry.c.since)
    .limit(PAGE)
)
_HOLDERS = (
    select(entry.c.path, entry.c.since, entry.c.until)
    .where(mine(entry), entry.c.project_id == bindparam("project"))
    .where(or_(entry.c.until.is_(None), entry.c.until > bindparam("floor")))
    .where(entry.c.object.in_(bindparam("objects", expanding=True)))
    .order_by(entry.c.since.desc(), entry.c.path)
)
_PURGED = (
    select(purged.c.object)
    .where(mine(purged), purged.c.project_id == bindparam("project"))
    .where(purged.c.object.in_(bindparam("objects", expanding=True)))
)


async def floor(s: Scope, of_project: str) -> int:
    """The oldest version that is to be readable; 0 or 1 for all, and 0 for a project that is gone."""
    row = await s.row(_FLOOR, {"project": of_project})
    return 0 if row is None else int(row[0])


async def stored_bytes(s: Scope) -> int:
    """The bytes of all packs of the tenant."""
    row = await s.row(_STORED)
    return int(row[0] or 0) if row is not None else 0


async def counted_bytes(s: Scope) -> tuple[int, int]:
    """What the tenant is said to store, and what its packs take, at one moment."""
    row = await s.row(_COUNTED)
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


async def packs_after(s: Scope, of_project: str, after: str = "") -> list[PackState]:
    """The next packs by name, in whatever state."""
    return [PackState._make(row) for row in await s.rows(_PACKS, {"project": of_project, "after": after})]


async def pack_state(s: Scope, of_project: str, name: str) -> PackState | None:
    """One pack; ``None`` if no row names it (any more)."""
    row = await s.row(_ONE_PACK, {"project": of_project, "pack": name})
    return None if row is None else PackState._make(row)


async def places_in(s: Scope, of_project: str, name: str) -> list[PlaceRow]:
    """All that lies in one pack, in the order it rests."""
    return [PlaceRow._make(row) for row in await s.rows(_PLACES, {"project": of_project, "pack": name})]


async def frames_in(s: Scope, of_project: str, name: str) -> list[FrameHeld]:
    """As ``places_in``, a row for each frame: many times cheaper, and meant to be looked at again if it seems wrong."""
    rows = await s.rows(_FRAMES, {"project": of_project, "pack": name})
    return [FrameHeld(row[0], row[1], row[2], row[3], row[4], row[5].split(" ")) for row in rows]


async def versions_after(s: Scope, of_project: str, after: int) -> list[VersionRow]:
    """The next versions, oldest first."""
    return [VersionRow._make(row) for row in await s.rows(_VERSIONS, {"project": of_project, "after": after})]


async def set_at(s: Scope, of_project: str, at: int) -> dict[str, Held]:
    """The entries that begin with version ``at``, by path."""
    return _by_path(await s.rows(_SET_AT, {"project": of_project, "at": at}))


async def begins_alike(s: Scope, of_project: str, at: int, expected: Mapping[str, Held]) -> bool:
    """Whether the entries that begin with version ``at`` are ``expected``, by path.

    The database writes them as one text, which costs a tenth of a row for each. No part of an entry has a line's end.
    """
    row = await s.row(_SET_TEXT, {"project": of_project, "at": at})
    lines = [f"{held.mode} {held.object} {held.size} {path}" for path, held in sorted(expected.items())]
    return row is not None and (row[0], row[1] or "") == (len(lines), "\n".join(lines))


async def ended_at(s: Scope, of_project: str, at: int) -> set[str]:
    """The paths of entries that end with version ``at``."""
    return {row[0] for row in await s.rows(_ENDED_AT, {"project": of_project, "at": at})}


async def standing(s: Scope, of_project: str, at: int) -> dict[str, Held]:
    """The tree of version ``at`` by path, nobody's authors looked up."""
    found: dict[str, Held] = {}
    after = ""
    while page := await s.rows(_STANDING, {"project": of_project, "at": at, "after": after}):
        found |= _by_path(page)
        after = page[-1][0]
    return found


async def not_whole(
    s: Scope, of_project: str, least: int, after: tuple[str, int] = ("", 0)
) -> list[tuple[str, int, ObjectId]]:
    """Path, first version and object of the next entries that a version from ``least`` on holds, and whose object is
    not in one part in a pack that commits rely on: it is long, or it is lost."""
    params = {"project": of_project, "floor": least, "path": after[0], "since": after[1]}
    return [(row[0], row[1], row[2]) for row in await s.rows(_NOT_WHOLE, params)]


async def holders(s: Scope, of_project: str, objects: Sequence[ObjectId]) -> tuple[list[Where], int]:
    """Where readable versions hold any of ``objects``: the newest, and how many in all."""
    least = await floor(s, of_project)
    found: list[Where] = []
    count = 0
    for chunk in chunks(objects):
        rows = await s.rows(_HOLDERS, {"project": of_project, "objects": list(chunk), "floor": least})
        count += len(rows)
        found += [Where._make(row) for row in rows[:MAX_PLACES_NAMED]]
    found.sort(key=lambda where: (-where.since, where.path))
    return found[:MAX_PLACES_NAMED], count


async def purged_among(s: Scope, of_project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
    """Those of ``objects`` that were removed on purpose."""
    found: set[ObjectId] = set()
    for chunk in chunks(objects):
        found.update(row[0] for row in await s.rows(_PURGED, {"project": of_project, "objects": list(chunk)}))
    return found


def _by_path(rows: Sequence[Record]) -> dict[str, Held]:
    return {row[0]: Held._make(row) for row in rows}

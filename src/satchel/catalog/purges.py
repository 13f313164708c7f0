"""What was purged: objects removed on purpose from every version that held them.

A purged object has no place until somebody sends its bytes again; then it is new content, and not purged any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from satchel.catalog.schema import TENANT, entry, mine, purged
from satchel.catalog.schema import project as project_table
from satchel.catalog.scope import Scope, chunks
from satchel.objects.ids import ObjectId

_OF_PROJECT = (mine(purged), purged.c.project_id == bindparam("project"))
_SOME = purged.c.object.in_(bindparam("objects", expanding=True))
_ANY = select(purged.c.object).where(*_OF_PROJECT).limit(1)
_FIND = select(purged.c.object).where(*_OF_PROJECT, _SOME)
_ALL = select(purged.c.object).where(*_OF_PROJECT).order_by(purged.c.object)
_DROP = delete(purged).where(*_OF_PROJECT, _SOME)
_INSERT = insert(purged).values(tenant_id=TENANT)
_HELD_BY = (
    select(entry.c.path, entry.c.object)
    .distinct()
    .where(mine(entry), entry.c.project_id == bindparam("project"))
    .where(entry.c.path.in_(bindparam("paths", expanding=True)))
)
_NEWEST = (
    select(purged.c.project_id, func.count(purged.c.object), func.max(purged.c.time))
    .where(mine(purged))
    .group_by(purged.c.project_id)
)
_FLOOR = select(project_table.c.floor).where(mine(project_table), project_table.c.project_id == bindparam("project"))
_USERS = (
    select(entry.c.object, entry.c.path)
    .distinct()
    .where(mine(entry), entry.c.project_id == bindparam("project"))
    .where(entry.c.object.in_(bindparam("objects", expanding=True)))
    .where(or_(entry.c.until.is_(None), entry.c.until > _FLOOR.scalar_subquery()))
)
_SET_SINCE = select(entry.c.object).where(
    mine(entry), entry.c.project_id == bindparam("project"), entry.c.since > bindparam("seen"), entry.c.until.is_(None)
)
_BLANK = (
    update(entry)
    .where(mine(entry), entry.c.project_id == bindparam("of_project"))
    .where(entry.c.object.in_(bindparam("objects", expanding=True)))
    .values(title="")
)


async def note(s: Scope, project: str, objects: Iterable[ObjectId], now: int) -> None:
    """Note objects as purged and blank the titles that were taken from them."""
    s.announce()  # other nodes hold indexes and trees made before
    names = sorted(set(objects))
    await forget(s, project, names)
    await s.execute_many(_INSERT, ("project_id", "object", "time"), ((project, name, now) for name in names))
    for chunk in chunks(names):
        await s.execute(_BLANK, {"of_project": project, "objects": list(chunk)})


async def forget(s: Scope, project: str, objects: Sequence[ObjectId]) -> None:
    """Objects that a commit brings anew are purged no more."""
    if objects and await s.row(_ANY, {"project": project}) is not None:
        for chunk in chunks(objects):
            await s.execute(_DROP, {"project": project, "objects": list(chunk)})


async def which(s: Scope, project: str, objects: Iterable[ObjectId]) -> set[ObjectId]:
    """Those of ``objects`` that were purged."""
    found: set[ObjectId] = set()
    for chunk in chunks(sorted(set(objects))):
        found |= {row.object for row in await s.rows(_FIND, {"project": project, "objects": list(chunk)})}
    return found


async def every(s: Scope, project: str) -> list[ObjectId]:
    """All purged objects of a project."""
    return [row.object for row in await s.rows(_ALL, {"project": project})]


async def newest(s: Scope) -> dict[str, tuple[int, int]]:
    """How many objects of each project are purged, and when the newest was; projects without any are left out."""
    return {row[0]: (row[1], row[2]) for row in await s.rows(_NEWEST)}


async def held_by(s: Scope, project: str, paths: Sequence[str]) -> dict[str, set[ObjectId]]:
    """For each of ``paths`` that any known version had, every object it held."""
    found: dict[str, set[ObjectId]] = {}
    for chunk in chunks(paths):
        for row in await s.rows(_HELD_BY, {"project": project, "paths": list(chunk)}):
            found.setdefault(row.path, set()).add(row.object)
    return found


async def users_of(s: Scope, project: str, objects: Iterable[ObjectId]) -> dict[ObjectId, set[str]]:
    """The paths that have each object in a version that can be read. Looks through all entries for each thousand."""
    found: dict[ObjectId, set[str]] = {}
    for chunk in chunks(sorted(set(objects))):
        for row in await s.rows(_USERS, {"project": project, "objects": list(chunk)}):
            found.setdefault(row.object, set()).add(row.path)
    return found


async def came_back(s: Scope, project: str, objects: Iterable[ObjectId], seen: int) -> bool:
    """Whether the head holds one of ``objects`` again, by a commit after version ``seen``."""
    rows = await s.rows(_SET_SINCE, {"project": project, "seen": seen})
    return not {row.object for row in rows}.isdisjoint(set(objects))

"""What was purged: objects removed on purpose from every version that held them.

A purged object has no place until somebody sends its bytes again; then it is new content, and not purged any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, insert, select, update

from satchel.catalog.schema import TENANT, entry, mine, purged
from satchel.catalog.scope import Scope, chunks
from satchel.objects.ids import ObjectId

_OF_PROJECT = (mine(purged), purged.c.project_id == bindparam("project"))
_SOME = purged.c.object.in_(bindparam("objects", expanding=True))
_ANY = select(purged.c.object).where(*_OF_PROJECT).limit(1)
_FIND = select(purged.c.object).where(*_OF_PROJECT, _SOME)
_ALL = select(purged.c.object).where(*_OF_PROJECT).order_by(purged.c.object)
_DROP = delete(purged).where(*_OF_PROJECT, _SOME)
_INSERT = insert(purged).values(tenant_id=TENANT)
_BLANK = (
    update(entry)
    .where(mine(entry), entry.c.project_id == bindparam("of_project"))
    .where(entry.c.object.in_(bindparam("objects", expanding=True)))
    .values(title="")
)


async def note(s: Scope, project: str, objects: Iterable[ObjectId], now: int) -> None:
    """Note objects as purged and blank the titles that were taken from them."""
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

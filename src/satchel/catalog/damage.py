"""Content that the store lost and that somebody may still have.

A repair without a copy notes here what is gone. A client that syncs and still holds such an object sends it, and the
transaction that makes it whole again forgets the note.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import bindparam, delete, func, insert, or_, select

from satchel.catalog import packs
from satchel.catalog.schema import TENANT, damaged, entry, mine
from satchel.catalog.scope import Scope, chunks
from satchel.objects.ids import ObjectId

_OF_PROJECT = (mine(damaged), damaged.c.project_id == bindparam("project"))
_COUNT = select(func.count(damaged.c.object)).where(*_OF_PROJECT)
_LIST = (
    select(damaged.c.object)
    .where(*_OF_PROJECT, damaged.c.object > bindparam("after"))
    .order_by(damaged.c.object)
    .limit(bindparam("limit"))
)
_AMONG = select(damaged.c.object).where(*_OF_PROJECT, damaged.c.object.in_(bindparam("objects", expanding=True)))
_INSERT = insert(damaged).values(tenant_id=TENANT)
_NEEDED = (
    select(entry.c.object)
    .where(mine(entry), entry.c.project_id == bindparam("project"))
    .where(or_(entry.c.until.is_(None), entry.c.until > bindparam("floor")))
)
_FORGET_UNNEEDED = delete(damaged).where(*_OF_PROJECT, damaged.c.object.not_in(_NEEDED))
_FORGET = delete(damaged).where(*_OF_PROJECT, damaged.c.object.in_(bindparam("objects", expanding=True)))


async def count(s: Scope, project: str) -> int:
    """How many objects of a project are noted as lost."""
    row = await s.row(_COUNT, {"project": project})
    return 0 if row is None else int(row[0])


async def list_(s: Scope, project: str, after: str = "", limit: int = 1_000) -> list[ObjectId]:
    """The noted objects whose id comes after ``after``, by id."""
    rows = await s.rows(_LIST, {"project": project, "after": after, "limit": limit})
    return [ObjectId(row[0]) for row in rows]


async def among(s: Scope, project: str, objects: Collection[ObjectId]) -> set[ObjectId]:
    """Those of ``objects`` that are noted. Asks nothing more of a project without a note."""
    if not objects or not await count(s, project):
        return set()
    found: set[ObjectId] = set()
    for chunk in chunks(list(objects)):
        rows = await s.rows(_AMONG, {"project": project, "objects": list(chunk)})
        found.update(ObjectId(row[0]) for row in rows)
    return found


async def note(s: Scope, project: str, objects: Iterable[ObjectId], now: int) -> int:
    """Note objects that no live pack holds in full; returns how many are newly noted."""
    asked = list(dict.fromkeys(objects))
    whole = {row.object for row in await packs.places(s, project, asked)}
    lost = set(asked) - whole
    fresh = lost - await among(s, project, lost)
    rows = ((project, name, now) for name in sorted(fresh))
    await s.execute_many(_INSERT, ("project_id", "object", "found"), rows)
    return len(fresh)


async def settle(s: Scope, project: str, objects: Collection[ObjectId], brought: Sequence[str] = ()) -> set[ObjectId]:
    """Forget those of ``objects`` that are noted and whole again, in live packs or in ``brought``; returns them.

    The packs ``brought`` are made live where they bring something that was noted; the bucket has to tell of them.
    """
    asked = await among(s, project, objects)
    if not asked:
        return set()
    missing = await packs.rely_on(s, project, sorted(asked), brought)
    whole = asked - set(missing)
    await forget(s, project, whole)
    return whole


async def forget(s: Scope, project: str, objects: Collection[ObjectId]) -> None:
    """Ask no more for these: they are gone on purpose."""
    for chunk in chunks(sorted(objects)):
        await s.execute(_FORGET, {"project": project, "objects": list(chunk)})


async def forget_unneeded(s: Scope, project: str, floor: int) -> int:
    """Ask no more for what no version from ``floor`` on holds; returns how many notes went."""
    return await s.execute(_FORGET_UNNEEDED, {"project": project, "floor": floor})

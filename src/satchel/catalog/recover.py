"""What restoring and rebuilding do to a catalog that nobody serves from yet: rows as the commits made them.

A commit judges what a caller asks. Here everything was judged when it was committed; the caller has checked the records
against each other, and writes the rows they tell of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import BindParameter, and_, bindparam, delete, insert, select, update

from satchel.catalog.packs import DYING, LIVE, PackRow, PlaceRow
from satchel.catalog.schema import TENANT, entry, idempotency, mine, operator, pack, place, project, usage
from satchel.catalog.schema import version as version_table
from satchel.catalog.scope import Scope, chunks
from satchel.catalog.versions import VersionRow
from satchel.objects.ids import Digest, Lineage, ObjectId, ProjectId
from satchel.objects.listing import digest as listing_digest


class EntryRows(NamedTuple):
    """Entries as the table has them, and the ends of entries that were there before, each a path and its ``until``."""

    new: Sequence[tuple[str, int, int | None, str, int, str, str, str]]
    """path, since, until, object, size, mode, kind, title."""
    ended: Sequence[tuple[str, int]]


_PROJECT: BindParameter[str] = bindparam("project")
_PACKS = select(pack.c.pack, pack.c.state, pack.c.size).where(mine(pack), pack.c.project_id == _PROJECT)
_NEEDED = _PACKS.where(pack.c.state != DYING)
_HOLDING = (
    select(pack.c.pack, pack.c.created, place.c.object)
    .distinct()
    .select_from(
        place.join(pack, and_(mine(pack), pack.c.project_id == place.c.project_id, pack.c.pack == place.c.pack))
    )
    .where(mine(place), place.c.project_id == _PROJECT, place.c.object.in_(bindparam("objects", expanding=True)))
    .where(pack.c.state == LIVE)
)
_RECORDS = select(version_table.c.record).where(mine(version_table), version_table.c.project_id == _PROJECT)
_OBJECTS = select(entry.c.object).where(mine(entry), entry.c.project_id == _PROJECT).distinct()
_LIVES = select(entry.c.object, entry.c.until).where(
    mine(entry), entry.c.project_id == _PROJECT, entry.c.object.in_(bindparam("objects", expanding=True))
)
_LIVING = select(
    entry.c.path, entry.c.since, entry.c.object, entry.c.size, entry.c.mode, entry.c.kind, entry.c.title
).where(mine(entry), entry.c.project_id == _PROJECT, entry.c.until.is_(None))
_SLUG_TAKEN = select(project.c.project_id).where(mine(project), project.c.slug == bindparam("slug"))

_INSERT_PROJECT = insert(project).values(tenant_id=TENANT)
_INSERT_PACK = insert(pack).values(tenant_id=TENANT)
_INSERT_PLACE = insert(place).values(tenant_id=TENANT)
_INSERT_ENTRY = insert(entry).values(tenant_id=TENANT)
_INSERT_VERSION = insert(version_table).values(tenant_id=TENANT)
_INSERT_OPERATOR = insert(operator).values(tenant_id=TENANT)
_OF_PROJECT = (mine(project), project.c.project_id == bindparam("of_project"))
_UPDATE_PROJECT = update(project).where(*_OF_PROJECT)
_END_ENTRY = (
    update(entry)
    .where(mine(entry), entry.c.project_id == bindparam("of_project"), entry.c.path == bindparam("of_path"))
    .where(entry.c.until.is_(None))
    .values(until=bindparam("ended"))
)
_DROP_VERSIONS = delete(version_table).where(
    mine(version_table), version_table.c.project_id == _PROJECT, version_table.c.version > bindparam("last")
)
_DROP_ENTRIES = delete(entry).where(mine(entry), entry.c.project_id == _PROJECT, entry.c.since > bindparam("last"))
_REVIVE_ENTRIES = (
    update(entry)
    .where(mine(entry), entry.c.project_id == bindparam("of_project"), entry.c.until > bindparam("last"))
    .values(until=None)
)
_DROP_ANSWERS = delete(idempotency).where(mine(idempotency), idempotency.c.created >= bindparam("from_time"))
_DROP_PLACES = delete(place).where(
    mine(place), place.c.project_id == _PROJECT, place.c.pack.in_(bindparam("packs", expanding=True))
)
_DROP_PACKS = delete(pack).where(
    mine(pack), pack.c.project_id == _PROJECT, pack.c.pack.in_(bindparam("packs", expanding=True))
)
_ADD_USE = update(usage).where(mine(usage)).values(stored_bytes=usage.c.stored_bytes + bindparam("more"))


class HeldPack(NamedTuple):
    name: str
    state: str
    size: int


def in_use(file: Path) -> bool:
    """Whether another process has the SQLite catalog ``file`` open. Ends its write-ahead log if nobody has."""
    connection = sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    except sqlite3.DatabaseError:
        return False  # damaged, which is why it is being replaced
    finally:
        connection.close()
    return False


async def packs(s: Scope, project: str, *, dying: bool = False) -> list[HeldPack]:
    """The packs that hold something a version or a commit to come needs; with ``dying`` the others too."""
    rows = await s.rows(_PACKS if dying else _NEEDED, {"project": project})
    return [HeldPack._make(row) for row in rows]


async def purged_since(s: Scope, project: str, purged: Mapping[ObjectId, int]) -> dict[str, int]:
    """Live packs that hold something of ``purged`` (when) and were put before; each with the time it was put."""
    found: dict[str, int] = {}
    for some in chunks(sorted(purged)):
        for row in await s.rows(_HOLDING, {"project": project, "objects": list(some)}):
            if row.created <= purged[row.object]:
                found[row.pack] = row.created
    return found


async def records(s: Scope, project: str) -> list[str]:
    """The commit record of each version."""
    return [row[0] for row in await s.rows(_RECORDS, {"project": project})]


async def objects(s: Scope, project: str) -> set[ObjectId]:
    """Every object that a readable version has."""
    return {row[0] for row in await s.rows(_OBJECTS, {"project": project})}


async def lives(s: Scope, project: str, objects: Iterable[ObjectId]) -> list[tuple[ObjectId, int | None]]:
    """Each entry of these objects, by the version that ended it."""
    found: list[tuple[ObjectId, int | None]] = []
    for some in chunks(sorted(set(objects))):
        found += [(row[0], row[1]) for row in await s.rows(_LIVES, {"project": project, "objects": list(some)})]
    return found


async def living(s: Scope, project: str) -> list[tuple[str, int, str, int, str, str, str]]:
    """The entries of the head: path, since, object, size, mode, kind, title."""
    return [tuple(row) for row in await s.rows(_LIVING, {"project": project})]


async def slug_taken(s: Scope, slug: str) -> bool:
    """Whether a project of the tenant is so called."""
    return await s.row(_SLUG_TAKEN, {"slug": slug}) is not None


async def add_project(
    s: Scope,
    project: ProjectId,
    slug: str,
    description: str,
    created: int,
    archived: int | None,
    lineage: Lineage,
) -> None:
    """A project without versions. No quota is asked: it was there before."""
    values = {
        "project_id": project,
        "slug": slug,
        "description": description,
        "created": created,
        "archived": archived,
        "lineage": lineage,
        "version": 0,
        "digest": listing_digest({}),
        "files": 0,
        "bytes": 0,
    }
    await s.execute(_INSERT_PROJECT, values)


async def set_head(
    s: Scope, project: str, lineage: Lineage, version: int, digest: Digest, files: int, size: int
) -> None:
    """Move the head, forward or to another lineage, in the transaction that writes what it is the head of."""
    values = {
        "lineage": lineage,
        "version": version,
        "digest": digest,
        "files": files,
        "bytes": size,
    }
    await s.execute(_UPDATE_PROJECT.values(values), {"of_project": project})


async def cut(s: Scope, project: str, lineage: Lineage, last: int, digest: Digest, since: int) -> None:
    """Take the versions after ``last`` back, which nobody was told of: ``since`` is when the first of them was made.

    What was answered from then on is forgotten, so that none of it passes for done. The scope has to be ``erasing``.
    """
    of_last = {"project": project, "last": last}
    await s.execute(_DROP_VERSIONS, of_last)
    await s.execute(_DROP_ENTRIES, of_last)
    await s.execute(_REVIVE_ENTRIES, {"of_project": project, "last": last})
    await s.execute(_DROP_ANSWERS, {"from_time": since})
    left = await living(s, project)
    await set_head(s, project, lineage, last, digest, len(left), sum(row[3] for row in left))


async def start_lineage(s: Scope, project: str, lineage: Lineage) -> None:
    """Begin another line of history at the head as it is: who knows the old one compares anew, and loses nothing."""
    await s.execute(_UPDATE_PROJECT.values(lineage=lineage), {"of_project": project})


async def describe(s: Scope, project: str, slug: str, description: str, archived: int | None) -> None:
    """Call a project as its people last called it."""
    values = {"slug": slug, "description": description, "archived": archived}
    await s.execute(_UPDATE_PROJECT.values(values), {"of_project": project})


async def add_versions(s: Scope, project: str, rows: Iterable[VersionRow], entries: EntryRows) -> None:
    """Versions, and the entries that they made and ended."""
    await s.execute_many(
        _END_ENTRY, ("of_project", "of_path", "ended"), ((project, path, until) for path, until in entries.ended)
    )
    columns = ("project_id", "path", "since", "until", "object", "size", "mode", "kind", "title")
    await s.execute_many(_INSERT_ENTRY, columns, ((project, *row) for row in entries.new))
    await s.execute_many(_INSERT_VERSION, ("project_id", *VersionRow._fields), ((project, *row) for row in rows))


async def add_packs(s: Scope, project: str, found: Sequence[PackRow], now: int, *, dying: bool = False) -> None:
    """Packs of the bucket, live, or (``dying``, without places) to be collected; their bytes count as used."""
    for row in found:
        values = {
            "project_id": project,
            "pack": row.name,
            "state": DYING if dying else LIVE,
            "size": row.size,
            "frames": row.frames,
            "created": now,
            "lease_until": None,
            "dying_since": now if dying else None,
        }
        await s.execute(_INSERT_PACK, values)
        places = () if dying else row.places
        await s.execute_many(_INSERT_PLACE, ("project_id", *PlaceRow._fields), ((project, *at) for at in places))
    await s.execute(_ADD_USE, {"more": sum(row.size for row in found)})


async def drop_packs(s: Scope, project: str, gone: Sequence[HeldPack]) -> None:
    """Forget packs whose bytes are gone."""
    for some in chunks(gone):
        names = [row.name for row in some]
        await s.execute(_DROP_PLACES, {"project": project, "packs": names})
        await s.execute(_DROP_PACKS, {"project": project, "packs": names})
    await s.execute(_ADD_USE, {"more": -sum(row.size for row in gone)})


async def make_operator(s: Scope, principal: str) -> None:
    """Let a principal of the tenant run the server."""
    await s.execute(_INSERT_OPERATOR, {"principal_id": principal})

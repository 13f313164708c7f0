"""The one line of history of a project, and the step that lengthens it.

The head moves by compare-and-set as the first statement of the transaction that also holds the entries, the pack
rows, and whatever the caller adds to the same scope (idempotency, audit): that transaction is the only commit point
(P4).

An entry lives from version ``since`` up to and not including ``until``; the tree at version n is every entry with
``since <= n`` and (``until`` null or ``until > n``). Readers always name n, so they need no snapshot.

Retention raises the project's floor, the oldest version that can be read, and later drops the entries that ended at or
below it. So a statement that reads a tree names the floor too, and finds nothing at a version below it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, bindparam, insert, or_, select, update

from satchel.auth.roles import AuthorKind, author_kind
from satchel.catalog import purges
from satchel.catalog.packs import PlaceRow, add_pack, all_places, forget_packs, missing, places, rely_on
from satchel.catalog.schema import TENANT, entry, mine
from satchel.catalog.schema import project as project_table
from satchel.catalog.schema import version as version_table
from satchel.catalog.scope import Record, Scope, chunks
from satchel.errors import (
    HeadMoved,
    InvalidInput,
    NoSuchProject,
    NoSuchVersion,
    ObjectsMissing,
    Refused,
    TooLarge,
    VersionExpired,
)
from satchel.objects.ids import Digest, Lineage, ObjectId

__all__ = [  # with what concerns packs, so that a caller needs one module to make a version
    "MAX_FILES",
    "ChangeIn",
    "ChangeRow",
    "EntryRow",
    "Head",
    "NewVersion",
    "PlaceRow",
    "ProjectArchived",
    "VersionRow",
    "add_pack",
    "all_places",
    "changes",
    "check_readable",
    "commit",
    "entries_at",
    "entry_at",
    "floor",
    "forget_packs",
    "head",
    "missing",
    "newest_before",
    "objects",
    "places",
    "tree",
    "version",
    "versions",
]

MAX_FILES = 100_000
"""Most files in a project."""
MAX_NAMED_MISSING = 10_000
"""Most missing objects named in one refusal; the client asks for the rest with its next attempt."""


class ProjectArchived(Refused):
    code = "project.archived"
    default_hint = "Ask an admin of the project to take it out of the archive."


class Head(NamedTuple):
    lineage: Lineage
    version: int
    """0 before the first commit."""
    digest: Digest


class EntryRow(NamedTuple):
    """One file of a tree, with who last changed it, when, and in which version."""

    path: str
    mode: str
    object: ObjectId
    size: int
    kind: str
    title: str
    version: int
    author: str
    time: int
    author_kind: AuthorKind


class ChangeRow(NamedTuple):
    """What became of one path between two versions. Where ``deleted``, mode to title are empty or 0."""

    path: str
    deleted: bool
    mode: str
    object: ObjectId
    size: int
    kind: str
    title: str
    version: int
    """The version that made it so."""
    author: str
    time: int
    author_kind: AuthorKind


class VersionRow(NamedTuple):
    version: int
    lineage: Lineage
    digest: Digest
    record: str
    author_id: str
    author: str
    time: int
    added: int
    changed: int
    deleted: int


class ChangeIn(NamedTuple):
    """A file as it is in the new version; ``object`` None says that it is deleted."""

    path: str
    mode: str = ""
    object: ObjectId | None = None
    size: int = 0
    kind: str = ""
    title: str = ""


class NewVersion(NamedTuple):
    """A version about to be. The caller has checked paths, kinds and that ``digest`` is that of parent plus changes."""

    parent: Head
    digest: Digest
    changes: Sequence[ChangeIn]
    packs: Sequence[str]
    """Packs that came with it, made live whether or not a change needs them."""
    record: str
    """The id of the sealed commit record."""
    author_id: str
    author: str
    time: int
    arrived: Set[ObjectId] = frozenset()
    """Objects that lie in full in those of ``packs`` that were added in this very transaction: not looked for again."""


FOREVER = 2**62
"""A version that never comes."""

_PROJECT: BindParameter[str] = bindparam("project")
_AT: BindParameter[int] = bindparam("at")
_ALIVE = or_(entry.c.until.is_(None), entry.c.until > _AT)

_HEAD = select(project_table.c.lineage, project_table.c.version, project_table.c.digest).where(
    mine(project_table), project_table.c.project_id == _PROJECT
)
_FLOOR = select(project_table.c.version, project_table.c.floor).where(
    mine(project_table), project_table.c.project_id == _PROJECT
)
# Asked in the statement that reads: so what it finds is all there was.
_READABLE = (
    select(project_table.c.floor).where(mine(project_table), project_table.c.project_id == _PROJECT).scalar_subquery()
    <= _AT
)
# Who made a version is looked up apart: joined, SQLite walks versions first and the tree once for each of them.
_TREE = select(
    entry.c.path, entry.c.mode, entry.c.object, entry.c.size, entry.c.kind, entry.c.title, entry.c.since
).where(mine(entry), entry.c.project_id == _PROJECT, entry.c.since <= _AT, _ALIVE, _READABLE)
_WHOLE_TREE = _TREE.order_by(entry.c.path)
_ONE_ENTRY = _TREE.where(entry.c.path == bindparam("path"))
_SOME_ENTRIES = _TREE.where(entry.c.path.in_(bindparam("paths", expanding=True)))

_MAKERS = select(
    version_table.c.version, version_table.c.author, version_table.c.time, version_table.c.author_id
).where(
    mine(version_table),
    version_table.c.project_id == _PROJECT,
    version_table.c.version.in_(bindparam("versions", expanding=True)),
)
_VERSION_COLUMNS = [version_table.c[name] for name in VersionRow._fields]
_ONE_VERSION = select(*_VERSION_COLUMNS).where(
    mine(version_table), version_table.c.project_id == _PROJECT, version_table.c.version == bindparam("version")
)
_VERSIONS = (
    select(*_VERSION_COLUMNS)
    .where(mine(version_table), version_table.c.project_id == _PROJECT, version_table.c.version < bindparam("before"))
    .order_by(version_table.c.version.desc())
    .limit(bindparam("limit"))
)

_NEWEST_BEFORE = (
    select(*_VERSION_COLUMNS)
    .where(mine(version_table), version_table.c.project_id == _PROJECT, version_table.c.time < bindparam("before"))
    .order_by(version_table.c.version.desc())
    .limit(1)
)

_MOVE_HEAD = (
    update(project_table)
    .where(mine(project_table), project_table.c.project_id == bindparam("of_project"))
    .where(project_table.c.lineage == bindparam("old_lineage"), project_table.c.version == bindparam("old_version"))
    .where(project_table.c.digest == bindparam("old_digest"), project_table.c.archived.is_(None))
    .values(version=bindparam("new_version"), digest=bindparam("new_digest"))
)
_SET_SIZES = (
    update(project_table)
    .where(mine(project_table), project_table.c.project_id == bindparam("of_project"))
    .values(
        files=project_table.c.files + bindparam("more_files"), bytes=project_table.c.bytes + bindparam("more_bytes")
    )
)
_STATE = select(project_table.c.files, project_table.c.archived).where(
    mine(project_table), project_table.c.project_id == _PROJECT
)
_STANDING = select(entry.c.path, entry.c.mode, entry.c.object, entry.c.size).where(
    mine(entry),
    entry.c.project_id == _PROJECT,
    entry.c.until.is_(None),
    entry.c.path.in_(bindparam("paths", expanding=True)),
)
_END_ENTRY = (
    update(entry)
    .where(mine(entry), entry.c.project_id == bindparam("of_project"), entry.c.path == bindparam("of_path"))
    .where(entry.c.until.is_(None))
    .values(until=bindparam("ended"))
)
_INSERT_ENTRY = insert(entry).values(tenant_id=TENANT)
_INSERT_VERSION = insert(version_table).values(tenant_id=TENANT)

_PAGE_OF_TREE = _TREE.where(entry.c.path > bindparam("after")).order_by(entry.c.path).limit(bindparam("limit"))
# Without an order, so that the index on `since` finds the little there is.
_SET_SINCE = _TREE.where(entry.c.since > bindparam("since"))
_ENDED_SINCE = select(entry.c.path, entry.c.since, entry.c.until).where(
    mine(entry), entry.c.project_id == _PROJECT, entry.c.until > bindparam("since"), entry.c.until <= _AT
)


async def head(s: Scope, project: str) -> Head:
    """The newest version; raises ``NoSuchProject``."""
    row = await s.row(_HEAD, {"project": project})
    if row is None:
        raise NoSuchProject("there is no such project")
    return Head._make(row)


async def floor(s: Scope, project: str) -> int:
    """The oldest version that can be read; 0 or 1 while all can. Raises ``NoSuchProject``."""
    row = await s.row(_FLOOR, {"project": project})
    if row is None:
        raise NoSuchProject("there is no such project")
    return int(row.floor)


async def tree(s: Scope, project: str, at: int | None = None) -> list[EntryRow]:
    """All files of version ``at`` (default: the head), by path.

    Raises ``NoSuchProject``, ``NoSuchVersion``, ``VersionExpired``.
    """
    rows = await _read_at(s, project, at, lambda at: s.rows(_WHOLE_TREE, {"project": project, "at": at}))
    return await _entries(s, project, rows)


async def objects(s: Scope, project: str, at: int, after: str, limit: int) -> list[ObjectId]:
    """What the files of version ``at`` hold, each once: at most ``limit`` files, by path, those behind ``after``.

    Raises as ``tree`` does.
    """
    page = {"project": project, "at": at, "after": after, "limit": limit}
    rows = await _read_at(s, project, at, lambda _: s.rows(_PAGE_OF_TREE, page))
    return list(dict.fromkeys(ObjectId(row.object) for row in rows))


async def entry_at(s: Scope, project: str, path: str, at: int | None = None) -> EntryRow | None:
    """One file of version ``at`` (default: the head), or None; raises as ``tree`` does."""
    rows = await _read_at(s, project, at, lambda at: s.rows(_ONE_ENTRY, {"project": project, "at": at, "path": path}))
    entries = await _entries(s, project, rows)
    return entries[0] if entries else None


async def entries_at(s: Scope, project: str, paths: Sequence[str], at: int | None = None) -> dict[str, EntryRow]:
    """Those of ``paths`` that version ``at`` (default: the head) holds; raises as ``tree`` does."""

    async def look(at: int) -> list[Record]:
        found: list[Record] = []
        for chunk in chunks(list(paths)):
            found += await s.rows(_SOME_ENTRIES, {"project": project, "at": at, "paths": list(chunk)})
        return found

    return {row.path: row for row in await _entries(s, project, await _read_at(s, project, at, look))}


async def changes(
    s: Scope, project: str, since: int, until: int, after: str = "", limit: int = 10_000
) -> list[ChangeRow]:
    """What version ``until`` has otherwise than version ``since``, by path, deletions too; each path once.

    ``since`` 0 gives the whole tree. ``after`` is the last path of the page before. That the versions exist is not
    checked; raises ``VersionExpired`` where one of them cannot be read any more.
    """
    if since == 0:
        rows: Sequence[Sequence[Any]] = await s.rows(
            _PAGE_OF_TREE, {"project": project, "at": until, "after": after, "limit": limit}
        )
    else:
        rows = await _page_of_changes(s, project, since, until, after, limit)
    await check_readable(s, project, min(since or until, until))
    makers = await _makers(s, project, {row[6] for row in rows})
    return [
        ChangeRow(path, not mode, mode, name, size, kind, title, number, *makers[number])
        for path, mode, name, size, kind, title, number in rows
    ]


async def _page_of_changes(
    s: Scope, project: str, since: int, until: int, after: str, limit: int
) -> list[Sequence[Any]]:
    """Rows as a page of the tree has them; a path that is gone has an empty mode and the version that ended it."""
    params = {"project": project, "since": since, "at": until}
    found: dict[str, Sequence[Any]] = {row[0]: row for row in await s.rows(_SET_SINCE, params)}
    there: set[str] = set()
    gone: dict[str, int] = {}
    for path, began, ended in await s.rows(_ENDED_SINCE, params):
        if path not in found:  # an entry that ended and has a successor at `until` is among the rows set since
            gone[path] = max(ended, gone.get(path, 0))
            if began <= since:
                there.add(path)
    found.update((path, (path, "", "", 0, "", "", gone[path])) for path in there)
    return [found[path] for path in sorted(path for path in found if path > after)[:limit]]


async def version(s: Scope, project: str, number: int) -> VersionRow:
    """One version; raises ``NoSuchVersion``."""
    known = 0 <= number < FOREVER  # beyond, no database takes it for a number
    row = await s.row(_ONE_VERSION, {"project": project, "version": number}) if known else None
    if row is None:
        raise NoSuchVersion(f"version {number} is not one of this project's")
    return VersionRow._make(row)


async def versions(s: Scope, project: str, before: int | None = None, limit: int = 50) -> list[VersionRow]:
    """Versions older than ``before`` (default: all), newest first."""
    bound = FOREVER if before is None else before
    rows = await s.rows(_VERSIONS, {"project": project, "before": bound, "limit": limit})
    return [VersionRow._make(row) for row in rows]


async def newest_before(s: Scope, project: str, time: int) -> VersionRow:
    """The newest version made before a moment in milliseconds; raises ``NoSuchVersion`` where there was none yet."""
    bound = min(max(time, -FOREVER), FOREVER)
    row = await s.row(_NEWEST_BEFORE, {"project": project, "before": bound})
    if row is None:
        raise NoSuchVersion("the project had no version yet")
    return VersionRow._make(row)


async def commit(s: Scope, project: str, new: NewVersion) -> VersionRow:
    """Make the next version, which is the new head.

    Raises ``HeadMoved`` (facts lineage, version, digest of the head as it is) when the parent is not the head,
    ``ObjectsMissing`` (fact objects) when an object is not in this project, ``InvalidInput`` for a path named twice or
    a deletion of what is not there, ``TooLarge`` beyond ``MAX_FILES``, ``ProjectArchived``. The scope's block then has
    to end by that exception, so that nothing of it remains.
    """
    number = new.parent.version + 1
    await _move_head(s, project, new, number)
    standing = await _standing(s, project, new.parent, new.changes)
    fresh = [change for change in new.changes if _differs(change, standing)]
    named = (change.object for change in new.changes if change.object is not None)
    absent = await rely_on(s, project, (name for name in named if name not in new.arrived), new.packs)
    if absent:
        raise ObjectsMissing(
            f"{len(absent):,} objects of the commit are not in the project", objects=absent[:MAX_NAMED_MISSING]
        )
    await purges.forget(s, project, [change.object for change in new.changes if change.object is not None])
    ended = [(project, change.path, number) for change in fresh if change.path in standing]
    await s.execute_many(_END_ENTRY, ("of_project", "of_path", "ended"), ended)
    set_now = [change for change in fresh if change.object is not None]
    await s.execute_many(
        _INSERT_ENTRY,
        ("project_id", "path", "since", "object", "size", "mode", "kind", "title"),
        ((project, c.path, number, c.object, c.size, c.mode, c.kind, c.title) for c in set_now),
    )
    added = sum(change.path not in standing for change in set_now)
    deleted = len(fresh) - len(set_now)
    freed = sum(standing[change.path][2] for change in fresh if change.path in standing)
    await _resize(s, project, added - deleted, sum(change.size for change in set_now) - freed)
    made = VersionRow(
        version=number,
        lineage=new.parent.lineage,
        digest=new.digest,
        record=new.record,
        author_id=new.author_id,
        author=new.author,
        time=new.time,
        added=added,
        changed=len(set_now) - added,
        deleted=deleted,
    )
    await s.later(_INSERT_VERSION, {"project_id": project, **made._asdict()})
    return made


async def _move_head(s: Scope, project: str, new: NewVersion, number: int) -> None:
    moved = await s.execute(
        _MOVE_HEAD,
        {
            "of_project": project,
            "old_lineage": new.parent.lineage,
            "old_version": new.parent.version,
            "old_digest": new.parent.digest,
            "new_version": number,
            "new_digest": new.digest,
        },
    )
    if moved != 1:
        now = await head(s, project)
        state = await s.row(_STATE, {"project": project})
        if state is not None and state.archived is not None:
            raise ProjectArchived("the project is archived: it can be read, not changed")
        raise HeadMoved(
            f"the project is at version {now.version}, not {new.parent.version} any more",
            lineage=now.lineage,
            version=now.version,
            digest=now.digest,
        )


async def _standing(
    s: Scope, project: str, parent: Head, changes: Sequence[ChangeIn]
) -> dict[str, tuple[str, ObjectId, int]]:
    """Mode, object and size, before the commit, of the paths it changes."""
    paths = [change.path for change in changes]
    if len(set(paths)) != len(paths):
        raise InvalidInput("a path is named twice in one commit")
    standing: dict[str, tuple[str, ObjectId, int]] = {}
    for chunk in chunks(paths if parent.version else []):  # a first commit finds nothing: do not look 8,000 times
        rows = await s.rows(_STANDING, {"project": project, "paths": list(chunk)})
        standing.update((row.path, (row.mode, row.object, row.size)) for row in rows)
    for change in changes:
        if change.object is None and change.path not in standing:
            raise InvalidInput(f"the commit deletes {change.path}, which is not there")
    return standing


def _differs(change: ChangeIn, standing: dict[str, tuple[str, ObjectId, int]]) -> bool:
    before = standing.get(change.path)
    return before is None or change.object is None or before[:2] != (change.mode, change.object)


async def _resize(s: Scope, project: str, more_files: int, more_bytes: int) -> None:
    await s.later(_SET_SIZES, {"of_project": project, "more_files": more_files, "more_bytes": more_bytes})
    if more_files <= 0:
        return  # an edit is most of what is committed
    row = await s.row(_STATE, {"project": project})
    if row is not None and row.files > MAX_FILES:
        raise TooLarge(f"a project holds at most {MAX_FILES:,} files; this commit would make it {row.files:,}")


async def _entries(s: Scope, project: str, rows: Sequence[Record]) -> list[EntryRow]:
    makers = await _makers(s, project, {row[6] for row in rows})
    return [EntryRow(*row, *makers[row[6]]) for row in rows]  # type: ignore[call-arg]  # a row has any length to mypy


async def _makers(s: Scope, project: str, numbers: Iterable[int]) -> dict[int, tuple[str, int, AuthorKind]]:
    """Author, time and kind of author of versions."""
    makers: dict[int, tuple[str, int, AuthorKind]] = {}
    for chunk in chunks(sorted(numbers)):
        for row in await s.rows(_MAKERS, {"project": project, "versions": list(chunk)}):
            makers[row[0]] = (row[1], row[2], author_kind(row[3]))
    return makers


async def _read_at(
    s: Scope, project: str, at: int | None, look: Callable[[int], Awaitable[Sequence[Record]]]
) -> Sequence[Record]:
    """What ``look`` finds at a version that can be read, or at the head if none is named."""
    while True:
        now = await head(s, project)
        if at is not None and not 1 <= at <= now.version:
            raise NoSuchVersion(f"version {at} is not one of this project's")
        rows = await look(now.version if at is None else at)
        if rows:
            return rows
        try:
            await check_readable(s, project, now.version if at is None else at)
        except VersionExpired:
            if at is not None:
                raise  # else the head moved on and expired meanwhile: look at the new one
        else:
            return rows


async def check_readable(s: Scope, project: str, at: int) -> None:
    """Raises ``VersionExpired`` where retention has dropped version ``at``."""
    oldest = await floor(s, project)
    if at < oldest:
        raise VersionExpired(f"version {at} has expired; the oldest to be read is {oldest}", oldest=oldest)

"""The one line of history of a project, and the step that lengthens it.

The head moves by compare-and-set as the first statement of the transaction that also holds the entries, the pack
rows, and whatever the caller adds to the same scope (idempotency, audit): that transaction is the only commit point
(P4).

An entry lives from version ``since`` up to and not including ``until``; the tree at version n is every entry with
``since <= n`` and (``until`` null or ``until > n``). Readers always name n, so they need no snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BindParameter, and_, bindparam, insert, literal, or_, select, union_all, update

from satchel.catalog.packs import (
    PlaceRow as PlaceRow,
)
from satchel.catalog.packs import (
    add_pack as add_pack,
)
from satchel.catalog.packs import (
    all_places as all_places,
)
from satchel.catalog.packs import (
    forget_packs as forget_packs,
)
from satchel.catalog.packs import (
    missing as missing,
)
from satchel.catalog.packs import (
    places as places,
)
from satchel.catalog.packs import rely_on
from satchel.catalog.schema import TENANT, entry, mine
from satchel.catalog.schema import project as project_table
from satchel.catalog.schema import version as version_table
from satchel.catalog.scope import Scope, chunks
from satchel.errors import HeadMoved, InvalidInput, NoSuchProject, NoSuchVersion, ObjectsMissing, Refused, TooLarge
from satchel.objects.ids import Digest, Lineage, ObjectId

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


_PROJECT: BindParameter[str] = bindparam("project")
_AT: BindParameter[int] = bindparam("at")
_ALIVE = or_(entry.c.until.is_(None), entry.c.until > _AT)

_HEAD = select(project_table.c.lineage, project_table.c.version, project_table.c.digest).where(
    mine(project_table), project_table.c.project_id == _PROJECT
)
_MADE_BY = and_(
    mine(version_table), version_table.c.project_id == entry.c.project_id, version_table.c.version == entry.c.since
)
_TREE = (
    select(
        entry.c.path,
        entry.c.mode,
        entry.c.object,
        entry.c.size,
        entry.c.kind,
        entry.c.title,
        entry.c.since,
        version_table.c.author,
        version_table.c.time,
    )
    .select_from(entry.join(version_table, _MADE_BY))
    .where(mine(entry), entry.c.project_id == _PROJECT, entry.c.since <= _AT, _ALIVE)
)
_WHOLE_TREE = _TREE.order_by(entry.c.path)
_ONE_ENTRY = _TREE.where(entry.c.path == bindparam("path"))
_SOME_ENTRIES = _TREE.where(entry.c.path.in_(bindparam("paths", expanding=True)))

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

_since: BindParameter[int] = bindparam("since")
_after: BindParameter[str] = bindparam("after")
_before_e = entry.alias("was")
_last_e = entry.alias("last")
_later_e = entry.alias("later")
_ending = version_table.alias("ending")

_SET_SINCE = (
    select(
        entry.c.path,
        literal(0).label("deleted"),
        entry.c.mode,
        entry.c.object,
        entry.c.size,
        entry.c.kind,
        entry.c.title,
        entry.c.since.label("version"),
        version_table.c.author,
        version_table.c.time,
    )
    .select_from(entry.join(version_table, _MADE_BY))
    .where(mine(entry), entry.c.project_id == _PROJECT, entry.c.since > _since, entry.c.since <= _AT, _ALIVE)
    .where(entry.c.path > _after)
)
# A path that was there at `since` and whose last entry ended by `at` with none following: `last` is that entry.
_GONE_SINCE = (
    select(
        _last_e.c.path,
        literal(1).label("deleted"),
        literal("").label("mode"),
        literal("").label("object"),
        literal(0).label("size"),
        literal("").label("kind"),
        literal("").label("title"),
        _last_e.c.until.label("version"),
        _ending.c.author,
        _ending.c.time,
    )
    .select_from(
        _last_e.join(
            _before_e,
            and_(
                mine(_before_e),
                _before_e.c.project_id == _last_e.c.project_id,
                _before_e.c.path == _last_e.c.path,
                _before_e.c.since <= _since,
                _before_e.c.until > _since,
            ),
        )
        .join(
            _ending,
            and_(mine(_ending), _ending.c.project_id == _last_e.c.project_id, _ending.c.version == _last_e.c.until),
        )
        .outerjoin(
            _later_e,
            and_(
                mine(_later_e),
                _later_e.c.project_id == _last_e.c.project_id,
                _later_e.c.path == _last_e.c.path,
                _later_e.c.since >= _last_e.c.until,
                _later_e.c.since <= _AT,
            ),
        )
    )
    .where(mine(_last_e), _last_e.c.project_id == _PROJECT, _last_e.c.until > _since, _last_e.c.until <= _AT)
    .where(_last_e.c.path > _after, _later_e.c.path.is_(None))
)
_CHANGES = union_all(_SET_SINCE, _GONE_SINCE).order_by("path").limit(bindparam("limit"))


async def head(s: Scope, project: str) -> Head:
    """The newest version; raises ``NoSuchProject``."""
    row = await s.row(_HEAD, {"project": project})
    if row is None:
        raise NoSuchProject("there is no such project")
    return Head._make(row)


async def tree(s: Scope, project: str, at: int | None = None) -> list[EntryRow]:
    """All files of version ``at`` (default: the head), by path; raises ``NoSuchProject``, ``NoSuchVersion``."""
    at = await _at(s, project, at)
    return [EntryRow._make(row) for row in await s.rows(_WHOLE_TREE, {"project": project, "at": at})]


async def entry_at(s: Scope, project: str, path: str, at: int | None = None) -> EntryRow | None:
    """One file of version ``at`` (default: the head), or None; raises ``NoSuchProject``, ``NoSuchVersion``."""
    at = await _at(s, project, at)
    row = await s.row(_ONE_ENTRY, {"project": project, "at": at, "path": path})
    return None if row is None else EntryRow._make(row)


async def entries_at(s: Scope, project: str, paths: Sequence[str], at: int | None = None) -> dict[str, EntryRow]:
    """Those of ``paths`` that version ``at`` (default: the head) holds; raises as ``tree`` does."""
    at = await _at(s, project, at)
    found: dict[str, EntryRow] = {}
    for chunk in chunks(list(paths)):
        for row in await s.rows(_SOME_ENTRIES, {"project": project, "at": at, "paths": list(chunk)}):
            found[row.path] = EntryRow._make(row)
    return found


async def changes(
    s: Scope, project: str, since: int, until: int, after: str = "", limit: int = 10_000
) -> list[ChangeRow]:
    """What version ``until`` has otherwise than version ``since``, by path, deletions too; each path once.

    ``since`` 0 gives the whole tree. ``after`` is the last path of the page before. Neither version is checked.
    """
    params = {"project": project, "since": since, "at": until, "after": after, "limit": limit}
    return [ChangeRow(row[0], bool(row[1]), *row[2:]) for row in await s.rows(_CHANGES, params)]


async def version(s: Scope, project: str, number: int) -> VersionRow:
    """One version; raises ``NoSuchVersion``."""
    row = await s.row(_ONE_VERSION, {"project": project, "version": number})
    if row is None:
        raise NoSuchVersion(f"version {number} is not one of this project's")
    return VersionRow._make(row)


async def versions(s: Scope, project: str, before: int | None = None, limit: int = 50) -> list[VersionRow]:
    """Versions older than ``before`` (default: all), newest first."""
    bound = 2**62 if before is None else before
    rows = await s.rows(_VERSIONS, {"project": project, "before": bound, "limit": limit})
    return [VersionRow._make(row) for row in rows]


async def commit(s: Scope, project: str, new: NewVersion) -> Head:
    """Make the next version and return it as the new head.

    Raises ``HeadMoved`` (facts lineage, version, digest of the head as it is) when the parent is not the head,
    ``ObjectsMissing`` (fact objects) when an object is not in this project, ``InvalidInput`` for a path named twice or
    a deletion of what is not there, ``TooLarge`` beyond ``MAX_FILES``, ``ProjectArchived``. The scope's block then has
    to end by that exception, so that nothing of it remains.
    """
    number = new.parent.version + 1
    await _move_head(s, project, new, number)
    standing = await _standing(s, project, new.changes)
    fresh = [change for change in new.changes if _differs(change, standing)]
    absent = await rely_on(s, project, (c.object for c in new.changes if c.object is not None), new.packs)
    if absent:
        raise ObjectsMissing(
            f"{len(absent):,} objects of the commit are not in the project", objects=absent[:MAX_NAMED_MISSING]
        )
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
    await s.execute(
        _INSERT_VERSION,
        {
            "project_id": project,
            "version": number,
            "lineage": new.parent.lineage,
            "digest": new.digest,
            "record": new.record,
            "author_id": new.author_id,
            "author": new.author,
            "time": new.time,
            "added": added,
            "changed": len(set_now) - added,
            "deleted": deleted,
        },
    )
    return Head(new.parent.lineage, number, new.digest)


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


async def _standing(s: Scope, project: str, changes: Sequence[ChangeIn]) -> dict[str, tuple[str, ObjectId, int]]:
    """Mode, object and size, before the commit, of the paths it changes."""
    paths = [change.path for change in changes]
    if len(set(paths)) != len(paths):
        raise InvalidInput("a path is named twice in one commit")
    standing: dict[str, tuple[str, ObjectId, int]] = {}
    for chunk in chunks(paths):
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
    await s.execute(_SET_SIZES, {"of_project": project, "more_files": more_files, "more_bytes": more_bytes})
    row = await s.row(_STATE, {"project": project})
    if row is not None and row.files > MAX_FILES:
        raise TooLarge(f"a project holds at most {MAX_FILES:,} files; this commit would make it {row.files:,}")


async def _at(s: Scope, project: str, at: int | None) -> int:
    now = await head(s, project)
    if at is None:
        return now.version
    if not 1 <= at <= now.version:
        raise NoSuchVersion(f"version {at} is not one of this project's")
    return at

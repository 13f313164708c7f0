"""The reader of hosted projects: the local reader's questions, answered for one principal by the same functions.

It sees exactly the projects its principal may read; every other one raises ``NoSuchProject`` as if it did not exist.
Made for one question in one thread; what it needs of the event loop it waits for there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol, TypeVar

from satchel import __version__
from satchel.auth.policy import reads_everything, role_on
from satchel.auth.roles import Principal
from satchel.catalog import projects as projects_table
from satchel.catalog import versions
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.versions import EntryRow
from satchel.context import assemble
from satchel.context.answers import (
    MAX_LIST_LIMIT,
    ArtifactList,
    ArtifactText,
    ContextAnswer,
    Health,
    ProjectInfo,
    SearchAnswer,
    Skipped,
    TaskList,
    VersionList,
)
from satchel.context.assemble import Part, Past, rfc3339
from satchel.documents import MANIFEST_PATH
from satchel.errors import IndexCorrupt, InvalidInput, NoSuchArtifact, NoSuchProject, SatchelError
from satchel.objects.ids import Digest, TenantId
from satchel.search.index import Item
from satchel.server.indexes import IndexCache, Ref

MAX_TREE_FILES = 50_000
"""Of a project with more files, history is looked up for the paths asked; of others the tree is read once a version
and kept: a list of 100 then costs no statement (2 ms of CPU less, measured on 2,000 files)."""
PAGE = 1_000
T = TypeVar("T")


class Behind(BaseException):
    """The indexes of these projects have to be brought to their heads first. Control flow, and no error of anybody."""

    def __init__(self, rows: Sequence[ProjectRow], needed: Sequence[Ref]) -> None:
        super().__init__()
        self.rows = rows
        self.needed = needed
        """Every index the question needs, those that are not behind too."""


class Wait(Protocol):
    """Runs a coroutine on the event loop and waits for it in this thread."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Shelf(NamedTuple):
    """What readers share."""

    catalog: Catalog
    indexes: IndexCache
    wait: Wait
    known_tree: Callable[[Ref, str, int], Mapping[str, EntryRow] | None]
    tree: Callable[[Ref, str, int], Coroutine[Any, Any, Mapping[str, EntryRow]]]
    bytes_of: Callable[[TenantId, ProjectRow, EntryRow], Coroutine[Any, Any, bytes]]
    key: Callable[[Ref, bytes], bytes]
    held: Mapping[Ref, ProjectRow]
    """What each index was last brought to."""
    degraded: Callable[[], bool]
    """Whether the store is known not to answer."""


class HostedReader:
    """A ``ContextReader`` of the cloud."""

    def __init__(
        self,
        shelf: Shelf,
        who: Principal,
        known: Sequence[ProjectRow],
        *,
        settle: bool,
        failed: Mapping[Ref, SatchelError],
    ) -> None:
        self._shelf, self._who, self._settle, self._failed = shelf, who, settle, failed
        self._known = {name: row for row in known for name in (row.id, row.slug)}

    # Questions ---------------------------------------------------------------------------------------------------

    def projects(self) -> list[ProjectInfo]:
        return [self._info(row) for row in self._readable()]

    def context(self, project: str) -> ContextAnswer:
        row = self._row(project)

        def answer(part: Part) -> ContextAnswer:
            manifest = self._manifest(row) if part.index.document(MANIFEST_PATH) is not None else None
            return assemble.context_answer(part, row.id, row.lineage, manifest)

        return self._of(row, answer)

    def artifacts(
        self, project: str, *, kind: str | None = None, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> ArtifactList:
        return self._of(
            self._row(project),
            lambda part: assemble.artifact_list(part, kind=kind, prefix=prefix, cursor=cursor, limit=limit),
        )

    def artifact(
        self,
        project: str,
        path: str,
        *,
        first: int = 1,
        last: int | None = None,
        budget: int = 40_000,
        at: int | None = None,
    ) -> ArtifactText:
        row = self._row(project)
        entry, digest = self._read(lambda s: _entry(s, row, path, at))
        item = Item(entry.path, entry.mode, entry.object, entry.size, entry.kind, entry.title)
        info = assemble.artifact_info(item, _past(entry))
        data = self._shelf.wait(self._shelf.bytes_of(self._who.tenant, row, entry))
        return assemble.artifact_answer(row.slug, digest, info, data, first=first, last=last, budget=budget)

    def search(
        self, query: str, *, projects: list[str] | None = None, limit: int = 10, offset: int = 0
    ) -> SearchAnswer:
        assemble.check_search(limit, offset)
        rows = self._readable() if projects is None else [self._row(name) for name in projects]
        understood = assemble.understood(query)
        slugs, skipped = assemble.chosen(understood, {(row.slug, row.id) for row in rows})
        chosen = {row.slug: row for row in rows if row.slug in slugs}
        with ExitStack() as borrowed:
            parts, failed = self._parts(borrowed, [chosen[slug] for slug in slugs], named=projects is not None)
            return assemble.search_answer(understood, parts, limit=limit, offset=offset, skipped=[*skipped, *failed])

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        return self._of(
            self._row(project),
            lambda part: assemble.task_list(part, done=done, prefix=prefix, cursor=cursor, limit=limit),
        )

    def history(self, project: str, *, cursor: str | None = None, limit: int = 50) -> VersionList:
        row = self._row(project)
        if not 1 <= limit <= MAX_LIST_LIMIT:
            raise InvalidInput(f"limit is {limit}; it may be from 1 to {MAX_LIST_LIMIT:,}")
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
            raise InvalidInput("the cursor is not one of this list", hint="Pass the `next` of the page before.")
        before = None if cursor is None else int(cursor)
        found = self._read(lambda s: versions.versions(s, row.id, before, limit + 1))
        oldest = self._read(lambda s: versions.floor(s, row.id))
        return {
            "project": row.slug,
            "lineage": row.lineage,
            "items": [
                {
                    "version": v.version,
                    "digest": v.digest,
                    "author": v.author,
                    "time": rfc3339(v.time),
                    "added": v.added,
                    "changed": v.changed,
                    "deleted": v.deleted,
                    "readable": v.version >= oldest,
                }
                for v in found[:limit]
            ],
            "next": str(found[limit - 1].version) if len(found) > limit else None,
        }

    def health(self) -> Health:
        status = "degraded" if self._shelf.degraded() else "ok"
        return {"status": status, "version": __version__, "mode": "cloud", "projects": len(self._readable())}

    # What the principal may see ----------------------------------------------------------------------------------

    def _row(self, name: str) -> ProjectRow:
        row = self._known.get(name) or self._read(lambda s: projects_table.get(s, name))
        if row is None or role_on(self._who, row.id) is None:
            raise NoSuchProject("there is no such project")
        return row

    def _readable(self) -> list[ProjectRow]:
        return self._read(lambda s: readable(s, self._who))

    def _read(self, question: Callable[[Scope], Coroutine[Any, Any, T]]) -> T:
        async def ask() -> T:
            async with self._shelf.catalog.read(self._who.tenant) as s:
                return await question(s)

        return self._shelf.wait(ask())

    # Parts -------------------------------------------------------------------------------------------------------

    def _of(self, row: ProjectRow, answer: Callable[[Part], T]) -> T:
        """The answer of one project."""
        with ExitStack() as borrowed:
            part = self._part(borrowed, row)
            if part is None:
                raise Behind([row], [self._ref(row)])
            try:
                return answer(part)
            except IndexCorrupt:
                self._shelf.indexes.discard(self._ref(row))
                raise Behind([row], [self._ref(row)]) from None

    def _parts(
        self, borrowed: ExitStack, rows: Sequence[ProjectRow], *, named: bool
    ) -> tuple[list[Part], list[Skipped]]:
        """Every project that can be asked now. Raises ``Behind`` with all those that cannot yet."""
        parts: list[Part] = []
        behind: list[ProjectRow] = []
        skipped: list[Skipped] = []
        for row in rows:
            try:
                part = self._part(borrowed, row)
            except SatchelError as error:
                if named:
                    raise
                skipped.append({"project": row.slug, "reason": error.code})
                continue
            if part is None:
                behind.append(row)
            else:
                parts.append(part)
        if behind:
            raise Behind(behind, [self._ref(row) for row in rows])
        return parts, skipped

    def _part(self, borrowed: ExitStack, row: ProjectRow) -> Part | None:
        """The project with its index, or ``None`` if that is behind. Raises why it cannot be brought to the head."""
        ref = self._ref(row)
        index = borrowed.enter_context(self._shelf.indexes.borrow(ref, lambda file_id: self._shelf.key(ref, file_id)))
        digest = index.digest
        if digest == row.digest:
            return Part(row.slug, index, row.version, self._history(ref, row.lineage, row.version, row.files))
        held = self._shelf.held.get(ref)
        if self._settle and held is not None and held.digest == digest:
            return Part(row.slug, index, held.version, self._history(ref, held.lineage, held.version, held.files))
        if ref in self._failed:
            raise self._failed[ref]
        return None

    def _history(self, ref: Ref, lineage: str, version: int, files: int) -> assemble.History:
        def ask(paths: Sequence[str]) -> Mapping[str, Past]:
            if not paths or version == 0:
                return {}
            rows = self._shelf.known_tree(ref, lineage, version)
            if rows is None and files > MAX_TREE_FILES:
                rows = self._read(lambda s: versions.entries_at(s, ref.project, paths, version))
            elif rows is None:
                rows = self._shelf.wait(self._shelf.tree(ref, lineage, version))
            return {path: _past(rows[path]) for path in paths if path in rows}

        return ask

    def _ref(self, row: ProjectRow) -> Ref:
        return Ref(self._who.tenant, row.id)

    def _manifest(self, row: ProjectRow) -> bytes | None:
        try:
            entry, _ = self._read(lambda s: _entry(s, row, MANIFEST_PATH, None))
        except NoSuchArtifact:
            return None
        return self._shelf.wait(self._shelf.bytes_of(self._who.tenant, row, entry))

    def _info(self, row: ProjectRow) -> ProjectInfo:
        relations = self._read(lambda s: projects_table.relations(s, row.id))
        return {
            "id": row.id,
            "project": row.slug,
            "description": row.description,
            "relations": [{"type": r.type, "project": r.target} for r in relations],
            "version": row.version,
            "digest": row.digest,
        }


async def readable(s: Scope, who: Principal) -> list[ProjectRow]:
    """Every project a principal may read, by slug, without those archived."""
    if not reads_everything(who):
        return [row for row in await projects_table.some(s, list(who.grants)) if row.archived is None]
    rows: list[ProjectRow] = []
    while True:
        page = await projects_table.list_(s, rows[-1].slug if rows else "", PAGE)
        rows += page
        if len(page) < PAGE:
            return rows


async def _entry(s: Scope, row: ProjectRow, path: str, at: int | None) -> tuple[EntryRow, Digest]:
    digest = row.digest if at is None else (await versions.version(s, row.id, at)).digest
    version = row.version if at is None else at
    entry = await versions.entry_at(s, row.id, path, version) if version else None
    if entry is None:
        raise NoSuchArtifact(f"there is no artifact {path!r} in {row.slug}")
    return entry, digest


def _past(entry: EntryRow) -> Past:
    return Past(entry.object, entry.version, entry.author, entry.time)

"""The reader of hosted projects: the local reader's questions, answered for one principal by the same functions.

It sees exactly the projects its principal may read; every other one raises ``NoSuchProject`` as if it did not exist.
Made for one question; what it needs of the event loop it waits for by ``Shelf.wait``, and what takes an index or much
work it does after ``Shelf.heavy``, which lets it begin on the event loop itself (see ``readers``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar

from satchel import __version__
from satchel.auth.policy import reads_everything, role_on
from satchel.auth.roles import Principal, author_kind
from satchel.catalog import projects as projects_table
from satchel.catalog import trail, versions
from satchel.catalog.projects import ProjectRow, RelationRow
from satchel.catalog.scope import Scope
from satchel.catalog.versions import EntryRow
from satchel.context import artifacts, assemble, describe
from satchel.context.absent import MAX_PATHS, no_artifact
from satchel.context.answers import (
    MAX_LIST_LIMIT,
    ArtifactInfo,
    ArtifactList,
    ArtifactText,
    ContextAnswer,
    Health,
    Outline,
    ProjectInfo,
    SearchAnswer,
    Skipped,
    TaskList,
    VersionList,
)
from satchel.context.part import History, Moved, Part, Past, rfc3339
from satchel.documents import MANIFEST_PATH
from satchel.errors import (
    ArtifactPurged,
    IndexCorrupt,
    InvalidInput,
    NoSuchArtifact,
    NoSuchProject,
    NoSuchVersion,
    SatchelError,
)
from satchel.objects.ids import Digest
from satchel.objects.reviews import REVIEWED_PATH, is_reviewed
from satchel.search.index import Item
from satchel.search.query import Query
from satchel.server.indexes import Ref
from satchel.server.shelf import Behind, Shelf

MAX_TREE_FILES = 50_000
"""Of a project with more files, history is looked up for the paths asked; of others the tree is read once a version
and kept: a list of 100 then costs no statement (2 ms of CPU less, measured on 2,000 files)."""
PAGE = 1_000
LIGHT_BYTES = 64 * 1024
"""An artifact of at most this is taken apart on the event loop: a millisecond at most."""
LIGHT_PATHS = 500
"""So many paths are compared there with one that is none: the same."""
LIGHT_PROJECTS, LIGHT_PROJECTS_BYTES = 4, 48 * 1024 * 1024
LIGHT_WORDS, LIGHT_HITS = 8, 20
LIGHT_WORK = 200_000
"""A search for so many words in projects of that size together, which takes so much work (``search.weight``: 5 to
9 ms), is answered on the event loop: to hand one to a thread and back takes half a millisecond, as much as to find the
median answer in 6 MB, and a thread that works holds the loop up too."""
LIGHT_FILES, LIGHT_LIST = 1_000, 100
"""So is a list of so many files of a project that has so many: a millisecond."""
T = TypeVar("T")


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
        absent: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """``absent`` is told each name of a project that is not there, or not for ``who``."""
        self._shelf, self._who, self._settle, self._failed = shelf, who, settle, failed
        self._absent = absent
        self._work = 0
        self._known = {name: row for row in known for name in (row.id, row.slug)}

    # Questions ---------------------------------------------------------------------------------------------------

    def projects(self) -> list[ProjectInfo]:
        async def ask(s: Scope) -> list[ProjectInfo]:
            rows = await readable(s, self._who)
            relations = await projects_table.relations_of(s, [row.id for row in rows])
            return [_info(row, relations.get(row.id, ())) for row in rows]

        return self._read(ask)

    def context(self, project: str, *, budget: int = 40_000, tokens: int | None = None) -> ContextAnswer:
        describe.check_context(budget, tokens)
        row = self._row(project)

        def answer(part: Part) -> ContextAnswer:
            manifest = self._manifest(row) if part.index.document(MANIFEST_PATH) is not None else None
            base = describe.Base(part.version, part.digest) if part.version else None
            return describe.context_answer(part, row.id, row.lineage, manifest, base=base, budget=budget, tokens=tokens)

        return self._of(row, answer)

    def artifacts(
        self,
        project: str,
        *,
        kind: str | None = None,
        prefix: str = "",
        text: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> ArtifactList:
        row = self._row(project)
        return self._of(
            row,
            lambda part: artifacts.artifact_list(part, kind=kind, prefix=prefix, text=text, cursor=cursor, limit=limit),
            light=row.files <= LIGHT_FILES and limit <= LIGHT_LIST and self._are_light([row]),
        )

    def artifact(
        self,
        project: str,
        path: str,
        *,
        first: int = 1,
        last: int | None = None,
        section: str | None = None,
        cursor: str | None = None,
        budget: int = 40_000,
        tokens: int | None = None,
        at: int | None = None,
    ) -> ArtifactText:
        row, digest, info, data = self._artifact(project, path, at)
        return artifacts.artifact_answer(
            row.slug, digest, info, data,
            first=first, last=last, section=section, cursor=cursor, budget=budget, tokens=tokens,
        )  # fmt: skip

    def outline(
        self, project: str, path: str, *, cursor: str | None = None, limit: int = 200, at: int | None = None
    ) -> Outline:
        row, digest, info, data = self._artifact(project, path, at)
        return artifacts.outline_answer(row.slug, digest, info, data, cursor=cursor, limit=limit)

    def search(
        self,
        query: str,
        *,
        projects: list[str] | None = None,
        related: bool = False,
        limit: int = 10,
        offset: int = 0,
        at: str | None = None,
    ) -> SearchAnswer:
        assemble.check_search(limit, offset)
        moment = None if at is None else assemble.moment_of(at)
        understood = assemble.understood(query)
        if related or moment is not None or limit > LIGHT_HITS or not _asks_little(understood):
            self._shelf.heavy()
        named = None if projects is None else [self._row(name) for name in projects]
        relations, others = self._related(named) if related and named is not None else ({}, [])
        rows = self._readable() if named is None else [*named, *others]
        if not self._are_light(rows):
            self._shelf.heavy()
        slugs, skipped = assemble.chosen(understood, {(row.slug, row.id) for row in rows})
        by_slug = {row.slug: row for row in rows}
        chosen = [by_slug[slug] for slug in slugs]
        must = {row.id for row in named or ()}
        if moment is not None:
            chosen, before = self._then(chosen, moment, must)
            skipped += before
        with ExitStack() as borrowed:
            parts, failed = self._parts(borrowed, chosen, must, past=moment is not None)
            parts = [replace(part, relation=relations.get(part.project)) for part in parts] if relations else parts
            try:
                return assemble.search_answer(
                    understood, parts, limit=limit, offset=offset, skipped=[*skipped, *failed], at=at, weigh=self._weigh
                )
            except Moved as moved:
                row = next(row for row in chosen if row.slug == moved.part.project)
                raise self._behind([row], [row], past=moment is not None) from None
            except IndexCorrupt:
                hurt = {part.project for part in parts if part.index.damaged}
                raise self._damaged([row for row in chosen if row.slug in hurt], past=moment is not None) from None

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        return self._of(
            self._row(project),
            lambda part: describe.task_list(part, done=done, prefix=prefix, cursor=cursor, limit=limit),
        )

    def history(
        self, project: str, *, path: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> VersionList:
        row = self._row(project)
        if not 1 <= limit <= MAX_LIST_LIMIT:
            raise InvalidInput(f"limit is {limit}; it may be from 1 to {MAX_LIST_LIMIT:,}")
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
            raise InvalidInput("the cursor is not one of this list", hint="Pass the `next` of the page before.")
        before = None if cursor is None else int(cursor)
        if path is None:
            found = self._read(lambda s: versions.versions(s, row.id, before, limit + 1))
        else:
            found = self._read(lambda s: trail.of_path(s, row.id, path, before, limit + 1))
        oldest = self._read(lambda s: versions.floor(s, row.id))
        return {
            "project": row.slug,
            "lineage": row.lineage,
            "items": [
                {
                    "version": v.version,
                    "digest": v.digest,
                    "author": v.author,
                    "authorKind": author_kind(v.author_id),
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
            self._absent(name)
            raise NoSuchProject("there is no such project")
        return row

    def _readable(self) -> list[ProjectRow]:
        return self._read(lambda s: readable(s, self._who))

    def _related(self, named: Sequence[ProjectRow]) -> tuple[dict[str, str], list[ProjectRow]]:
        """The projects related to those named that the principal may read: the relation by slug, and the projects."""
        rows = {row.id: row for row in (*self._readable(), *named)}
        found = self._read(lambda s: projects_table.relations_of(s, list(rows)))
        labels = assemble.related(
            [row.slug for row in named],
            {rows[name].slug: [(each.type, each.target) for each in those] for name, those in found.items()},
            {name: row.slug for row in rows.values() for name in (row.id, row.slug)},
        )
        return labels, [row for row in rows.values() if row.slug in labels]

    def _then(
        self, rows: Sequence[ProjectRow], moment: assemble.Moment, must: Container[str]
    ) -> tuple[list[ProjectRow], list[Skipped]]:
        """The projects as they were then. Raises ``NoSuchVersion`` for one of ``must`` that had no such version."""
        if moment.version is not None and len(rows) != 1:
            raise InvalidInput("a version is that of one project", hint="Name one project, or a date for several.")

        async def ask(s: Scope, row: ProjectRow) -> ProjectRow:
            if moment.version is not None:
                old = await versions.version(s, row.id, moment.version)
            else:
                old = await versions.newest_before(s, row.id, moment.before or 0)
            await versions.check_readable(s, row.id, old.version)
            return row._replace(lineage=old.lineage, version=old.version, digest=old.digest)

        then: list[ProjectRow] = []
        skipped: list[Skipped] = []
        for row in rows:
            try:
                then.append(self._read(lambda s, row=row: ask(s, row)))  # type: ignore[misc]
            except NoSuchVersion as error:
                if row.id in must:
                    raise
                skipped.append({"project": row.slug, "reason": error.code})
        return then, skipped

    def _read(self, question: Callable[[Scope], Coroutine[Any, Any, T]]) -> T:
        async def ask() -> T:
            async with self._shelf.catalog.read(self._who.tenant) as s:
                return await question(s)

        return self._shelf.wait(ask())

    def _are_light(self, rows: Sequence[ProjectRow]) -> bool:
        """Whether a small question to these projects may be answered on the event loop."""
        few = len(rows) <= LIGHT_PROJECTS and sum(row.bytes for row in rows) <= LIGHT_PROJECTS_BYTES
        return few and all(self._shelf.at_hand(self._ref(row), row) for row in rows)

    def _weigh(self, work: int) -> None:
        self._work += work
        if self._work > LIGHT_WORK:
            self._shelf.heavy()

    # Parts -------------------------------------------------------------------------------------------------------

    def _of(self, row: ProjectRow, answer: Callable[[Part], T], *, light: bool = False) -> T:
        """The answer of one project."""
        if not light:
            self._shelf.heavy()
        with ExitStack() as borrowed:
            part = self._part(borrowed, row)
            if part is None:
                raise self._behind([row], [row])
            try:
                return answer(part)
            except IndexCorrupt:
                self._shelf.indexes.discard(self._ref(row))
                raise self._behind([row], [row]) from None
            except Moved:
                raise self._behind([row], [row]) from None

    def _behind(self, rows: Sequence[ProjectRow], needed: Sequence[ProjectRow], *, past: bool = False) -> Behind:
        wanted = [(self._ref(row, past=past), row) for row in rows]
        return Behind(wanted, [self._ref(row, past=past) for row in needed])

    def _damaged(self, rows: Sequence[ProjectRow], *, past: bool) -> Behind:
        """Delete indexes that are damaged: they are built anew before the question is asked again."""
        for row in rows:
            self._shelf.indexes.discard(self._ref(row, past=past))
        return self._behind(rows, rows, past=past)

    def _parts(
        self, borrowed: ExitStack, rows: Sequence[ProjectRow], must: Container[str], *, past: bool
    ) -> tuple[list[Part], list[Skipped]]:
        """Every project that can be asked now. Raises ``Behind`` with all those that cannot yet."""
        parts: list[Part] = []
        behind: list[ProjectRow] = []
        skipped: list[Skipped] = []
        for row in rows:
            try:
                part = self._part(borrowed, row, past=past)
            except SatchelError as error:
                if isinstance(error, IndexCorrupt) and self._ref(row, past=past) not in self._failed:
                    raise self._damaged([row], past=past) from None
                if row.id in must:
                    raise
                skipped.append({"project": row.slug, "reason": error.code})
                continue
            if part is None:
                behind.append(row)
            else:
                parts.append(part)
        if behind:
            raise self._behind(behind, rows, past=past)
        return parts, skipped

    def _part(self, borrowed: ExitStack, row: ProjectRow, *, past: bool = False) -> Part | None:
        """The project with its index, or ``None`` if that is behind. Raises why it cannot be brought to the version."""
        ref = self._ref(row, past=past)
        index = borrowed.enter_context(self._shelf.indexes.borrow(ref, lambda file_id: self._shelf.key(ref, file_id)))
        digest = index.digest
        if digest == row.digest:
            return Part(row.slug, index, row.digest, row.version, self._history(row))
        held = self._shelf.held.get(ref)
        if self._settle and not past and held is not None and held.digest == digest:
            return Part(row.slug, index, held.digest, held.version, self._history(held))
        if ref in self._failed:
            raise self._failed[ref]
        return None

    def _history(self, row: ProjectRow) -> History:
        ref = self._ref(row)

        def everything() -> Mapping[str, Past]:
            if row.version == 0:
                return {}
            rows = self._shelf.known_tree(ref, row.lineage, row.version)
            if rows is None:
                rows = self._shelf.wait(self._shelf.tree(ref, row.lineage, row.version))
            return {path: _past(entry) for path, entry in rows.items()}

        def of(paths: Sequence[str]) -> Mapping[str, Past]:
            if not paths or row.version == 0:
                return {}
            rows = self._shelf.known_tree(ref, row.lineage, row.version)
            if rows is None and row.files > MAX_TREE_FILES:
                rows = self._read(lambda s: versions.entries_at(s, ref.project, paths, row.version))
            elif rows is None:
                rows = self._shelf.wait(self._shelf.tree(ref, row.lineage, row.version))
            return {path: _past(rows[path]) for path in paths if path in rows}

        return History(of, everything)

    def _artifact(self, project: str, path: str, at: int | None) -> tuple[ProjectRow, Digest, ArtifactInfo, bytes]:
        """An artifact with its bytes, and the digest of the version it is of."""
        row = self._row(project)
        tenant, digest = self._who.tenant, row.digest
        if at is None:
            entry, data = self._content(row, path)
            reviews = self._reviews(row)
        else:
            entry, digest, listed = self._read(lambda s: _entry(s, row, path, at))
            data = self._shelf.wait(self._shelf.bytes_of(tenant, row, entry))
            reviews = self._reviews_then(row, listed)
        if max(len(data), len(reviews)) > LIGHT_BYTES:
            self._shelf.heavy()
        reviewed = is_reviewed(reviews, entry.path, entry.object)
        item = Item(entry.path, entry.mode, entry.object, entry.size, entry.kind, entry.title, reviewed)
        return row, digest, artifacts.artifact_info(item, _past(entry)), data

    def _reviews(self, row: ProjectRow) -> bytes:
        """The list of reviews of the head; empty where there is none."""
        tree = self._shelf.known_tree(self._ref(row), row.lineage, row.version)
        if tree is not None and REVIEWED_PATH not in tree:
            return b""
        try:
            return self._content(row, REVIEWED_PATH)[1]
        except NoSuchArtifact:
            return b""

    def _reviews_then(self, row: ProjectRow, listed: EntryRow | None) -> bytes:
        """The same of an older version; one that was purged says nothing."""
        try:
            return b"" if listed is None else self._shelf.wait(self._shelf.bytes_of(self._who.tenant, row, listed))
        except ArtifactPurged:
            return b""

    def _content(self, row: ProjectRow, path: str) -> tuple[EntryRow, bytes]:
        """An artifact of the head and its bytes, without a wait where both are in memory."""
        known = self._shelf.known_content(self._who.tenant, row, path)
        if known is not None:
            return known
        try:
            return self._shelf.wait(self._shelf.content(self._who.tenant, row, path))
        except NoSuchArtifact:
            raise no_artifact(row.slug, path, self._paths(row)) from None

    def _paths(self, row: ProjectRow) -> Collection[str]:
        """Of the head, to find in them what was meant; none where they are too many for that."""
        if not row.version or row.files > MAX_PATHS:
            return ()
        ref = self._ref(row)
        tree = self._shelf.known_tree(ref, row.lineage, row.version)
        if tree is None:
            tree = self._shelf.wait(self._shelf.tree(ref, row.lineage, row.version))
        if len(tree) > LIGHT_PATHS:
            self._shelf.heavy()
        return tree.keys()

    def _ref(self, row: ProjectRow, *, past: bool = False) -> Ref:
        return Ref(self._who.tenant, row.id, past)

    def _manifest(self, row: ProjectRow) -> bytes | None:
        try:
            return self._content(row, MANIFEST_PATH)[1]
        except NoSuchArtifact:
            return None


def _asks_little(query: Query) -> bool:
    """Whether it takes about what its words say: no list of all files, no beginnings of words."""
    terms = len(query.loose) + len(query.without)
    return bool(query.sought) and terms <= LIGHT_WORDS and not query.historical and "*" not in query.text


def _info(row: ProjectRow, relations: Sequence[RelationRow]) -> ProjectInfo:
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


async def _entry(s: Scope, row: ProjectRow, path: str, at: int) -> tuple[EntryRow, Digest, EntryRow | None]:
    """An artifact of a version, the digest of that, and the list of reviews it has."""
    digest = (await versions.version(s, row.id, at)).digest
    entries = await versions.entries_at(s, row.id, sorted({path, REVIEWED_PATH}), at) if at else {}
    if path not in entries:
        raise no_artifact(row.slug, path)
    return entries[path], digest, entries.get(REVIEWED_PATH)


def _past(entry: EntryRow) -> Past:
    return Past(entry.object, entry.version, entry.author, entry.time, entry.author_kind)

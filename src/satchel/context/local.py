"""The reader that answers from folders on this machine: scan, bring the index to what is there, ask it.

Every answer is of the folder as it was a moment ago: what changed since the last question is read again first. For one
thread at a time. Opens no socket and loads nothing that could (promise P1).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from satchel import __version__
from satchel.context import assemble
from satchel.context.part import History, Moved, Part, Past
from satchel.context.project import LocalProject as LocalProject
from satchel.documents import MANIFEST_PATH
from satchel.errors import (
    Busy,
    DiskFull,
    IndexCorrupt,
    NoSuchArtifact,
    NoSuchProject,
    NoSuchVersion,
    SatchelError,
    StoreUnavailable,
)
from satchel.objects.ids import Digest
from satchel.search.index import Index, remove
from satchel.worktree.base import CloudEntry, load_base
from satchel.worktree.base import History as Record
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

if TYPE_CHECKING:
    from satchel.context.answers import (
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
    from satchel.context.assemble import Moment

SETTLE_TRIES = 5
"""How often a folder that changes between looking and reading is looked at again."""
MANY_PROJECTS = 30
"""Of more projects that are asked together each is remembered on disk alone: a database that is open takes 0.2 MB."""
FEW_PATHS = 200
"""Up to this many paths are looked up one by one in the record of the last sync; for more it is read whole."""

_ASK_SERVER = "Versions are kept by the server: ask it with --remote."

Answer = TypeVar("Answer")


class _Open:
    """A project with its folder and index open."""

    def __init__(self, project: LocalProject, notices: list[str]) -> None:
        self.project = project
        self.worktree = Worktree.open(project.root, rules=project.rules, state_path=project.state_path)
        self._notices = notices
        self._index: Index | None = None

    def close(self) -> None:
        self.worktree.close()
        if self._index is not None:
            self._index.close()

    def rest(self) -> None:
        """Let go of what the folder was seen as: the next look reads it again from where it is remembered."""
        self.worktree.close()
        self.worktree.forget()

    def look(self) -> tuple[Scan, Digest]:
        """The folder as it is now."""
        scan = self.worktree.scan()
        self._notices += [notice for notice in scan.notices if notice not in self._notices]
        return scan, scan.digest

    def part(self) -> Part:
        """The project with its index brought to the folder as it is now."""
        for left in reversed(range(SETTLE_TRIES)):
            scan, digest = self.look()
            try:
                index = self._brought(scan, digest)
            except (ChangedMeanwhile, NoSuchArtifact) as error:
                if not left:
                    raise _restless(self.project.slug) from error
            else:
                record = Record(self.project.root)
                version = record.version if record.digest == digest else None
                return Part(self.project.slug, index, digest, version, self._history(record))
        raise AssertionError("the last try returns or raises")

    def _brought(self, scan: Scan, digest: Digest) -> Index:
        def read(path: str) -> bytes:
            return self.worktree.read(path, scan.tree[path].object)

        try:
            index = self._open_index()
            if index.digest != digest:  # else nobody asks for the tree, which takes time to make
                index.bring(digest, scan.tree, read, scan.sizes)
        except IndexCorrupt:
            self.rebuild()
            index = self._open_index()
            index.bring(digest, scan.tree, read, scan.sizes)
        except (StoreUnavailable, DiskFull, Busy) as error:
            self._notices.append(f"{self.project.index_path}: {error.message}; the index is kept in memory.")
            index = self._replace(Index.open(None))
            index.bring(digest, scan.tree, read, scan.sizes)
        return index

    def _open_index(self) -> Index:
        if self._index is None:
            path = self.project.index_path
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror}") from error
            self._index, rebuilt = Index.open_or_rebuild(path)
            if rebuilt:
                self._notices.append(f"{path} could not serve and was built anew: an index is derived.")
        return self._index

    def rebuild(self) -> None:
        """Let go of a damaged index: the next question builds another."""
        self._notices.append(f"{self.project.index_path} was damaged and is built anew: an index is derived.")
        if self._index is not None:
            self._index.close()
            self._index = None
        remove(self.project.index_path)

    def rebuild_if_damaged(self) -> None:
        """Let go of the index if it turned out damaged."""
        if self._index is not None and self._index.damaged:
            self.rebuild()

    def _replace(self, index: Index) -> Index:
        if self._index is not None:
            self._index.close()
        self._index = index
        return index

    def _history(self, record: Record) -> History:
        def of(paths: Sequence[str]) -> Mapping[str, Past]:
            if len(paths) > FEW_PATHS:
                return everything()
            return {path: _past(entry) for path, entry in record.of(paths).items()}

        def everything() -> Mapping[str, Past]:
            base = load_base(self.project.root)[0] if record.version is not None else None
            return {path: _past(entry) for path, entry in base.cloud.items()} if base else {}

        return History(of, everything, known=record.version is not None)

    def manifest(self) -> bytes | None:
        """The bytes of ``context.json`` if it belongs to the project."""
        try:
            return self.worktree.read(MANIFEST_PATH)
        except NoSuchArtifact:
            return None


class LocalReader:
    """A ``ContextReader`` over folders. ``notices`` collects what a person should be told, such as a rebuilt index."""

    def __init__(self, projects: Sequence[LocalProject]) -> None:
        self._projects = sorted(projects, key=lambda project: project.slug)
        self._opened: dict[str, _Open] = {}
        self.notices: list[str] = []

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()

    def projects(self) -> list[ProjectInfo]:
        return [self._info(project) for project in self._projects]

    def context(self, project: str, *, budget: int = 40_000, tokens: int | None = None) -> ContextAnswer:
        from satchel.context.describe import Base, check_context, context_answer

        check_context(budget, tokens)
        opened = self._open(project)

        def ask() -> ContextAnswer:
            part = opened.part()
            listed = part.index.document(MANIFEST_PATH) is not None
            manifest = opened.manifest() if listed else None
            base, _ = load_base(opened.project.root)
            return context_answer(
                part,
                opened.project.id,
                base.lineage if base else None,
                manifest,
                base=Base(base.version, base.digest) if base else None,
                conflicts=sorted(base.held) if base else (),
                budget=budget,
                tokens=tokens,
            )

        return self._sound(ask, opened.rebuild)

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
        from satchel.context.artifacts import artifact_list

        opened = self._open(project)
        return self._sound(
            lambda: artifact_list(opened.part(), kind=kind, prefix=prefix, text=text, cursor=cursor, limit=limit),
            opened.rebuild,
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
        from satchel.context.artifacts import artifact_answer

        def answer(part: Part, info: ArtifactInfo, data: bytes) -> ArtifactText:
            return artifact_answer(
                part.project, part.digest, info, data,
                first=first, last=last, section=section, cursor=cursor, budget=budget, tokens=tokens,
            )  # fmt: skip

        return self._of_artifact(project, path, at, answer)

    def outline(
        self, project: str, path: str, *, cursor: str | None = None, limit: int = 200, at: int | None = None
    ) -> Outline:
        from satchel.context.artifacts import outline_answer

        def answer(part: Part, info: ArtifactInfo, data: bytes) -> Outline:
            return outline_answer(part.project, part.digest, info, data, cursor=cursor, limit=limit)

        return self._of_artifact(project, path, at, answer)

    def _of_artifact(
        self, project: str, path: str, at: int | None, answer: Callable[[Part, ArtifactInfo, bytes], Answer]
    ) -> Answer:
        """What is answered from one artifact and its bytes."""
        from satchel.context.artifacts import artifact_info

        opened = self._open(project)

        def ask() -> Answer:
            part = opened.part()
            with part.moment():
                item = part.index.document(path)
                paths = part.index.paths() if item is None else []
            if item is None:
                from satchel.context.absent import no_artifact

                raise no_artifact(opened.project.slug, path, paths)
            past = part.history.of([path]).get(path)
            if at is not None and (past is None or past.object != item.object or not _held_at(part, past, at)):
                raise NoSuchVersion(f"this folder does not hold {path!r} as of version {at}", hint=_ASK_SERVER)
            return answer(part, artifact_info(item, past), opened.worktree.read(path, item.object))

        return self._sound(ask, opened.rebuild)

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
        named = None if projects is None else [self._find(name) for name in projects]
        relations = self._related(named) if related and named is not None else {}
        asked = self._projects if named is None else [*named, *map(self._find, relations)]
        understood = assemble.understood(query)
        slugs, skipped = assemble.chosen(understood, {(project.slug, project.id) for project in asked})

        def ask() -> SearchAnswer:
            must = {project.slug for project in named or ()}
            parts, failed = self._parts(slugs, must, relations)
            if moment is not None:
                _check_held(parts, moment)
            return assemble.search_answer(
                understood, parts, limit=limit, offset=offset, skipped=[*skipped, *failed], at=at
            )

        return self._sound(ask, self._rebuild_damaged)

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        from satchel.context.describe import task_list

        opened = self._open(project)
        return self._sound(
            lambda: task_list(opened.part(), done=done, prefix=prefix, cursor=cursor, limit=limit), opened.rebuild
        )

    def history(
        self, project: str, *, path: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> VersionList:
        """A folder keeps no versions, its remote does: the list is empty."""
        found = self._find(project)
        return {"project": found.slug, "lineage": Record(found.root).lineage, "items": [], "next": None}

    def health(self) -> Health:
        """Degraded where a project's folder is not there: on a disk that is not mounted, say."""
        status = "ok" if all(os.path.isdir(project.root) for project in self._projects) else "degraded"
        return {"status": status, "version": __version__, "mode": "local", "projects": len(self._projects)}

    def _find(self, name: str) -> LocalProject:
        for project in self._projects:
            if name in (project.slug, project.id):
                return project
        raise NoSuchProject(f"there is no project {name!r} here")

    def _open(self, name: str) -> _Open:
        project = self._find(name)
        opened = self._opened.get(project.slug)
        if opened is None:
            opened = self._opened[project.slug] = _Open(project, self.notices)
        return opened

    def _parts(
        self, slugs: Sequence[str], must: Container[str], relations: Mapping[str, str]
    ) -> tuple[list[Part], list[Skipped]]:
        """The projects ready to be asked. One that cannot be is skipped with its code, unless it is one of ``must``."""
        parts: list[Part] = []
        skipped: list[Skipped] = []
        for slug in slugs:
            try:
                opened = self._open(slug)
                part = opened.part()
                if len(slugs) > MANY_PROJECTS:
                    opened.rest()
            except SatchelError as error:
                if slug in must:
                    raise
                skipped.append({"project": slug, "reason": error.code})
            else:
                parts.append(replace(part, relation=relations[slug]) if slug in relations else part)
        return parts, skipped

    def _related(self, named: Sequence[LocalProject]) -> dict[str, str]:
        """The projects here that are related to those named, with the relation."""
        relations = {info["project"]: info["relations"] for info in self.projects()}
        return assemble.related(
            [project.slug for project in named],
            {slug: [(each["type"], each["project"]) for each in found] for slug, found in relations.items()},
            {name: project.slug for project in self._projects for name in (project.slug, project.id)},
        )

    def _info(self, project: LocalProject) -> ProjectInfo:
        info: ProjectInfo = {
            "id": project.id,
            "project": project.slug,
            "description": "",
            "relations": [],
            "version": None,
            "digest": None,
        }
        from satchel.context.describe import described

        try:
            opened = self._open(project.slug)
            scan, digest = opened.look()
        except SatchelError:
            return info
        manifest = opened.manifest() if MANIFEST_PATH in scan.tree else None
        info["description"], info["relations"] = described(manifest)
        record = Record(project.root)
        info["version"] = record.version if record.digest == digest else None
        info["digest"] = digest
        return info

    def _sound(self, ask: Callable[[], Answer], rebuild: Callable[[], None]) -> Answer:
        """Ask; once more where an index turned out damaged or the folder changed meanwhile, and a few times where
        another process brought the index on. Raises ``ChangedMeanwhile`` where it never rests."""
        again = True
        for left in reversed(range(SETTLE_TRIES)):
            try:
                return ask()
            except (IndexCorrupt, ChangedMeanwhile) as error:
                if not again or not left:
                    raise
                again = False
                if isinstance(error, IndexCorrupt):
                    rebuild()
            except Moved as moved:
                if not left:
                    raise _restless(moved.part.project) from None
        raise AssertionError("the last try returns or raises")

    def _rebuild_damaged(self) -> None:
        for opened in self._opened.values():
            opened.rebuild_if_damaged()


def _restless(slug: str) -> ChangedMeanwhile:
    return ChangedMeanwhile(f"{slug} changes faster than it can be read", hint="Nothing was lost: ask again.")


def _past(entry: CloudEntry) -> Past:
    return Past(entry.object, entry.version, entry.author, entry.time_ms, entry.author_kind)


def _check_held(parts: Sequence[Part], moment: Moment) -> None:
    """Raises ``NoSuchVersion`` unless the folders are what they were at that moment, as far as the last sync knows."""
    for part in parts:
        if part.version is None or part.version != moment.version:
            raise NoSuchVersion(f"this folder does not hold that version of {part.project}", hint=_ASK_SERVER)


def _held_at(part: Part, past: Past, at: int) -> bool:
    """Whether the path is as it was at version ``at``: unchanged since then, as far as the last sync knows."""
    return past.version <= at and part.version is not None and at <= part.version

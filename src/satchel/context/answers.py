"""The one answer shape of every face: CLI ``--json``, stdio MCP, REST, remote MCP and the Python readers.

Answers are plain data with camelCase keys, so that a face only encodes them and a remote reader only decodes
them. For equal digests, index format and query, every route gives equal answers (promise P2). Times are RFC 3339 UTC,
sizes are bytes, lines are 1-based and inclusive, offsets in ``highlights`` are characters of ``snippet``.

``version``, ``author`` and ``modified`` are facts of history: they come from the hosted version that last changed the
path. They are ``None`` for a folder that was never synced and for a file changed since.
"""

from __future__ import annotations

from typing import Protocol, TypedDict

from satchel.context.limits import MAX_ARTIFACT_BUDGET as MAX_ARTIFACT_BUDGET
from satchel.context.limits import MAX_LIST_LIMIT as MAX_LIST_LIMIT
from satchel.context.limits import MAX_SEARCH_DEPTH as MAX_SEARCH_DEPTH
from satchel.context.limits import MAX_SEARCH_LIMIT as MAX_SEARCH_LIMIT


class Relation(TypedDict):
    type: str
    """``part-of``, ``depends-on`` or ``related-to``."""
    project: str


class ProjectInfo(TypedDict):
    id: str
    project: str
    """The slug."""
    description: str
    relations: list[Relation]
    version: int | None
    digest: str | None


class Hit(TypedDict):
    project: str
    path: str
    kind: str
    title: str
    trail: list[str]
    """Headings from the document's title down to the section."""
    lines: list[int]
    """First and last line of the section."""
    snippet: str
    highlights: list[list[int]]
    """Pairs [start, end) of matched words in ``snippet``."""
    score: float
    """Higher is better; comparable inside one answer only."""
    digest: str
    """Of the project, at the moment of the answer."""
    version: int | None
    author: str | None
    modified: str | None


class QueryUnderstood(TypedDict):
    text: str
    words: list[str]
    phrases: list[str]
    filters: dict[str, list[str]]
    """Such as ``{"kind": ["spec"], "-path": ["old/"], "-words": ["draft"]}``: what to avoid has a ``-`` before it."""
    match: str
    """``all`` when sections had to hold every word, ``any`` when fewer than five do and one word was enough."""
    cut: bool
    """Whether the query was too long (4,096 characters, 32 words) and its end was left out."""


class Answered(TypedDict):
    project: str
    digest: str
    version: int | None


class Skipped(TypedDict):
    project: str
    reason: str


class SearchAnswer(TypedDict):
    query: QueryUnderstood
    hits: list[Hit]
    total: int
    """Sections that match. Where one word is enough: those with one of the query's rarer words."""
    facets: dict[str, dict[str, int]]
    """Counted sections: ``{"kind": {"spec": 3}, "project": {"acme": 3}}``, over all matches."""
    projects: list[Answered]
    skipped: list[Skipped]


class ArtifactInfo(TypedDict):
    path: str
    kind: str
    title: str
    object: str
    """The SHA-256 of the content, which is also the ETag."""
    size: int
    mode: str
    version: int | None
    author: str | None
    modified: str | None


class ArtifactList(TypedDict):
    project: str
    digest: str
    version: int | None
    items: list[ArtifactInfo]
    """Sorted by path."""
    next: str | None
    """Pass as ``cursor`` for the next page."""


class ArtifactText(ArtifactInfo):
    project: str
    digest: str
    text: str | None
    """The text, or the asked lines of it; ``None`` for binary content."""
    lines: list[int] | None
    """First and last line given, ``None`` for binary content."""
    totalLines: int | None
    truncated: bool
    """Whether ``text`` was cut to the asked budget; ask again from ``lines[1] + 1``."""


class Task(TypedDict):
    project: str
    path: str
    line: int
    text: str
    done: bool
    trail: list[str]
    owner: str | None
    """From ``@name`` in the text."""


class TaskList(TypedDict):
    project: str
    digest: str
    version: int | None
    items: list[Task]
    total: int
    next: str | None


class Recent(TypedDict):
    path: str
    title: str
    kind: str
    version: int | None
    author: str | None
    modified: str | None


class ContextAnswer(TypedDict):
    project: str
    id: str
    digest: str
    version: int | None
    lineage: str | None
    manifest: dict[str, object] | None
    """The project's ``context.json``, or ``None`` when there is none or it does not parse (see ``problems``)."""
    problems: list[str]
    kinds: dict[str, int]
    artifacts: int
    bytes: int
    openTasks: int
    recent: list[Recent]
    """Up to ten artifacts, newest version first, then by path; by path alone where history is not known."""


class VersionInfo(TypedDict):
    version: int
    digest: str
    author: str
    time: str
    added: int
    changed: int
    deleted: int
    readable: bool
    """Whether its artifacts can still be read; retention decides."""


class VersionList(TypedDict):
    project: str
    lineage: str | None
    items: list[VersionInfo]
    """Newest first; empty for a folder that was never synced."""
    next: str | None


class Health(TypedDict):
    status: str
    """``ok`` or ``degraded``."""
    version: str
    mode: str
    """``local`` or ``cloud``."""
    projects: int


class ContextReader(Protocol):
    """The questions. Synchronous: a server calls it in a thread.

    ``project`` is a slug or an id. Every method raises ``NoSuchProject`` for a project that is absent or that the
    caller may not read, and ``InvalidInput`` for arguments out of range.
    """

    def projects(self) -> list[ProjectInfo]:
        """All projects the caller may read, by slug."""
        ...

    def context(self, project: str) -> ContextAnswer: ...

    def artifacts(
        self, project: str, *, kind: str | None = None, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> ArtifactList: ...

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
        """Lines ``first`` to ``last`` of an artifact, at most ``budget`` characters; at version ``at`` if named.

        Raises ``NoSuchArtifact``, and ``NoSuchVersion`` where ``at`` is not a version of the project.
        """
        ...

    def search(
        self, query: str, *, projects: list[str] | None = None, limit: int = 10, offset: int = 0
    ) -> SearchAnswer:
        """The best sections for ``query`` in the named projects (``None``: all the caller may read).

        Any text is a query; nothing is a syntax error.
        """
        ...

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        """Open tasks (or, with ``done``, finished ones) by path and line."""
        ...

    def history(self, project: str, *, cursor: str | None = None, limit: int = 50) -> VersionList: ...

    def health(self) -> Health: ...

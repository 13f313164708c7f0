"""The one answer shape of every face: CLI ``--json``, stdio MCP, REST, remote MCP and the Python readers.

Answers are plain data with camelCase keys, so that a face only encodes them and a remote reader only decodes
them. For equal digests, index format and query, every route gives equal answers (promise P2). Times are RFC 3339 UTC,
sizes are bytes, lines are 1-based and inclusive, offsets in ``highlights`` are characters of ``snippet``.

``version``, ``author``, ``authorKind`` and ``modified`` are facts of history: they come from the hosted version that
last changed the path. They are ``None`` for a folder that was never synced and for a file changed since; ``history`` of
the project says which: ``complete``, ``partial`` (some files changed since the last sync) or ``none``. ``authorKind``
says how far to trust a text: what a ``person`` made a version of, somebody answers for; what a ``key`` wrote (an agent,
a program) nobody has looked at until a person's version changes it; ``operator`` is who runs the server.

``reviewed`` says that a person has looked at the file as it is now: the list ``reviewed.sha256`` of the same tree names
its path with its object. It depends on the tree alone.
"""

from __future__ import annotations

from typing import Protocol, TypedDict

from satchel.context.limits import MAX_ARTIFACT_BUDGET as MAX_ARTIFACT_BUDGET
from satchel.context.limits import MAX_CONTEXT_BUDGET as MAX_CONTEXT_BUDGET
from satchel.context.limits import MAX_LIST_LIMIT as MAX_LIST_LIMIT
from satchel.context.limits import MAX_SEARCH_DEPTH as MAX_SEARCH_DEPTH
from satchel.context.limits import MAX_SEARCH_LIMIT as MAX_SEARCH_LIMIT
from satchel.context.limits import MIN_CONTEXT_BUDGET as MIN_CONTEXT_BUDGET
from satchel.context.limits import MIN_CONTEXT_TOKENS as MIN_CONTEXT_TOKENS


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
    relation: str | None
    """Why the project was asked, if it was not named itself: what one that was says of it (``depends-on``, ``part-of``,
    ``related-to``), or the other way round what it says of that one (``needed-by``, ``has-part``, ``related-to``)."""
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
    authorKind: str | None
    modified: str | None
    reviewed: bool


class QueryUnderstood(TypedDict):
    text: str
    words: list[str]
    phrases: list[str]
    filters: dict[str, list[str]]
    """Such as ``{"kind": ["spec"], "-path": ["old/"], "-words": ["draft"]}``: what to avoid has a ``-`` before it."""
    at: str | None
    """The version or date asked for; ``None`` for what is there now."""
    match: str
    """``all`` when sections had to hold every word, ``any`` when fewer than five do and one word was enough."""
    cut: bool
    """Whether the query was too long (4,096 characters, 32 words) and its end was left out."""


class Answered(TypedDict):
    project: str
    relation: str | None
    digest: str
    version: int | None
    history: str
    """Of how many files it is known who changed them last, and when: ``complete``, ``partial`` or ``none``."""


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
    suggestions: list[str]
    """Words that stand in the projects and are spelled almost like those sought, where nothing was found."""


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
    authorKind: str | None
    modified: str | None
    reviewed: bool


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
    section: list[str] | None
    """The headings down to the section asked for, ``None`` where none was."""
    text: str | None
    """The text, or the asked lines of it; ``None`` for binary content."""
    lines: list[int] | None
    """First and last line given, ``None`` for binary content."""
    totalLines: int | None
    tokens: int
    """How many ``text`` is estimated to take."""
    truncated: bool
    """Whether ``text`` was cut to the asked budget."""
    next: str | None
    """Pass as ``cursor``, with the same lines or section, for what comes after."""


class OutlineRow(TypedDict):
    level: int
    """1 is the outermost."""
    title: str
    trail: list[str]
    """Headings from the outermost down to this one."""
    lines: list[int]
    """First and last line of the section, with those below it."""
    characters: int


class Outline(ArtifactInfo):
    project: str
    digest: str
    totalLines: int | None
    """``None`` for binary content."""
    items: list[OutlineRow]
    """In the order of the text."""
    total: int
    next: str | None


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
    authorKind: str | None
    modified: str | None
    reviewed: bool


class LastSync(TypedDict):
    version: int
    digest: str
    modified: str | None
    """When the newest of its files was last changed."""
    changedSince: int
    """Files that hold something else here, are new or gone; 0 in a hosted project."""


class ContextAnswer(TypedDict):
    project: str
    id: str
    digest: str
    version: int | None
    lineage: str | None
    history: str
    """``complete``, ``partial`` or ``none``, as in a search."""
    kinds: dict[str, int]
    artifacts: int
    bytes: int
    openTasks: int
    lastSync: LastSync | None
    """The version that a folder was last in step with, ``None`` before; of a hosted project the one it is at."""
    manifest: dict[str, object] | None
    """The project's ``context.json``, or ``None`` when there is none, it does not parse (see ``problems``) or does not
    fit the budget (see ``truncated``)."""
    problems: list[str]
    relations: list[Relation]
    conflicts: list[str]
    """Paths that wait for ``satchel resolve``; none in a hosted project."""
    tasks: list[Task]
    """The first ten open tasks, by path and line."""
    recent: list[Recent]
    """Up to ten artifacts, those changed since the last sync first, then by the newest version, then by path; by path
    alone where history is not known."""
    truncated: list[str]
    """Which of the members above were cut to the asked budget."""
    tokens: int
    """How many the answer is estimated to take."""


class VersionInfo(TypedDict):
    version: int
    digest: str
    author: str
    authorKind: str
    """``person``, ``key`` (an agent or whoever else has that key) or ``operator`` (who runs the server)."""
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

    def context(self, project: str, *, budget: int = 40_000, tokens: int | None = None) -> ContextAnswer:
        """What the project is and holds, in at most ``budget`` characters of JSON and ``tokens`` estimated tokens."""
        ...

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
        """A page of the artifacts by path: of one kind, below a path, with ``text`` in path or title, case aside."""
        ...

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
        """Lines ``first`` to ``last`` of an artifact, or those under one of its headings; at version ``at`` if named.

        At most ``budget`` characters and ``tokens`` estimated tokens; ``cursor`` goes on where an answer ended. Raises
        ``NoSuchArtifact``, ``NoSuchSection``, and ``NoSuchVersion`` where ``at`` is not a version of the project.
        """
        ...

    def outline(
        self, project: str, path: str, *, cursor: str | None = None, limit: int = 200, at: int | None = None
    ) -> Outline:
        """The headings of an artifact, with the lines they cover. Raises as ``artifact`` does."""
        ...

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
        """The best sections for ``query`` in the named projects (``None``: all the caller may read).

        With ``related`` also in those that they name as related, or that name them. With ``at`` as of a version (of one
        project) or a date. Any text is a query; nothing is a syntax error. Raises ``NoSuchVersion``.
        """
        ...

    def tasks(
        self, project: str, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> TaskList:
        """Open tasks (or, with ``done``, finished ones) by path and line."""
        ...

    def history(
        self, project: str, *, path: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> VersionList:
        """With ``path``, the versions that changed it alone, with counts of it alone."""
        ...

    def health(self) -> Health: ...

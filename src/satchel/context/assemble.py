"""Answers made from an index and what history knows: the same functions serve local folders and hosted projects, which
is how equal digests come to give equal answers (promise P2). No IO but the index's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from satchel.context.limits import MAX_ARTIFACT_BUDGET, MAX_LIST_LIMIT, MAX_SEARCH_DEPTH, MAX_SEARCH_LIMIT
from satchel.errors import InvalidInput, NoSuchProject
from satchel.objects.ids import Digest, ObjectId
from satchel.search.index import Index, Item
from satchel.search.matching import ENOUGH, Found, FoundSection
from satchel.search.query import Query, parse_query

if TYPE_CHECKING:
    from satchel.context.answers import (
        Answered,
        ArtifactInfo,
        ArtifactList,
        ArtifactText,
        ContextAnswer,
        Hit,
        QueryUnderstood,
        Recent,
        Relation,
        SearchAnswer,
        Skipped,
        Task,
        TaskList,
    )

RECENT = 10
"""How many artifacts a context answer calls recent."""


class Past(NamedTuple):
    """Who last changed a path, and in which version. It counts only while the path still is that object."""

    object: ObjectId
    version: int
    author: str
    time_ms: int


History = Callable[[Sequence[str]], Mapping[str, Past]]
"""What is known of those paths; absent where nothing is."""


def no_history(paths: Sequence[str]) -> Mapping[str, Past]:
    """Of a folder that was never synced."""
    return {}


@dataclass(frozen=True, slots=True)
class Part:
    """One project as a question sees it: an index already brought to the digest asked."""

    project: str
    """The slug."""
    index: Index
    version: int | None
    """Of the hosted project whose tree the index holds, if it is that of a version."""
    history: History

    @property
    def digest(self) -> Digest:
        digest = self.index.digest
        assert digest is not None
        return digest


# Search ----------------------------------------------------------------------------------------------------------


def understood(query: str) -> Query:
    """The query, for choosing projects by ``chosen`` before their indexes are made ready."""
    return parse_query(query)


def chosen(query: Query, available: Iterable[tuple[str, str]]) -> tuple[list[str], list[Skipped]]:
    """Which of the (slug, id) pairs a query's ``project:`` filters leave, and the names among those that are none."""
    pairs = sorted(available)
    known = {name: slug for slug, id_ in pairs for name in (id_, slug)}
    wanted = {known[name] for name in query.projects if name in known}
    avoided = {known[name] for name in query.without_projects if name in known}
    slugs = [slug for slug, _ in pairs if (slug in wanted or not query.projects) and slug not in avoided]
    skipped: list[Skipped] = [
        {"project": name, "reason": NoSuchProject.code} for name in query.projects if name not in known
    ]
    return slugs, skipped


def check_search(limit: int, offset: int) -> None:
    """Raises ``InvalidInput``."""
    _in_range("limit", limit, 1, MAX_SEARCH_LIMIT)
    _in_range("offset", offset, 0, MAX_SEARCH_DEPTH - limit)


def search_answer(
    query: Query, parts: Sequence[Part], *, limit: int, offset: int = 0, skipped: Sequence[Skipped] = ()
) -> SearchAnswer:
    """The best sections of all parts together: by score, then project, path and position.

    Whether sections must hold every word is decided over all parts together. Raises ``InvalidInput`` for a limit or
    offset out of range.
    """
    check_search(limit, offset)
    with ExitStack() as moment:
        for part in parts:
            moment.enter_context(part.index.reading())
        every = sum(part.index.count_every(query) for part in parts) >= ENOUGH
        found = [part.index.match(query, every=every, limit=offset + limit) for part in parts]
        digests = [part.digest for part in parts]
    best = sorted(
        ((section, place) for place, one in enumerate(found) for section in one.sections),
        key=lambda hit: (-hit[0].score, parts[hit[1]].project, hit[0].path, hit[0].position),
    )[offset : offset + limit]
    pasts = _pasts(parts, best)
    hits = [_hit(parts[place], digests[place], section, pasts.get((place, section.path))) for section, place in best]
    answered: list[Answered] = [
        {"project": part.project, "digest": digest, "version": part.version}
        for part, digest in zip(parts, digests, strict=True)
    ]
    return {
        "query": _understood(query, every=every),
        "hits": hits,
        "total": sum(one.total for one in found),
        "facets": _facets(parts, found),
        "projects": answered,
        "skipped": list(skipped),
    }


def _pasts(parts: Sequence[Part], best: Sequence[tuple[FoundSection, int]]) -> dict[tuple[int, str], Past]:
    """History asked once per project, for the paths of the hits alone."""
    known: dict[tuple[int, str], Past] = {}
    for place in sorted({place for _, place in best}):
        paths = sorted({section.path for section, of in best if of == place})
        known.update(((place, path), past) for path, past in parts[place].history(paths).items())
    return known


def _hit(part: Part, digest: Digest, section: FoundSection, past: Past | None) -> Hit:
    version, author, modified = _history_of(section.object, past)
    return {
        "project": part.project,
        "path": section.path,
        "kind": section.kind,
        "title": section.title,
        "trail": list(section.trail),
        "lines": [section.first, section.last],
        "snippet": section.snippet,
        "highlights": section.highlights,
        "score": section.score,
        "digest": digest,
        "version": version,
        "author": author,
        "modified": modified,
    }


def _understood(query: Query, *, every: bool) -> QueryUnderstood:
    return {
        "text": query.text,
        "words": list(query.words),
        "phrases": list(query.phrases),
        "filters": query.filters(),
        "match": "all" if every else "any",
        "cut": query.cut,
    }


def _facets(parts: Sequence[Part], found: Sequence[Found]) -> dict[str, dict[str, int]]:
    kinds: dict[str, int] = {}
    for one in found:
        for kind, count in one.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    projects = {part.project: one.total for part, one in zip(parts, found, strict=True) if one.total}
    return {"kind": dict(sorted(kinds.items())), "project": dict(sorted(projects.items()))}


# Artifacts -------------------------------------------------------------------------------------------------------


def artifact_list(
    part: Part, *, kind: str | None = None, prefix: str = "", cursor: str | None = None, limit: int = 100
) -> ArtifactList:
    """A page of the artifacts by path. Raises ``InvalidInput``."""
    _in_range("limit", limit, 1, MAX_LIST_LIMIT)
    with part.index.reading():
        items = part.index.inventory(kind=kind, prefix=prefix, after=cursor or "", limit=limit + 1)
        digest = part.digest
    page = items[:limit]
    pasts = part.history([item.path for item in page])
    return {
        "project": part.project,
        "digest": digest,
        "version": part.version,
        "items": [artifact_info(item, pasts.get(item.path)) for item in page],
        "next": page[-1].path if len(items) > limit else None,
    }


def artifact_info(item: Item, past: Past | None) -> ArtifactInfo:
    version, author, modified = _history_of(item.object, past)
    return {
        "path": item.path,
        "kind": item.kind,
        "title": item.title,
        "object": item.object,
        "size": item.size,
        "mode": item.mode,
        "version": version,
        "author": author,
        "modified": modified,
    }


def artifact_answer(
    project: str,
    digest: Digest,
    info: ArtifactInfo,
    data: bytes,
    *,
    first: int = 1,
    last: int | None = None,
    budget: int = 40_000,
) -> ArtifactText:
    """Lines ``first`` to ``last`` of ``data``, whole lines as far as ``budget`` characters go.

    A first line longer than the budget is cut. Raises ``InvalidInput`` for lines or a budget out of range.
    """
    _in_range("budget", budget, 1, MAX_ARTIFACT_BUDGET)
    _in_range("first", first, 1, None)
    if last is not None and last < first:
        raise InvalidInput(f"lines {first}-{last} end before they begin", hint="Name the first line, then the last.")
    answer: ArtifactText = {
        **info,
        "project": project,
        "digest": digest,
        "text": None,
        "lines": None,
        "totalLines": None,
        "truncated": False,
    }
    from satchel.documents.document import is_text

    if not is_text(data):
        return answer
    lines = [line + "\n" for line in data.decode().split("\n")]
    if len(lines) > 1 and lines[-1] == "\n":
        lines.pop()
    else:
        lines[-1] = lines[-1][:-1]  # the last line of this file has no end
    if first > len(lines):
        raise InvalidInput(
            f"{info['path']} has {len(lines):,} {'line' if len(lines) == 1 else 'lines'}: there is no line {first}",
            hint=f"Name lines from 1 to {len(lines)}, or none for the whole artifact.",
        )
    given: list[str] = []
    held = 0
    for line in lines[first - 1 : last]:
        held += len(line)
        if held > budget and given:
            break
        given.append(line)
    text = "".join(given)
    end = first + len(given) - 1
    answer["text"] = text[:budget]
    answer["lines"] = [first, end]
    answer["totalLines"] = len(lines)
    answer["truncated"] = end < min(last or len(lines), len(lines)) or len(text) > budget
    return answer


# Tasks, context --------------------------------------------------------------------------------------------------


def task_list(
    part: Part, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
) -> TaskList:
    """A page of open (or finished) tasks by path and line. Raises ``InvalidInput``."""
    _in_range("limit", limit, 1, MAX_LIST_LIMIT)
    after = _task_cursor(cursor)
    with part.index.reading():
        rows = part.index.tasks(done=done, prefix=prefix, after=after, limit=limit + 1)
        total = part.index.count_tasks(done=done, prefix=prefix)
        digest = part.digest
    items: list[Task] = [
        {
            "project": part.project,
            "path": path,
            "line": task.line,
            "text": task.text,
            "done": task.done,
            "trail": list(task.trail),
            "owner": task.owner,
        }
        for path, task in rows[:limit]
    ]
    return {
        "project": part.project,
        "digest": digest,
        "version": part.version,
        "items": items,
        "total": total,
        "next": f"{items[-1]['line']}:{items[-1]['path']}" if len(rows) > limit else None,
    }


def _task_cursor(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    line, _, path = cursor.partition(":")
    if not path or not (line.isascii() and line.isdigit() and len(line) < 12):
        raise InvalidInput("the cursor is not one of this list", hint="Pass the `next` of the page before.")
    return path, int(line)


def context_answer(part: Part, project_id: str, lineage: str | None, manifest: bytes | None) -> ContextAnswer:
    """What the project is and holds; ``manifest`` are the bytes of its ``context.json``, if it has one."""
    with part.index.reading():
        items = part.index.inventory()
        kinds = part.index.kinds()
        tasks = part.index.count_tasks()
        digest = part.digest
    raw, problems = _manifest(manifest)
    return {
        "project": part.project,
        "id": project_id,
        "digest": digest,
        "version": part.version,
        "lineage": lineage,
        "manifest": raw,
        "problems": problems,
        "kinds": kinds,
        "artifacts": len(items),
        "bytes": sum(item.size for item in items),
        "openTasks": tasks,
        "recent": _recent(items, part.history),
    }


def described(manifest: bytes | None) -> tuple[str, list[Relation]]:
    """Description and relations, as the list of projects shows them; empty where the manifest does not serve."""
    from satchel.documents.manifest import ManifestInvalid, parse_manifest

    try:
        found = parse_manifest(manifest) if manifest is not None else None
    except ManifestInvalid:
        found = None
    if found is None:
        return "", []
    return found.description, [{"type": relation.type, "project": relation.project} for relation in found.relations]


def _manifest(data: bytes | None) -> tuple[dict[str, object] | None, list[str]]:
    if data is None:
        return None, []
    from satchel.documents.manifest import ManifestInvalid, manifest_problems, parse_manifest

    try:
        return dict(parse_manifest(data).raw), manifest_problems(data)
    except ManifestInvalid as error:
        return None, [error.message]


def _recent(items: Sequence[Item], history: History) -> list[Recent]:
    pasts = history([item.path for item in items])
    newest: list[tuple[int, str, Recent]] = []
    for item in items:
        version, author, modified = _history_of(item.object, pasts.get(item.path))
        recent: Recent = {
            "path": item.path,
            "title": item.title,
            "kind": item.kind,
            "version": version,
            "author": author,
            "modified": modified,
        }
        newest.append((-(version or 0), item.path, recent))
    newest.sort(key=lambda row: row[:2])
    return [recent for _, _, recent in newest[:RECENT]]


def _history_of(content: ObjectId, past: Past | None) -> tuple[int | None, str | None, str | None]:
    """(version, author, modified) of a file, if what history knows is what the file holds."""
    if past is None or past.object != content:
        return None, None, None
    return past.version, past.author, rfc3339(past.time_ms)


def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as ``2026-01-02T03:04:05.678Z``."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


def _in_range(name: str, value: int, least: int, most: int | None) -> None:
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most:,}"
        raise InvalidInput(f"{name} is {value}; it may be {bounds}")

"""What a project is and holds, within a budget, and its tasks: the same functions for every reader."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from satchel.context.budget import Budget, tokens_in, written
from satchel.context.limits import MAX_CONTEXT_BUDGET, MAX_LIST_LIMIT, MIN_CONTEXT_BUDGET, MIN_CONTEXT_TOKENS
from satchel.context.part import Part, Past, history_of, in_range, rfc3339
from satchel.errors import InvalidInput
from satchel.objects.paths import as_listed

if TYPE_CHECKING:
    from satchel.context.answers import ContextAnswer, LastSync, Recent, Relation, Task, TaskList
    from satchel.objects.ids import Digest
    from satchel.search.index import Item

RECENT = 10
"""How many artifacts a context answer calls recent, and how many tasks it shows."""


class Base(NamedTuple):
    """The version that a folder was last in step with; of a hosted project, the version that it is at."""

    version: int
    digest: Digest


def task_list(
    part: Part, *, done: bool = False, prefix: str = "", cursor: str | None = None, limit: int = 100
) -> TaskList:
    """A page of open (or finished) tasks by path and line. Raises ``InvalidInput``, ``Moved``."""
    in_range("limit", limit, 1, MAX_LIST_LIMIT)
    prefix, after = as_listed(prefix), _task_cursor(cursor)
    with part.moment():
        items = _tasks(part, done=done, prefix=prefix, after=after, limit=limit + 1)
        total = part.index.count_tasks(done=done, prefix=prefix)
    page = items[:limit]
    return {
        "project": part.project,
        "digest": part.digest,
        "version": part.version,
        "items": page,
        "total": total,
        "next": f"{page[-1]['line']}:{page[-1]['path']}" if len(items) > limit else None,
    }


def _tasks(part: Part, *, done: bool, prefix: str, after: tuple[str, int], limit: int) -> list[Task]:
    return [
        {
            "project": part.project,
            "path": path,
            "line": task.line,
            "text": task.text,
            "done": task.done,
            "trail": list(task.trail),
            "owner": task.owner,
        }
        for path, task in part.index.tasks(done=done, prefix=prefix, after=after, limit=limit)
    ]


def _task_cursor(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    line, _, path = cursor.partition(":")
    if not path or not (line.isascii() and line.isdigit() and len(line) < 12):
        raise InvalidInput("the cursor is not one of this list", hint="Pass the `next` of the page before.")
    return path, int(line)


def check_context(budget: int, tokens: int | None) -> None:
    """Raises ``InvalidInput``."""
    in_range("budget", budget, MIN_CONTEXT_BUDGET, MAX_CONTEXT_BUDGET)
    if tokens is not None:
        in_range("tokens", tokens, MIN_CONTEXT_TOKENS, MAX_CONTEXT_BUDGET)


def context_answer(
    part: Part,
    project_id: str,
    lineage: str | None,
    manifest: bytes | None,
    *,
    base: Base | None = None,
    conflicts: Sequence[str] = (),
    budget: int = 40_000,
    tokens: int | None = None,
) -> ContextAnswer:
    """What the project is and holds; ``manifest`` are the bytes of its ``context.json``, if it has one.

    Names, counts and the last sync are always there. What does not fit the budget is left out from the end of each
    list, the manifest as a whole, and ``truncated`` names it. Raises ``InvalidInput`` for a budget out of range,
    ``Moved``.
    """
    check_context(budget, tokens)
    with part.moment():
        items = part.index.inventory()
        kinds = part.index.kinds()
        open_tasks = part.index.count_tasks()
        tasks = _tasks(part, done=False, prefix="", after=("", 0), limit=RECENT)
    pasts = part.history.everything()
    raw, problems = _manifest(manifest)
    _, relations = described(manifest)
    answer: ContextAnswer = {
        "project": part.project,
        "id": project_id,
        "digest": part.digest,
        "version": part.version,
        "lineage": lineage,
        "history": part.remembered,
        "kinds": kinds,
        "artifacts": len(items),
        "bytes": sum(item.size for item in items),
        "openTasks": open_tasks,
        "lastSync": _last_sync(part, items, pasts, base),
        "manifest": None,
        "problems": [],
        "relations": [],
        "conflicts": [],
        "tasks": [],
        "recent": [],
        "truncated": [],
        "tokens": 0,
    }
    parts = {
        "problems": problems,
        "manifest": raw,
        "relations": relations,
        "conflicts": list(conflicts),
        "tasks": tasks,
        "recent": _recent(items, pasts, known=part.history.known),
    }
    _fill(answer, parts, Budget(budget, tokens))
    return answer


def _fill(answer: ContextAnswer, parts: Mapping[str, Any], room: Budget) -> None:
    """Put into the answer what the budget has room for."""
    open_answer = cast("dict[str, Any]", answer)
    room.take(written({**open_answer, "truncated": list(parts), "tokens": 10**7}))
    for name, value in parts.items():
        if isinstance(value, list):
            for row in value:
                if not room.take(written(row) + ","):
                    answer["truncated"].append(name)
                    break
                open_answer[name].append(row)
        elif value is not None:
            if room.take(written(value)):
                open_answer[name] = value
            else:
                answer["truncated"].append(name)
    answer["tokens"] = tokens_in(written(answer))


def _last_sync(part: Part, items: Sequence[Item], pasts: Mapping[str, Past], base: Base | None) -> LastSync | None:
    if base is None:
        return None
    changed = 0
    if base.digest != part.digest:
        here = {item.path: item.object for item in items}
        there = {path: past.object for path, past in pasts.items()}
        changed = sum(here.get(path) != there.get(path) for path in here.keys() | there.keys())
    newest = max((past.time_ms for past in pasts.values()), default=None)
    return {
        "version": base.version,
        "digest": base.digest,
        "modified": None if newest is None else rfc3339(newest),
        "changedSince": changed,
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


def _recent(items: Sequence[Item], pasts: Mapping[str, Past], *, known: bool) -> list[Recent]:
    """Those changed since the last sync, then by the newest version, then by path."""

    def age(item: Item) -> tuple[int, int, str]:
        past = pasts.get(item.path)
        if known and (past is None or past.object != item.object):
            return 0, 0, item.path
        return 1, -past.version if past else 0, item.path

    recent: list[Recent] = []
    for item in heapq.nsmallest(RECENT, items, key=age):
        version, author, author_kind, modified = history_of(item.object, pasts.get(item.path))
        recent.append(
            {
                "path": item.path,
                "title": item.title,
                "kind": item.kind,
                "version": version,
                "author": author,
                "authorKind": author_kind,
                "modified": modified,
                "reviewed": item.reviewed,
            }
        )
    return recent

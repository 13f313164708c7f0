"""Lists of artifacts, their text by lines and sections, and their outlines: the same functions for every reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from satchel.context.budget import Budget, tokens_in
from satchel.context.limits import MAX_ARTIFACT_BUDGET, MAX_LIST_LIMIT
from satchel.context.part import Part, Past, history_of, in_range
from satchel.errors import InvalidInput, NoSuchSection
from satchel.objects.paths import as_listed

if TYPE_CHECKING:
    from satchel.context.answers import ArtifactInfo, ArtifactList, ArtifactText, Outline, OutlineRow
    from satchel.documents.outline import Outlined
    from satchel.objects.ids import Digest
    from satchel.search.index import Item

_MARK = 12
"""Digits of an object in a cursor: enough to tell the content of one path from another."""
_CURSOR = re.compile(rf"([1-9][0-9]{{0,9}}):([0-9]{{1,9}})(?::([0-9a-f]{{{_MARK}}}))?")
_AFTER = "path:"
"""Begins a cursor of a list: no path begins so, and no cursor of another list."""
_WRONG_CURSOR = "the cursor is not one of this list"
_SAY_NEXT = "Pass the `next` of the page before, with the same arguments."


def artifact_list(
    part: Part,
    *,
    kind: str | None = None,
    prefix: str = "",
    text: str = "",
    cursor: str | None = None,
    limit: int = 100,
) -> ArtifactList:
    """A page of the artifacts by path. Raises ``InvalidInput``, ``Moved``."""
    in_range("limit", limit, 1, MAX_LIST_LIMIT)
    if kind is not None:
        from satchel.documents.kinds import kind_named

        kind = kind_named(kind)
    prefix, after = as_listed(prefix), ""
    if cursor is not None:
        if not cursor.startswith(f"{_AFTER}{prefix}"):
            raise InvalidInput(_WRONG_CURSOR, hint=_SAY_NEXT)
        after = cursor.removeprefix(_AFTER)
    with part.moment():
        items = part.index.inventory(kind=kind, prefix=prefix, text=text, after=after, limit=limit + 1)
    page = items[:limit]
    pasts = part.history.of([item.path for item in page])
    return {
        "project": part.project,
        "digest": part.digest,
        "version": part.version,
        "items": [artifact_info(item, pasts.get(item.path)) for item in page],
        "next": _AFTER + page[-1].path if len(items) > limit else None,
    }


def artifact_info(item: Item, past: Past | None) -> ArtifactInfo:
    version, author, author_kind, modified = history_of(item.object, past)
    return {
        "path": item.path,
        "kind": item.kind,
        "title": item.title,
        "object": item.object,
        "size": item.size,
        "mode": item.mode,
        "version": version,
        "author": author,
        "authorKind": author_kind,
        "modified": modified,
        "reviewed": item.reviewed,
    }


def artifact_answer(
    project: str,
    digest: Digest,
    info: ArtifactInfo,
    data: bytes,
    *,
    first: int = 1,
    last: int | None = None,
    section: str | None = None,
    cursor: str | None = None,
    budget: int = 40_000,
    tokens: int | None = None,
) -> ArtifactText:
    """Lines ``first`` to ``last`` of ``data``, or those of a section: whole lines as far as the budget goes.

    A first line longer than the budget is cut; ``cursor`` goes on where an answer ended, within a line too. Raises
    ``InvalidInput`` for lines, a cursor or a budget out of range and where the content is another than that of the
    answer before, ``NoSuchSection``.
    """
    room = _budget(budget, tokens)
    in_range("first", first, 1, None)
    if cursor is not None:
        _check_same(cursor, info)
    if last is not None and last < first:
        raise InvalidInput(f"lines {first}-{last} end before they begin", hint="Name the first line, then the last.")
    trail: tuple[str, ...] | None = None
    if section is not None:
        if first != 1 or last is not None:
            raise InvalidInput("name lines or a section, not both")
        found = _section(info["path"], data, section)
        first, last, trail = found.first_line, found.last_line, found.trail
    lines = _lines(data)
    answer: ArtifactText = {
        **info,
        "project": project,
        "digest": digest,
        "section": None if trail is None else list(trail),
        "text": None,
        "lines": None,
        "totalLines": None,
        "tokens": 0,
        "truncated": False,
        "next": None,
    }
    if lines is None:
        return answer
    if first > len(lines):
        raise InvalidInput(
            f"{info['path']} has {len(lines):,} {'line' if len(lines) == 1 else 'lines'}: there is no line {first}",
            hint=f"Name lines from 1 to {len(lines)}, or none for the whole artifact.",
        )
    end = min(last or len(lines), len(lines))
    line, offset = _place(cursor, lines, first, end)
    start = line
    given: list[str] = []
    whole = "".join(lines[line - 1 : end])[offset:]
    if room.take(whole):  # what is asked mostly: a line at a time it takes ten times as long
        given.append(whole)
        line, offset = end + 1, 0
    while line <= end:
        left = lines[line - 1][offset:]
        if room.take(left):
            given.append(left)
            line, offset = line + 1, 0
            continue
        if not given:  # a line longer than the budget comes in pieces
            fitting = max(room.fitting(left), 1)
            given.append(left[:fitting])
            offset += fitting
            if offset >= len(lines[line - 1]):
                line, offset = line + 1, 0
        break
    more = line <= end
    answer["text"] = text = "".join(given)
    answer["lines"] = [start, line if offset else line - 1]
    answer["totalLines"] = len(lines)
    answer["tokens"] = tokens_in(text)
    answer["truncated"] = more
    answer["next"] = f"{line}:{offset}:{info['object'][:_MARK]}" if more else None
    return answer


def outline_answer(
    project: str, digest: Digest, info: ArtifactInfo, data: bytes, *, cursor: str | None = None, limit: int = 200
) -> Outline:
    """A page of the headings of an artifact. Raises ``InvalidInput``."""
    from satchel.documents.outline import outline

    in_range("limit", limit, 1, MAX_LIST_LIMIT)
    rows = outline(info["path"], data)
    lines = _lines(data)
    start = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10 and 0 < int(cursor) < len(rows)):
            raise InvalidInput(_WRONG_CURSOR, hint=_SAY_NEXT)
        start = int(cursor)
    items: list[OutlineRow] = [
        {
            "level": row.level,
            "title": row.trail[-1],
            "trail": list(row.trail),
            "lines": [row.first_line, row.last_line],
            "characters": row.characters,
        }
        for row in rows[start : start + limit]
    ]
    return {
        **info,
        "project": project,
        "digest": digest,
        "totalLines": None if lines is None else len(lines),
        "items": items,
        "total": len(rows),
        "next": str(start + limit) if start + limit < len(rows) else None,
    }


def _budget(characters: int, tokens: int | None) -> Budget:
    in_range("budget", characters, 1, MAX_ARTIFACT_BUDGET)
    if tokens is not None:
        in_range("tokens", tokens, 1, MAX_ARTIFACT_BUDGET)
    return Budget(characters, tokens)


def _lines(data: bytes) -> list[str] | None:
    """The lines with their ends; ``None`` for what is no text."""
    from satchel.documents.kinds import is_text

    if not is_text(data):
        return None
    lines = [line + "\n" for line in data.decode().split("\n")]
    if len(lines) > 1 and lines[-1] == "\n":
        lines.pop()
    else:
        lines[-1] = lines[-1][:-1]  # the last line of this file has no end
    return lines


def _check_same(cursor: str, info: ArtifactInfo) -> None:
    """Raises ``InvalidInput`` where the page before was of other content: no text is put together of two."""
    found = _CURSOR.fullmatch(cursor)
    if found is not None and found[3] not in (None, info["object"][:_MARK]):
        raise InvalidInput(
            f"{info['path']} changed since the page before", hint="Ask again from the beginning, without a cursor."
        )


def _place(cursor: str | None, lines: list[str], first: int, end: int) -> tuple[int, int]:
    """Where to go on: a line from ``first`` to ``end`` and a character in it."""
    if cursor is None:
        return first, 0
    found = _CURSOR.fullmatch(cursor)
    if found is None or not first <= int(found[1]) <= end or int(found[2]) >= max(len(lines[int(found[1]) - 1]), 1):
        raise InvalidInput(_WRONG_CURSOR, hint=_SAY_NEXT)
    return int(found[1]), int(found[2])


def _section(path: str, data: bytes, wanted: str) -> Outlined:
    from satchel.documents.outline import find_section, outline

    rows = outline(path, data)
    found = find_section(rows, wanted)
    if found is None:
        some = ", ".join(f"{row.trail[-1]!r}" for row in rows[:5])
        raise NoSuchSection(
            f"{path} has no section {wanted[:200]!r}",
            hint=f"Ask for its outline; it begins with {some}." if some else "It has no headings: name lines instead.",
        )
    return found

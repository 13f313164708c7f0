"""What a server answers, taken apart: every value is checked for its form, and what is malformed is ``ServerLied``."""

from __future__ import annotations

import datetime as dt
from sys import intern
from typing import TYPE_CHECKING

from satchel.errors import ServerLied
from satchel.objects.ids import Digest, Lineage, ObjectId, is_hex_id, is_random_id
from satchel.objects.listing import MODES, Entry
from satchel.remote.connection import Json
from satchel.sync.peer import Change, Committed, Head, NearQuota
from satchel.worktree.find import SLUG

if TYPE_CHECKING:
    from satchel.context.answers import ProjectInfo

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def committed(answer: Json) -> Committed:
    """The answer to a write. Raises ``ServerLied``."""
    added, changed, deleted = (number(answer.get(name)) for name in ("added", "changed", "deleted"))
    head = head_of(answer)
    near = tuple(
        NearQuota(text(row.get("name")), number(row.get("used")), number(row.get("limit")))
        for row in items_of({"items": answer.get("warnings", [])})
    )
    made = Committed(*head, time(answer.get("time")), text(answer.get("author")), added, changed, deleted, near)
    made = made._replace(author_kind=_author_kind(answer))
    return made._replace(damaged=number(answer.get("damaged", 0)), deltas=answer.get("deltas") is True)


def head_of(answer: Json) -> Head:
    """The head of a project. Raises ``ServerLied``."""
    lineage, digest = text(answer.get("lineage")), text(answer.get("digest"))
    if not is_hex_id(digest) or not 1 <= len(lineage) <= 64:
        raise ServerLied("the head named by the server is malformed")
    return Head(Lineage(lineage), number(answer.get("version")), Digest(digest))


def change_of(item: Json) -> Change:
    """One row of a list of changes. Raises ``ServerLied``."""
    entry, size = None, 0
    if not item.get("deleted"):
        mode, name = text(item.get("mode")), text(item.get("object"))
        if mode not in MODES or not is_hex_id(name):
            raise ServerLied("an entry of the changes is malformed")
        entry, size = Entry(intern(mode), ObjectId(name)), number(item.get("size"))
    path, version, author = text(item.get("path")), number(item.get("version")), text(item.get("author"))
    # What thousands of rows have alike is kept once.
    return Change(path, entry, size, version, intern(author), time(item.get("time")), _author_kind(item))


def _author_kind(row: Json) -> str | None:
    """What the author of a version is; a server of before does not say."""
    kind = row.get("authorKind")
    return intern(kind) if kind in ("person", "key", "operator") else None


def project_info_of(item: Json) -> ProjectInfo:
    """A project as readers know it."""
    return {
        "id": text(item.get("id")),
        "project": text(item.get("slug")),
        "description": text(item.get("description")),
        "relations": item.get("relations") or [],
        "version": number(item.get("version")),
        "digest": text(item.get("digest")),
    }


def items_of(page: Json) -> list[Json]:
    """The rows of a page. Raises ``ServerLied``."""
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ServerLied("a list of the server has no items")
    return items


def text(value: object) -> str:
    """``value``, if it is text. Raises ``ServerLied``."""
    if not isinstance(value, str):
        raise ServerLied("the server's answer lacks a text it must have")
    return value


def project_id(value: object) -> str:
    """``value``, if it is the id of a project, under which a folder remembers its twin. Raises ``ServerLied``."""
    if not isinstance(value, str) or not is_random_id(value, "prj"):
        raise ServerLied("the project named by the server has no id")
    return value


def slug(value: object) -> str:
    """``value``, if it is the slug of a project, after which a folder may be called. Raises ``ServerLied``."""
    if not isinstance(value, str) or not SLUG.match(value):
        raise ServerLied("the project named by the server has no name that one can have")
    return value


def number(value: object) -> int:
    """``value``, if it is a number as JSON can hold it exactly, from 0. Raises ``ServerLied``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ServerLied("the server's answer lacks a number it must have")
    return value


def time(value: object) -> int:
    """Milliseconds UTC of an RFC 3339 time. Raises ``ServerLied``."""
    try:
        # Never a float of seconds: it would lose the millisecond now and then.
        since = dt.datetime.fromisoformat(text(value)) - _EPOCH
    except (ValueError, TypeError) as error:
        raise ServerLied("a time in the server's answer is malformed") from error
    return since // dt.timedelta(milliseconds=1)

"""The versions of a hosted project as commits: asked by difference, written as they come.

Memory holds the tree, a mark for each content and one window of differences; contents pass by in batches. Nothing the
server says is believed: each content has the hash it is named by, and the trees have the digests of their versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.cli.face import clean
from satchel.cli.gitstream import Commit, GitStream, address, message, subject
from satchel.cli.progress import Progress
from satchel.errors import ServerLied
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, digest
from satchel.objects.paths import path_problem
from satchel.remote import Remote
from satchel.remote.values import number, text, time
from satchel.sync.fetching import BATCH_BYTES, BATCH_OBJECTS, fetch
from satchel.sync.patience import Patience
from satchel.sync.peer import Changes, Head
from satchel.sync.wire import MAX_SIZE

PAGE = 1_000
WINDOW_VERSIONS = 200
"""Versions whose contents are asked for together: most change a file or two."""


class _Row(NamedTuple):
    """A version as the list has it."""

    version: int
    digest: str
    author: str
    kind: str
    time: int
    readable: bool


@dataclass(slots=True)
class History:
    """What was written."""

    head: Head | None = None
    """The newest version; ``None`` while there is none."""
    time: int = 0
    """When it was made, in seconds."""
    tree: dict[str, Entry] = field(default_factory=dict)
    """Its tree, with what could not be had."""
    first: int = 0
    versions: int = 0
    expired: int = 0
    """Versions that are kept no longer: the history begins after them."""
    missing: list[tuple[int, str]] = field(default_factory=list)
    """Version and path of each content that was purged or lost."""

    def written(self, stream: GitStream) -> dict[str, Entry]:
        """The tree as the last commit has it."""
        return {path: entry for path, entry in self.tree.items() if stream.has(entry.object)}


def write_history(remote: Remote, project: str, stream: GitStream, progress: Progress, patience: Patience) -> History:
    """Write a commit for each version that can be read, oldest first. Raises ``ServerLied``."""
    history = History()
    rows = _rows(remote, project, patience)
    kept = [row for row in rows if row.readable]
    history.expired, history.first = len(rows) - len(kept), kept[0].version if kept else 0
    for window in _windows(remote, project, kept, patience):
        _fetch(remote, project, window, stream, patience)
        for row, found in window:
            _commit(history, row, found, stream)
            progress("versions", history.versions, len(kept), stream.bytes)
        if digest(history.tree) != window[-1][0].digest:
            raise ServerLied("the files that the server lists do not have the digest it names")
    return history


def _rows(remote: Remote, project: str, patience: Patience) -> list[_Row]:
    """All versions, oldest first."""
    rows: list[_Row] = []
    cursor: str | None = None
    while True:
        page = patience.through(lambda cursor=cursor: remote.history(project, cursor=cursor, limit=PAGE))  # type: ignore[misc]
        for item in page["items"]:
            made, readable = time(item["time"]) // 1_000, item["readable"] is True
            kind = item.get("authorKind", "person")  # a server of before does not say
            row = _Row(number(item["version"]), text(item["digest"]), text(item["author"]), text(kind), made, readable)
            if rows and row.version >= rows[-1].version:
                raise ServerLied("the list of versions is not in order")
            rows.append(row)
        cursor = page["next"]
        if cursor is None:
            return rows[::-1]
        if not page["items"]:
            raise ServerLied("the list of versions does not end")


Window = list[tuple[_Row, Changes]]


def _windows(remote: Remote, project: str, rows: list[_Row], patience: Patience) -> Iterator[Window]:
    """What each version changed, as many at a time as their contents are a good batch."""
    window: Window = []
    objects = size = since = 0
    for row in rows:
        found = patience.through(lambda since=since, row=row: remote.changes_until(project, since, row.version))  # type: ignore[misc]
        since = row.version
        if found.head.digest != row.digest:
            raise ServerLied(f"version {row.version} has two digests")
        for change in found.items:
            problem = path_problem(change.path)
            if problem is not None:
                raise ServerLied(f"the server names a path that no project can have: {problem}")
            if change.size > MAX_SIZE:
                raise ServerLied(f"the server names a file of {change.size:,} bytes")
        window.append((row, found))
        objects += len(found.items)
        size += sum(change.size for change in found.items)
        if len(window) == WINDOW_VERSIONS or objects >= BATCH_OBJECTS or size >= BATCH_BYTES:
            yield window
            window, objects, size = [], 0, 0
    if window:
        yield window


def _fetch(remote: Remote, project: str, window: Window, stream: GitStream, patience: Patience) -> None:
    """Send the contents of a window that were not sent yet; what the server has no more is left out."""
    wanted = {
        change.entry.object: change.size for _, found in window for change in found.items if change.entry is not None
    }
    lost: set[ObjectId] = set()

    def get() -> None:
        left: dict[ObjectId, int | None] = {
            name: size for name, size in wanted.items() if name not in lost and not stream.has(name)
        }
        for name, data in fetch(remote, project, left, lost):
            stream.blob(name, data)

    patience.through(get)


def _commit(history: History, row: _Row, found: Changes, stream: GitStream) -> None:
    before = history.written(stream) if history.missing else history.tree
    changes: dict[str, Entry | None] = {}
    left_out: list[str] = []
    for change in found.items:
        if change.entry is not None and stream.has(change.entry.object):
            changes[change.path] = change.entry
            continue
        if change.entry is not None:
            left_out.append(change.path)
        if change.path in before:
            changes[change.path] = None
    body = ""
    if row.version == history.first and history.expired:
        body = (
            f"The history begins here: {history.expired:,} older versions are kept no longer (retention), and this\n"
            "commit has all the files there were by then."
        )
    trailers = {
        "Satchel-Version": row.version,
        "Satchel-Digest": row.digest,
        "Satchel-Lineage": clean(found.head.lineage),
        "Satchel-Author-Kind": clean(row.kind),
    }
    said = message(subject(changes, before), body, left_out, trailers)
    stream.commit(Commit(clean(row.author), address(row.author, row.kind), row.time, said, changes))
    for change in found.items:
        if change.entry is None:
            history.tree.pop(change.path, None)
        else:
            history.tree[change.path] = change.entry
    history.missing += [(row.version, path) for path in left_out]
    history.versions += 1
    history.head, history.time = found.head, row.time

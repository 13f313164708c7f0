"""A stream for ``git fast-import``: contents and commits as the bytes that any git reads. No IO of its own.

Every content is sent once, as a blob with a mark; a commit names marks, and only the paths that differ from the commit
before it. Nothing in the stream depends on when or where it is written, so equal histories give equal commit ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, check_mode
from satchel.objects.paths import check_path

BRANCH = "main"
ADDRESS_DOMAIN = "satchel.invalid"
"""No mail ever goes there: RFC 2606 keeps ``.invalid`` from being a domain of anybody's."""
MAX_NAMED = 1_000
"""Most paths that one message names; how many more there are, it says."""
_NO_NAME = re.compile(r"[\x00-\x1f\x7f<>]+")


class Commit(NamedTuple):
    """One commit to be."""

    author: str
    address: str
    time: int
    """Seconds UTC."""
    message: str
    changes: Mapping[str, Entry | None]
    """What differs from the commit before; ``None`` deletes. Every object was given to ``blob``."""


class GitStream:
    """Writes one branch, from its first commit to its last."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._marks: dict[ObjectId, int] = {}
        self.commits = 0
        self.bytes = 0
        """Of contents."""
        write(b"feature done\n")  # a stream that broke off is then refused, and not half a history

    def has(self, name: ObjectId) -> bool:
        """Whether that content is in the stream."""
        return name in self._marks

    def blob(self, name: ObjectId, data: bytes) -> None:
        """Send a content, unless it was sent before."""
        if name in self._marks:
            return
        mark = self._marks[name] = len(self._marks) + 1
        self._write(b"blob\nmark :%d\ndata %d\n" % (mark, len(data)))
        self._write(data)
        self._write(b"\n")
        self.bytes += len(data)

    def commit(self, commit: Commit) -> None:
        """Add a commit to the branch. Raises ``PathRefused`` for a path that no tree may hold."""
        # Deletions first: a file may become a folder.
        lines = [b"D %s\n" % _quoted(path) for path, entry in sorted(commit.changes.items()) if entry is None]
        for path, entry in sorted(commit.changes.items()):
            if entry is not None:
                mode = check_mode(entry.mode).encode()
                lines.append(b"M %s :%d %s\n" % (mode, self._marks[entry.object], _quoted(path)))
        who = f"{_name(commit.author)} <{commit.address}> {max(commit.time, 0)} +0000".encode()
        message = commit.message.encode("utf-8", "replace")
        self._write(b"commit refs/heads/%s\nauthor %s\ncommitter %s\n" % (BRANCH.encode(), who, who))
        self._write(b"data %d\n%s\n" % (len(message), message))
        self._write(b"".join(lines) + b"\n")
        self.commits += 1

    def end(self) -> None:
        """Say that the stream is whole: without this git takes nothing for done."""
        self._write(b"done\n")


def address(author: str, kind: str) -> str:
    """The stable address of an author: the same for the same name and kind, another for any other, nobody's mailbox."""
    readable = re.sub(r"[^a-z0-9]+", "-", author.lower()).strip("-")[:40]
    mark = hashlib.sha256(f"{kind}\0{author}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"{readable}-{mark}@{ADDRESS_DOMAIN}".removeprefix("-")


def message(subject: str, body: str, left_out: list[str], trailers: Mapping[str, object]) -> str:
    """A commit message: a short sentence, what has to be said, what is left out of this commit, and trailers."""
    parts = [subject]
    if body:
        parts.append(body)
    if left_out:
        parts.append("Left out of this commit, since its content was purged or lost:")
        named = [f"  {path}" for path in left_out[:MAX_NAMED]]
        if (more := len(left_out) - MAX_NAMED) > 0:
            named.append(f"  and {more:,} more")
        parts.append("\n".join(named))
    parts.append("\n".join(f"{name}: {value}" for name, value in trailers.items()))
    return "\n\n".join(parts) + "\n"


def subject(changes: Mapping[str, Entry | None], before: Mapping[str, object]) -> str:
    """What changed, in one line; ``before`` has the paths there were."""
    added = sum(entry is not None and path not in before for path, entry in changes.items())
    deleted = sum(entry is None for entry in changes.values())
    counts = {"Add": added, "Change": len(changes) - added - deleted, "Delete": deleted}
    done = {word: count for word, count in counts.items() if count}
    if len(changes) == 1:
        path = next(iter(changes))
        return f"{next(iter(done))} {path if len(path) <= 60 else '…' + path[-59:]}"
    said = ", ".join(f"{word.lower()} {count:,} {'file' if count == 1 else 'files'}" for word, count in done.items())
    return said[:1].upper() + said[1:] or "Change nothing"


def _name(author: str) -> str:
    plain = _NO_NAME.sub(" ", author.encode("utf-8", "replace").decode())
    return " ".join(plain.split()).strip(" .,:;\"'\\") or "unknown"


def _quoted(path: str) -> bytes:
    """A path as fast-import takes any, checked once more: git must not be asked to write what a checkout may not."""
    return b'"' + check_path(path).encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

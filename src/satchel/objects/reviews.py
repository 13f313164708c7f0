"""``reviewed.sha256``: what a person has looked at, by path and content. Pure: no IO.

The format is that of ``sha256sum``, so ``sha256sum -c reviewed.sha256`` checks it: the id of an object is the SHA-256
of its bytes. A file is reviewed if and only if a line names its path with the object it has now; whoever edits it
afterwards withdraws that without touching the list. A path may stand in several lines: two people looked at two states
of it. What is no such line (a comment, a marker) says nothing. ``docs/spec/documents.md`` has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from satchel.objects.ids import ObjectId
from satchel.objects.paths import collision_key

REVIEWED_PATH = "reviewed.sha256"
MAX_REVIEWED_BYTES = 8 * 1024 * 1024
"""A longer list says nothing at all; 50,000 files with long names take 6 MiB."""

_LINE = re.compile(rb"^([0-9a-f]{64}) [ *]([^\r\n]+)\r?$", re.MULTILINE)


class Review(NamedTuple):
    """One line: this content of this path was reviewed."""

    path: str
    object: ObjectId


def read_reviews(data: bytes) -> set[Review]:
    """The lines of a list."""
    if len(data) > MAX_REVIEWED_BYTES:
        return set()
    found = set()
    for name, path in _LINE.findall(data):
        try:
            found.add(Review(path.decode(), ObjectId(name.decode())))
        except UnicodeDecodeError:
            continue  # no path of a project is written so
    return found


def is_reviewed(data: bytes, path: str, content: ObjectId) -> bool:
    """Whether ``Review(path, content)`` is one of ``read_reviews(data)``, without reading them all."""
    if len(data) > MAX_REVIEWED_BYTES:
        return False
    text = b"\n%b\n" % data
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    return any(b"\n%b %b%b\n" % (content.encode(), mark, path.encode()) in text for mark in (b" ", b"*"))


def write_reviews(before: bytes, reviews: Iterable[Review]) -> bytes:
    """The list that holds ``reviews`` alone, by path. What else stood in the one ``before`` is kept at its beginning:
    comments, and whatever somebody put there."""
    others = [line for line in before.replace(b"\r\n", b"\n").split(b"\n") if line and not read_reviews(line)]
    lines = [f"{name}  {path}".encode() for path, name in sorted(reviews, key=_by_bytes)]
    return b"".join(line + b"\n" for line in (*others, *lines))


def merge_reviews(base: bytes, local: bytes, cloud: bytes) -> bytes | None:
    """Both edits of a list in one: what either side added stands in it, what either took out does not.

    ``None`` where a side holds other lines too, or is too long: those would be lost.
    """
    was, mine, theirs = (_taken_apart(side) for side in (base, local, cloud))
    if was is None or mine is None or theirs is None:
        return None
    kept = (mine.keys() & theirs.keys()) | (mine.keys() - was.keys()) | (theirs.keys() - was.keys())
    comments = [line for line in mine | theirs if line in kept and line.startswith(b"#")]
    return write_reviews(b"\n".join(comments), read_reviews(b"\n".join(kept)))


def _taken_apart(data: bytes) -> dict[bytes, None] | None:
    lines = dict.fromkeys(filter(None, data.replace(b"\r\n", b"\n").split(b"\n")))
    reviews = [line for line in lines if not line.startswith(b"#")]
    return lines if len(read_reviews(data)) == len(reviews) else None


def is_review_list(path: str) -> bool:
    """Whether a path is that of the list, stands below it, or is taken for it where case does not count."""
    return collision_key(path).partition("/")[0] == REVIEWED_PATH


def _by_bytes(review: Review) -> tuple[bytes, str]:
    return review.path.encode(), review.object

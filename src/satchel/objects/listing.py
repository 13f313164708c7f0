"""The listing of a tree and its digest.

The line ``satchel-listing 1``, then a line ``mode SP id SP path`` per file, each ended by LF, sorted by the UTF-8
bytes of the path. The digest is the SHA-256 of those bytes: two trees are equal if and only if their digests are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from satchel.errors import Damaged, InvalidInput
from satchel.objects.ids import Digest, ObjectId, is_hex_id

HEADER = "satchel-listing 1"
MODES = ("100644", "100755")
LINES_AT_ONCE = 1_000
"""Hashed at a time: all of a listing as one text may have 110 MB."""


class Entry(NamedTuple):
    """One file of a tree: its mode (``100644`` or ``100755``) and the object holding its bytes."""

    mode: str
    object: ObjectId


Tree = Mapping[str, Entry]
"""A tree: path (listable, see ``objects.paths``) to entry."""


_ENTRY: Callable[[tuple[Any, ...]], Entry] = partial(tuple.__new__, Entry)


def tree_of(paths: Iterable[str], entries: Iterable[tuple[str, str]]) -> dict[str, Entry]:
    """A tree of as many paths as (mode, object), made without a call in Python for each: there may be 100,000."""
    return dict(zip(paths, map(_ENTRY, entries), strict=True))


class ListingRefused(Damaged):
    code = "listing.refused"
    default_hint = "The listing is not canonical: fetch it again."


def encode(tree: Tree) -> bytes:
    """The canonical listing. Paths are trusted to be listable."""
    lines = [HEADER]
    # UTF-8 sorts by code point, and so does str: no need to encode for the key.
    lines.extend(f"{entry[0]} {entry[1]} {path}" for path, entry in sorted(tree.items()))
    lines.append("")
    return "\n".join(lines).encode()


def digest(tree: Tree) -> Digest:
    """SHA-256 of the canonical listing, in lowercase hex."""
    listing = hashlib.sha256(f"{HEADER}\n".encode())
    rows = iter(sorted(tree.items()))
    while some := list(islice(rows, LINES_AT_ONCE)):
        listing.update("".join([f"{entry[0]} {entry[1]} {path}\n" for path, entry in some]).encode())
    return Digest(listing.hexdigest())


def parse(data: bytes) -> dict[str, Entry]:
    """Read a canonical listing back.

    Raises ``ListingRefused`` for anything ``encode`` would not have written: order, ends, modes, ids, repeats.
    """
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ListingRefused("the listing is not UTF-8") from error
    if lines[0] != HEADER or lines[-1] != "":
        raise ListingRefused("the listing lacks its first line or its end")
    tree: dict[str, Entry] = {}
    before = ""
    for line in lines[1:-1]:
        mode, _, rest = line.partition(" ")
        name, _, path = rest.partition(" ")
        if mode not in MODES or not is_hex_id(name) or path <= before:
            raise ListingRefused("a line of the listing is malformed or out of order")
        tree[path] = Entry(mode, ObjectId(name))
        before = path
    return tree


def check_mode(mode: str) -> str:
    """Return ``mode`` if a listing can hold it; raises ``InvalidInput``."""
    if mode not in MODES:
        raise InvalidInput(f"mode {mode!r} is not one of {', '.join(MODES)}")
    return mode

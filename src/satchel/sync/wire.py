"""The stream of one sync request, ``application/x-satchel-sync``: reading and writing without IO.

    8 bytes   ``STLSYNC1``
    block     the head: canonical JSON {"changes": n, "digest": d, "parent": {"digest", "lineage", "version"}}
    blocks    the changes, JSON arrays of at most 1,000 rows, n rows in all, by path:
              [path, mode, object, size] or, for a deletion, [path]
    pack      the frames, as ``objects.pack`` encodes them, to the end of the body

A block is its length (4 bytes, big-endian, 1 to 1 MiB) and that many bytes. The changes come before the content, so
that the receiver can judge names, limits and quotas before it stores a byte. A stream that only brings content has a
head without ``digest`` and ``parent``, and no changes. ``StreamReader`` holds at most one block and one frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.errors import InvalidInput, TooLarge
from satchel.objects.frame import Frame
from satchel.objects.ids import Digest, Lineage, ObjectId, is_hex_id
from satchel.objects.listing import MODES, Entry
from satchel.objects.pack import PackReader
from satchel.objects.paths import check_path

MEDIA_TYPE = "application/x-satchel-sync"
MAGIC = b"STLSYNC1"
MAX_BLOCK_BYTES = 1 << 20
ROWS_PER_BLOCK = 1_000
"""At 1,024 bytes of path, JSON escapes included, a thousand rows stay below MAX_BLOCK_BYTES only when most paths are
shorter: the writer ends a block early when it must."""
MAX_CHANGES = 200_000
"""A full project deleted and another one added, in one commit."""
CHANGE_BYTES, ROW_WEIGHT = 800, 2
"""What is kept of a change until its commit: so many bytes, and so many for each of its row's. Measured with 100,000
new files: 60 MB with paths of 40 bytes before the content comes, 215 MB with paths of 1 KB, twice that at times."""
LIKELY_CHANGE_BYTES = 1_000
"""The same of a change that is announced, and has not come yet."""
MAX_BASES_BYTES = 32 << 20
"""Most bytes of bases of all deltas of a stream: one of a hundred bytes may ask for a megabyte of them."""
MAX_DELTAS = 256
"""Most deltas of a stream: each is decoded beside its bases, and compressed again."""
MAX_SIZE = 64 << 20
"""No configuration admits a larger file."""


class Parent(NamedTuple):
    """The head a commit builds on."""

    lineage: Lineage
    version: int
    digest: Digest


class Sent(NamedTuple):
    """One change of a commit; ``entry`` is ``None`` for a deletion. ``size`` is that of the content in bytes."""

    path: str
    entry: Entry | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Preamble:
    """What a stream says before its content. ``parent`` and ``digest`` are both there or both absent."""

    parent: Parent | None
    digest: Digest | None
    changes: tuple[Sent, ...]


# Writing ---------------------------------------------------------------------------------------------------------


def encode_preamble(parent: Parent | None, digest: Digest | None, changes: Sequence[Sent]) -> Iterator[bytes]:
    """The bytes of a stream up to its pack."""
    head: dict[str, object] = {"changes": len(changes)}
    if parent is not None:
        head |= {"digest": digest, "parent": parent._asdict()}
    yield MAGIC + _block(_json(head))
    for rows in _blocks(changes):
        yield _block(b"[" + b",".join(rows) + b"]")


def _blocks(changes: Iterable[Sent]) -> Iterator[list[bytes]]:
    rows: list[bytes] = []
    length = 2
    for path, entry, size in changes:
        row = _json([path] if entry is None else [path, entry.mode, entry.object, size])
        if rows and (len(rows) == ROWS_PER_BLOCK or length + len(row) + 1 > MAX_BLOCK_BYTES):
            yield rows
            rows, length = [], 2
        rows.append(row)
        length += len(row) + 1
    if rows:
        yield rows


def _block(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


# One for all rows: ``json.dumps`` would make another for each of thousands.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


# Reading ---------------------------------------------------------------------------------------------------------


class StreamReader:
    """Feed it the body as it comes; it gives frames once the preamble is complete.

    Raises ``InvalidInput``, ``PathRefused``, ``TooLarge`` or ``FrameRefused`` for anything a writer would not send.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[Parent | None, Digest | None, int] | None = None
        self._started = False
        self._changes: list[Sent] = []
        self._paths: set[str] = set()
        self._rows_bytes = 0
        self._pack: PackReader | None = None
        self.preamble: Preamble | None = None
        """There once every change was read."""
        self.weight = 0
        """About how many bytes of memory the changes take, as soon as it is known how many there are."""

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._pack is not None:
            return self._pack.feed(chunk)
        self._buffer += chunk
        self._pack = self._read_preamble()
        if self._pack is None:
            return []
        rest = bytes(self._buffer)
        self._buffer.clear()
        return self._pack.feed(rest)

    def finish(self) -> None:
        """Say that the body ended. Raises unless it ended where it may."""
        if self._pack is None:
            raise InvalidInput("the sync stream ended before its content began")
        self._pack.finish()

    def _read_preamble(self) -> PackReader | None:
        """Take what the buffer has of the preamble; the reader of the pack once that is all of it."""
        if not self._started:
            if len(self._buffer) < len(MAGIC):
                return None
            if not self._buffer.startswith(MAGIC):
                raise InvalidInput("this is not a sync stream")
            del self._buffer[: len(MAGIC)]
            self._started = True
        if self._head is None:
            block = self._take_block()
            if block is None:
                return None
            self._head = _head(block)
            self.weight = self._head[2] * LIKELY_CHANGE_BYTES
        parent, digest, count = self._head
        while len(self._changes) < count:
            block = self._take_block()
            if block is None:
                return None
            self._take_rows(block, count)
        self.preamble = Preamble(parent, digest, tuple(self._changes))
        self._changes, self._paths = [], set()  # not held while the content comes
        return PackReader(deltas=parent is not None)

    def _take_block(self) -> bytes | None:
        if len(self._buffer) < 4:
            return None
        length = int.from_bytes(self._buffer[:4], "big")
        if not 1 <= length <= MAX_BLOCK_BYTES:
            raise InvalidInput(f"a block of a sync stream is 1 to {MAX_BLOCK_BYTES:,} bytes, not {length:,}")
        if len(self._buffer) < 4 + length:
            return None
        block = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return block

    def _take_rows(self, block: bytes, expected: int) -> None:
        rows = _parse(block)
        if not isinstance(rows, list) or not rows or len(self._changes) + len(rows) > expected:
            raise InvalidInput("the changes of a sync stream are not as many as it says")
        for row in rows:
            if not isinstance(row, list) or len(row) not in (1, 4):
                raise InvalidInput("a change is [path] or [path, mode, object, size]")
            self._changes.append(sent(*row, seen=self._paths))
        self._rows_bytes += len(block)
        self.weight = max(self.weight, CHANGE_BYTES * len(self._changes) + ROW_WEIGHT * self._rows_bytes)


def sent(
    path: object,
    mode: object = None,
    object_id: object = None,
    size: object = 0,
    *,
    seen: set[str],
    deleted: bool = False,
) -> Sent:
    """Check one change as a caller sent it, and remember its path in ``seen``.

    Raises ``PathRefused`` or ``InvalidInput``; a path twice is the latter.
    """
    if not isinstance(path, str):
        raise InvalidInput("a path is text")
    check_path(path)
    if path in seen:
        raise InvalidInput(f"{path} is changed twice in one commit")
    seen.add(path)
    if deleted or (mode is None and object_id is None):
        return Sent(path, None)
    if mode not in MODES or not isinstance(mode, str):
        raise InvalidInput(f"{path}: the mode is one of {', '.join(MODES)}")
    if not isinstance(object_id, str) or not is_hex_id(object_id):
        raise InvalidInput(f"{path}: an object is named by 64 lowercase hex digits")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise TooLarge(f"{path}: a file has at most {MAX_SIZE:,} bytes", path=path, limit=MAX_SIZE)
    return Sent(path, Entry(mode, ObjectId(object_id)), size)


def _head(block: bytes) -> tuple[Parent | None, Digest | None, int]:
    head = _parse(block)
    if not isinstance(head, dict) or not head.keys() <= {"changes", "digest", "parent"}:
        raise InvalidInput("the head of a sync stream has changes, digest and parent")
    count = head.get("changes")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise InvalidInput("the head of a sync stream says how many changes follow")
    if count > MAX_CHANGES:
        raise TooLarge(f"one commit holds at most {MAX_CHANGES:,} changes", limit=MAX_CHANGES)
    if "parent" not in head and "digest" not in head:
        if count:
            raise InvalidInput("changes need the parent they build on and the digest they lead to")
        return None, None, 0
    digest = head.get("digest")
    if not isinstance(digest, str) or not is_hex_id(digest):
        raise InvalidInput("the digest is 64 lowercase hex digits")
    return parent_of(head.get("parent")), Digest(digest), count


def parent_of(value: object) -> Parent:
    """Check a parent as a caller sent it. Raises ``InvalidInput``."""
    if isinstance(value, dict) and value.keys() == {"lineage", "version", "digest"}:
        lineage, version, digest = value["lineage"], value["version"], value["digest"]
        named = isinstance(lineage, str) and len(lineage) <= 64 and isinstance(digest, str) and is_hex_id(digest)
        if named and isinstance(version, int) and not isinstance(version, bool) and 0 <= version < 1 << 53:
            return Parent(Lineage(lineage), version, Digest(digest))
    raise InvalidInput("a parent is an object with lineage, version and digest")


def _parse(block: bytes) -> object:
    try:
        return json.loads(block)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a block of the sync stream is not JSON") from error

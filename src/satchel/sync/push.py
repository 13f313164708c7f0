"""The body of a push: from files to frames to bytes, with bounded memory.

Files are read one after another, each checked against the hash the scan gave it, gathered into frames of 1 MiB and
compressed a few frames ahead of the wire by two threads (zstd lets go of the interpreter): ever better while the wire
is the slower of the two, fast while it waits. In a small push an edited file travels as a delta beside the content that
both ends had before (``objects.delta``), where that is kept here and the delta is smaller. Nothing that differs from
what the preamble announced is ever sent: a file that changed since the scan stops the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from satchel.objects.delta import MAX_BASE_RAW, MIN_BASE_RAW, make_delta
from satchel.objects.frame import (
    FAST_LEVEL,
    LEVEL,
    MAX_FRAME_OBJECTS,
    MAX_FRAME_RAW,
    Frame,
    compress_bound,
    make_frames,
    similarity_key,
)
from satchel.objects.ids import Digest, ObjectId, object_id
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.wire import MAX_BASES_BYTES, MAX_DELTAS, MAX_SIZE, Parent, Sent, encode_preamble
from satchel.worktree.beneath import Beneath

if TYPE_CHECKING:
    from concurrent.futures import Future

Progress = Callable[[str, int, int, int], None]
"""Told ``(phase, done, total, bytes)`` as work goes on: files of the phase, and bytes sent or received so far."""

LEVELS = (FAST_LEVEL, LEVEL, 6)
"""Of zstd. 100 MB of new text in 1 MiB frames become 37.7, 34.6 and 33.4 MB, at 249, 155 and 63 MB/s of one processor
(2,435 specifications of 30.7 MB: 8.8, 7.6 and 7.0); 9 gains 2 % more at half the speed."""
THREADS = 2
AHEAD = 4
"""Frames being compressed or waiting for the wire: at most 4 MiB of content beside the one being gathered."""
SMALL_PUSH_BYTES = 8 << 20
"""A push of less content is compressed before it is sent: it declares its exact size and may be sent twice."""

_PER_FRAME, _PER_OBJECT, _AROUND = 32, 64, 64
"""More than the head of a frame, its row of an object, and the start and end of a pack take."""

Batch = list[tuple[ObjectId, bytes]]


class FileMoved(Exception):
    """A file is not what the scan saw any more; the push has to be planned again."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Content(NamedTuple):
    """An object to send, and one file that holds it."""

    object: ObjectId
    path: str
    size: int
    base: ObjectId | None = None
    """What the parent version has in its place, for a delta."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One push: what it says, and where its content lies."""

    parent: Parent
    digest: Digest
    changes: Sequence[Sent]
    contents: Sequence[Content]

    @property
    def raw_bytes(self) -> int:
        """Bytes of content before compression."""
        return sum(content.size for content in self.contents)


class Body(NamedTuple):
    """A request body: in memory, or a generator to be used once. ``declared`` is the most bytes it has."""

    stream: Iterable[bytes]
    declared: int
    deltas: int = 0
    """How many of its frames are deltas."""


class Keeper(Protocol):
    """What the frames of a push are also given to, that they may be the bases of deltas to come."""

    def add(self, frame: Frame, encoded: bytes) -> None: ...


def body(
    outgoing: Outgoing,
    root: Path,
    progress: Progress | None = None,
    *,
    former: Mapping[ObjectId, bytes] | None = None,
    keeper: Keeper | None = None,
) -> Body:
    """The stream of a push. ``former`` are contents of the parent version that are at hand for deltas.

    Raises ``FileMoved``, from the stream too.
    """
    preamble = list(encode_preamble(outgoing.parent, outgoing.digest, outgoing.changes))
    return _body(preamble, outgoing.contents, root, progress, former or {}, keeper)


def content_body(contents: Sequence[Content], root: Path) -> Body:
    """Content alone, without a commit. Raises as ``body``."""
    return _body(list(encode_preamble(None, None, ())), contents, root, None, {}, None)


def kept_body(objects: Batch) -> Body:
    """The same of content in memory."""
    frames = _framed(objects, LEVEL)
    pieces = [*encode_preamble(None, None, ()), encode_pack_start(), *map(encode_frame, frames)]
    pieces.append(encode_pack_end(len(frames)))
    return Body(pieces, sum(map(len, pieces)))


def _body(
    preamble: Sequence[bytes],
    contents: Sequence[Content],
    root: Path,
    progress: Progress | None,
    former: Mapping[ObjectId, bytes],
    keeper: Keeper | None,
) -> Body:
    ordered = sorted(contents, key=lambda content: similarity_key(content.path, b""))
    if sum(content.size for content in ordered) <= SMALL_PUSH_BYTES:
        edits, whole = _edits(ordered, former)
        frames = chain(_deltas(edits, former, root, keeper), _frames(whole, root, LEVEL, keeper))
        pieces = list(_stream(preamble, frames, len(ordered), progress))
        return Body(pieces, sum(map(len, pieces)), len(edits))
    stream = _stream(preamble, _frames(ordered, root, FAST_LEVEL, keeper), len(ordered), progress)
    most = sum(map(len, preamble)) + _AROUND
    for content in ordered:
        parts = 1 + content.size // MAX_FRAME_RAW
        most += _PER_OBJECT + parts * (_PER_FRAME + compress_bound(MAX_FRAME_RAW) - MAX_FRAME_RAW)
        most += compress_bound(content.size)
    return Body(stream, most)


def _stream(
    preamble: Sequence[bytes], frames: Iterable[tuple[Frame, bytes]], total: int, progress: Progress | None
) -> Iterator[bytes]:
    yield from preamble
    yield encode_pack_start()
    count = done = sent = 0
    for frame, data in frames:
        count += 1
        sent += len(data)
        # An object in several frames counts with its last.
        done += len(frame.table) if frame.part == frame.parts - 1 else 0
        yield data
        if progress is not None:
            progress("push", done, total, sent)
    yield encode_pack_end(count)


def _frames(ordered: Sequence[Content], root: Path, fast: int, keeper: Keeper | None) -> Iterator[tuple[Frame, bytes]]:
    for group in _compressed(_batches(ordered, root), fast):
        for frame in group:
            data = encode_frame(frame)
            if keeper is not None:
                keeper.add(frame, data)
            yield frame, data


# Deltas -----------------------------------------------------------------------------------------------------------


def _edits(ordered: Sequence[Content], former: Mapping[ObjectId, bytes]) -> tuple[list[list[Content]], list[Content]]:
    """What travels in deltas, in groups of one each, and what travels whole."""
    groups: list[list[Content]] = []
    whole: list[Content] = []
    room, held, beside = MAX_BASES_BYTES, 0, 0
    for content in ordered:
        base = former.get(content.base) if content.base is not None else None
        size = len(base) if base is not None else 0
        if not MIN_BASE_RAW <= size <= min(MAX_BASE_RAW, room) or content.size > MAX_FRAME_RAW:
            whole.append(content)
            continue
        full = held + content.size > MAX_FRAME_RAW or beside + size > MAX_BASE_RAW
        if not groups or full or len(groups[-1]) == MAX_FRAME_OBJECTS:
            if len(groups) == MAX_DELTAS:
                whole.append(content)
                continue
            groups.append([])
            held = beside = 0
        groups[-1].append(content)
        room, held, beside = room - size, held + content.size, beside + size
    return groups, whole


def _deltas(
    groups: Sequence[Sequence[Content]], former: Mapping[ObjectId, bytes], root: Path, keeper: Keeper | None
) -> Iterator[tuple[Frame, bytes]]:
    for group in groups:
        (objects,) = _batches(group, root)
        bases = {content.base: former[content.base] for content in group if content.base is not None}
        (frame,) = make_frames(objects)
        data = encode_frame(frame)
        if keeper is not None:
            keeper.add(frame, data)
        delta = make_delta(objects, list(bases.items()))
        shorter = encode_frame(delta)
        yield (delta, shorter) if len(shorter) < len(data) else (frame, data)


def _compressed(batches: Iterator[Batch], fast: int) -> Iterator[list[Frame]]:
    """The frames of each batch, in order; a few are worked on at once, at level ``fast`` when the wire waits."""
    first = next(batches, None)
    second = next(batches, None) if first is not None else None
    if first is None:
        return
    if second is None:  # a thread would cost more than it saves
        yield _framed(first, LEVEL)
        return
    from concurrent.futures import ThreadPoolExecutor  # a sync that sends little is spared the import

    with ThreadPoolExecutor(THREADS, thread_name_prefix="satchel-frames") as pool:
        levels = tuple(level for level in LEVELS if level >= fast)
        level = fast
        waiting: deque[Future[list[Frame]]] = deque(pool.submit(_framed, batch, level) for batch in (first, second))
        try:
            for batch in batches:
                if len(waiting) >= AHEAD:
                    level = _level(waiting, level, levels)
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_framed, batch, level))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _level(waiting: Sequence[Future[list[Frame]]], level: int, levels: Sequence[int]) -> int:
    """The next one up where all frames lie ready, since they were faster than the wire; the lowest where it waits."""
    if all(future.done() for future in waiting):
        return next((higher for higher in levels if higher > level), level)
    return level if waiting[0].done() else levels[0]


def _framed(batch: Batch, level: int) -> list[Frame]:
    return list(make_frames(batch, level))


def _batches(ordered: Iterable[Content], root: Path) -> Iterator[Batch]:
    """The contents, read and checked, in groups that make one frame each (or one sequence, for a large object)."""
    batch: Batch = []
    held = 0
    with Beneath(root) as beneath:
        for content in ordered:
            if batch and (held + content.size > MAX_FRAME_RAW or len(batch) == MAX_FRAME_OBJECTS):
                yield batch
                batch, held = [], 0
            batch.append((content.object, read_object(beneath, content.path, content.object, content.size)))
            held += content.size
    if batch:
        yield batch


def read_object(beneath: Beneath, path: str, name: ObjectId, most: int = MAX_SIZE) -> bytes:
    """An object of at most so many bytes that a file is to hold. Raises ``FileMoved`` where it holds something else."""
    try:
        data, _ = beneath.read(path, most)
    except OSError as error:
        raise FileMoved(path) from error
    if object_id(data) != name:
        raise FileMoved(path)
    return data

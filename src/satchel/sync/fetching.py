"""Content asked for in bounded batches, and checked as it comes.

Every object has the hash it is named by, no more comes than was asked for, and an edit of what is here may come as a
difference from it (``objects.delta``): what that opens to is checked like everything else. Much content is read in
threads, a batch ahead: what came is written to disk while the wire goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Self

from satchel.errors import FrameRefused, ObjectsMissing, ServerLied
from satchel.objects.delta import MAX_BASE_RAW, open_delta
from satchel.objects.frame import FAST_LEVEL, MAX_FRAME_RAW, Assembler, Frame, make_frames
from satchel.objects.ids import ObjectId
from satchel.sync.peer import Peer
from satchel.sync.wire import MAX_DELTAS, MAX_SIZE
from satchel.worktree.former import Keeping

BATCH_OBJECTS = 2_000
BATCH_BYTES = 32 << 20
"""Most content asked for at once: an interrupted pull loses little work."""
FIRST_OBJECTS = 200
"""Of much content so many are asked for first: their names fit what a young connection sends at once."""
TOGETHER = 2
"""Batches on the way at a time: while one comes the next is asked for, which takes a round trip or more."""
FEW_OBJECTS, FEW_BYTES = 64, 1 << 20
"""What is no more than either is not worth a thread."""
AHEAD_BYTES = 4 << 20
"""Compressed frames of a batch that wait to be taken; then the wire waits."""


class Held(NamedTuple):
    """The version a folder was last in step with, and how to have contents of it that are still here."""

    version: int
    read: Callable[[ObjectId], bytes | None]


def fetch(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    lost: set[ObjectId],
    keeping: Keeping | None = None,
    held: Held | None = None,
) -> Generator[tuple[ObjectId, bytes], None, None]:
    """The named objects, each once, checked, in the order they arrive; ``None`` is a size not known.

    The frames they come in are given to ``keeping``. What the server says it does not have (any more) is put into
    ``lost``. With ``held`` it may tell them as differences from contents of that version; one that does not open here,
    for whatever reason, is asked for whole. Raises ``ServerLied``.
    """
    batches = _batches(sizes)
    much = len(sizes) > FEW_OBJECTS or sum(size or 0 for size in sizes.values()) > FEW_BYTES

    def begin(batch: list[ObjectId]) -> tuple[list[ObjectId], Iterator[Frame]]:
        few = held is not None and len(batch) <= MAX_DELTAS  # an edit, not a new beginning
        frames = _asked(peer, project, batch, held.version if held and few else None)
        return batch, _Ahead(frames) if much else frames

    begun = deque(begin(batch) for batch in islice(batches, TOGETHER))
    try:
        while begun:
            yield from _whatever_is_there(peer, project, sizes, *begun[0], lost, keeping, held)
            begun.popleft()
            begun.extend(begin(batch) for batch in islice(batches, 1))
    finally:
        for _, frames in begun:
            if isinstance(frames, _Ahead):
                frames.close()


def _asked(peer: Peer, project: str, batch: list[ObjectId], since: int | None) -> Iterator[Frame]:
    """The answer to a question that is put when its first frame is wanted."""
    yield from peer.read_objects(project, batch, since)


def _whatever_is_there(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    batch: list[ObjectId],
    frames: Iterator[Frame],
    lost: set[ObjectId],
    keeping: Keeping | None,
    held: Held | None,
) -> Iterator[tuple[ObjectId, bytes]]:
    """A batch without what the server says it does not have, which is put into ``lost``."""
    came: set[ObjectId] = set()
    try:
        for name, data in _fetch(peer, project, sizes, batch, frames, keeping, held):
            came.add(name)
            yield name, data
    except ObjectsMissing as error:
        named = error.facts.get("objects")
        absent = set(batch) & {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()
        if not absent:
            raise
        lost |= absent
        if rest := [name for name in batch if name not in absent | came]:
            yield from _fetch(peer, project, sizes, rest, peer.read_objects(project, rest), keeping)


class _Ahead:
    """The frames of one batch, read in a thread before they are taken. Close it where they are not all taken."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames, self._changed = frames, threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._held = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="satchel-fetch", daemon=True).start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                frame = self._waiting.popleft()
                self._held -= len(frame.data)
                self._changed.notify_all()
                return frame
        raise StopIteration if self._error is None else self._error

    def close(self) -> None:
        """Read on no longer than until the next frame."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._frames:
                with self._changed:
                    self._waiting.append(frame)
                    self._held += len(frame.data)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._held < AHEAD_BYTES or self._closed)
                    if self._closed:
                        break
        except Exception as raised:  # noqa: BLE001 - for whoever takes the frames
            error = raised
        finally:
            with suppress(Exception):
                getattr(self._frames, "close", lambda: None)()  # of a generator: its connection is let go
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()


def _fetch(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    batch: list[ObjectId],
    frames: Iterator[Frame],
    keeping: Keeping | None,
    held: Held | None = None,
) -> Iterator[tuple[ObjectId, bytes]]:
    """The objects of ``batch`` from its ``frames``."""
    wanted, whole = set(batch), set[ObjectId]()
    # Whole frames may come for one object of theirs: a bound on frames bounds what a server can make us read.
    allowed = 8 + sum(2 + (MAX_SIZE if (size := sizes[name]) is None else size) // MAX_FRAME_RAW for name in batch)
    try:
        for name, data in _objects(frames, allowed, keeping, held, whole):
            if name in wanted:
                wanted.discard(name)
                if sizes[name] not in (None, len(data)):
                    raise ServerLied("an object has another size than the server named")
                yield name, data
    except FrameRefused as error:
        raise ServerLied(f"the server sent content that is not what it announced: {error.message}") from error
    if again := [name for name in batch if name in wanted & whole]:
        yield from _fetch(peer, project, sizes, again, peer.read_objects(project, again), keeping)
        wanted -= whole
    if wanted:
        raise ServerLied(f"the server left out {len(wanted):,} of the objects it was asked for")


def _objects(
    frames: Iterator[Frame], allowed: int, keeping: Keeping | None, held: Held | None, whole: set[ObjectId]
) -> Iterator[tuple[ObjectId, bytes]]:
    assembler = Assembler(MAX_SIZE)
    for count, frame in enumerate(frames):
        if count >= allowed:
            raise ServerLied("the server sends more than it was asked for")
        if frame.bases:
            opened = _opened(frame, held)
            if opened is None:
                whole |= {slot.object for slot in frame.table}
                continue
            if keeping is not None:
                for made in make_frames(opened, FAST_LEVEL):
                    keeping.add(made)
            yield from opened
            continue
        found = assembler.feed(frame)
        if keeping is not None:
            keeping.add(frame)
        yield from found
    assembler.finish()


def _opened(frame: Frame, held: Held | None) -> list[tuple[ObjectId, bytes]] | None:
    """The objects of a delta; ``None`` where a base is not here (any more), or something else comes of it."""
    bases: list[bytes] = []
    for name in frame.bases:
        data = held.read(name) if held is not None else None
        if data is None or sum(map(len, bases)) + len(data) > MAX_BASE_RAW:
            return None
        bases.append(data)
    try:
        return open_delta(frame, bases)
    except FrameRefused:
        return None


def _batches(sizes: Mapping[ObjectId, int | None]) -> Iterator[list[ObjectId]]:
    batch: list[ObjectId] = []
    held = 0
    most = FIRST_OBJECTS if len(sizes) > 2 * FIRST_OBJECTS else BATCH_OBJECTS
    for name, known in sizes.items():
        size = MAX_FRAME_RAW if known is None else known
        if batch and (len(batch) == most or held + size > BATCH_BYTES):
            yield batch
            batch, held, most = [], 0, BATCH_OBJECTS
        batch.append(name)
        held += size
    if batch:
        yield batch

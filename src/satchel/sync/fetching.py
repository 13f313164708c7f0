"""Content asked for in bounded batches, and checked as it comes.

Every object has the hash it is named by, no more comes than was asked for, and an edit of what is here may come as a
difference from it (``objects.delta``): what that opens to is checked like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

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
) -> Iterator[tuple[ObjectId, bytes]]:
    """The named objects, each once, checked, in the order they arrive; ``None`` is a size not known.

    The frames they come in are given to ``keeping``. What the server says it does not have (any more) is put into
    ``lost``. With ``held`` it may tell them as differences from contents of that version; one that does not open here,
    for whatever reason, is asked for whole. Raises ``ServerLied``.
    """
    for batch in _batches(sizes):
        try:
            yield from _fetch(peer, project, sizes, batch, keeping, held)
        except ObjectsMissing as error:
            named = error.facts.get("objects")
            absent = (
                set(batch) & {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()
            )
            if not absent:
                raise
            lost |= absent
            yield from _fetch(peer, project, sizes, [name for name in batch if name not in absent], keeping)


def _fetch(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    batch: list[ObjectId],
    keeping: Keeping | None,
    held: Held | None = None,
) -> Iterator[tuple[ObjectId, bytes]]:
    if batch:
        wanted, whole = set(batch), set[ObjectId]()
        # Whole frames may come for one object of theirs: a bound on frames bounds what a server can make us read.
        allowed = 8 + sum(2 + (MAX_SIZE if (size := sizes[name]) is None else size) // MAX_FRAME_RAW for name in batch)
        try:
            few = held is not None and len(batch) <= MAX_DELTAS  # an edit, not a new beginning
            frames = peer.read_objects(project, batch, held.version if held and few else None)
            for name, data in _objects(frames, allowed, keeping, held, whole):
                if name in wanted:
                    wanted.discard(name)
                    if sizes[name] not in (None, len(data)):
                        raise ServerLied("an object has another size than the server named")
                    yield name, data
        except FrameRefused as error:
            raise ServerLied(f"the server sent content that is not what it announced: {error.message}") from error
        if again := [name for name in batch if name in wanted & whole]:
            yield from _fetch(peer, project, sizes, again, keeping)
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
    for name, known in sizes.items():
        size = MAX_FRAME_RAW if known is None else known
        if batch and (len(batch) == BATCH_OBJECTS or held + size > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(name)
        held += size
    if batch:
        yield batch

"""Where objects lie in packs, and which ranges of packs to read for a set of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from satchel.errors import StoreMissing
from satchel.objects.frame import Slot
from satchel.objects.ids import FrameId, ObjectId
from satchel.objects.record import FrameAt, PackTable

MAX_READ_BYTES = 8 << 20
"""Most bytes asked of the store at once."""
MAX_READ_FRAMES = 16
"""Most frames opened at once: bounds what one read holds to 16 MiB of content beside the sealed bytes."""
MAX_GAP_BYTES = 64 << 10
"""Unwanted bytes between two frames that cost less to read than another request does."""


class Place(NamedTuple):
    """Where an object, or one part of it, lies: in which frame of which pack, and where in the frame's content.

    ``size`` is that of the whole object; ``pack_offset`` and ``pack_length`` bound the sealed frame in the pack,
    ``offset`` and ``length`` the object (or part) in the frame's content.
    """

    object: ObjectId
    part: int
    parts: int
    size: int
    pack: str
    frame: FrameId
    pack_offset: int
    pack_length: int
    offset: int
    length: int


class StoredPack(NamedTuple):
    """A pack that was put: its random name, its size, the number of its frames and all that lies in it."""

    name: str
    size: int
    frames: int
    places: tuple[Place, ...]


class WantedFrame(NamedTuple):
    """A sealed frame to be read, with the wanted places in it by offset."""

    frame: FrameId
    part: int
    parts: int
    pack: str
    offset: int
    length: int
    places: tuple[Place, ...]


class Read(NamedTuple):
    """One range of one pack and the frames wanted in it, by offset."""

    pack: str
    offset: int
    length: int
    frames: tuple[WantedFrame, ...]


def plan_reads(places: Iterable[Place]) -> list[Read]:
    """The reads that bring every object of ``places``, few and bounded: whole objects first, then long ones by part.

    An object present in several places is read once. Raises ``StoreMissing`` where a part of an object has no place.
    """
    chosen = {(place.object, place.part): place for place in places}
    whole = [place for place in chosen.values() if place.parts == 1]
    long = [place for place in chosen.values() if place.parts > 1]
    _check_complete(long)
    whole.sort(key=lambda place: (place.pack, place.pack_offset, place.offset, place.length))
    long.sort(key=lambda place: (place.object, place.part))
    return list(_reads([*_frames(whole), *_frames(long)]))


def pack_table(stored: StoredPack) -> PackTable:
    """The frames of a stored pack, as a commit record keeps them."""
    ordered = sorted(stored.places, key=lambda place: (place.pack_offset, place.offset, place.length))
    frames = [
        FrameAt(
            frame.frame,
            frame.offset,
            frame.length,
            frame.part,
            frame.parts,
            tuple(Slot(place.object, place.offset, place.length) for place in frame.places),
        )
        for frame in _frames(ordered)
    ]
    return PackTable(stored.name, stored.size, tuple(frames))


def places_of(table: PackTable, sizes: dict[ObjectId, int]) -> tuple[Place, ...]:
    """The places that a pack of a commit record tells of; ``sizes`` gives those of objects in several parts."""
    return tuple(
        Place(
            slot.object,
            frame.part,
            frame.parts,
            slot.length if frame.parts == 1 else sizes[slot.object],
            table.name,
            frame.id,
            frame.offset,
            frame.length,
            slot.offset,
            slot.length,
        )
        for frame in table.frames
        for slot in frame.table
    )


def _check_complete(long: Sequence[Place]) -> None:
    found: dict[ObjectId, set[int]] = {}
    for place in long:
        found.setdefault(place.object, set()).add(place.part)
    for place in long:
        if len(found[place.object]) != place.parts:
            raise StoreMissing(f"a part of the object {place.object} is nowhere stored")


def _frames(ordered: Iterable[Place]) -> Iterator[WantedFrame]:
    for (pack, offset), group in groupby(ordered, key=lambda place: (place.pack, place.pack_offset)):
        places = tuple(group)
        first = places[0]
        yield WantedFrame(first.frame, first.part, first.parts, pack, offset, first.pack_length, places)


def _reads(frames: Sequence[WantedFrame]) -> Iterator[Read]:
    batch: list[WantedFrame] = []
    for frame in frames:
        if batch and not _joins(batch, frame):
            yield _read(batch)
            batch = []
        batch.append(frame)
    if batch:
        yield _read(batch)


def _joins(batch: Sequence[WantedFrame], frame: WantedFrame) -> bool:
    gap = frame.offset - (batch[-1].offset + batch[-1].length)
    return (
        frame.pack == batch[0].pack
        and 0 <= gap <= MAX_GAP_BYTES
        and frame.offset + frame.length - batch[0].offset <= MAX_READ_BYTES
        and len(batch) < MAX_READ_FRAMES
    )


def _read(batch: Sequence[WantedFrame]) -> Read:
    start, last = batch[0].offset, batch[-1]
    return Read(batch[0].pack, start, last.offset + last.length - start, tuple(batch))

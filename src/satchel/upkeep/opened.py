"""Whether a pack is what its table says: each frame opened, decompressed strictly, each object in it hashed.

Pure, and light to import: a process that does nothing else begins with it (``upkeep.openers``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from satchel.errors import Damaged, FrameRefused
from satchel.objects.frame import Slot, check_table, open_content
from satchel.objects.ids import FrameId, ObjectId
from satchel.objects.record import FrameAt, PackTable
from satchel.objects.seal import Binding, open_sealed

KeyOf = Callable[[int], bytes]


class Whole(NamedTuple):
    """What the catalog says of a pack as a whole."""

    name: str
    size: int
    frames: int


FrameRow = tuple[FrameId, int, int, int, int, Sequence[str]]
"""What the catalog says of one frame: id, offset, length, part, parts, and of each object in it the id, whole size,
offset and length."""


class Opened(NamedTuple):
    """What was found in one pack: the frames that do not open, with why, and the sums of those that do."""

    broken: dict[int, str]
    """By index of the frame."""
    objects: int
    bytes: int


class Told(NamedTuple):
    """What the rows of a pack tell."""

    table: PackTable
    long: list[tuple[ObjectId, int]]
    """Long objects and their size, for each part in this pack."""


class Examined(NamedTuple):
    """A pack that fits its rows, and what was found in it."""

    opened: Opened
    long: list[tuple[ObjectId, int]]
    scattered: list[ObjectId]
    """Long objects of which parts lie in other packs: they are not hashed."""


def tiled(pack: Whole, frames: Sequence[FrameAt]) -> PackTable:
    """The table of a pack whose frames these are. Raises ``FrameRefused`` unless they tile it exactly."""
    at = 0
    for frame in frames:
        check_table(frame.table, frame.part, frame.parts)
        if frame.offset != at:
            raise FrameRefused("its places do not tile it")
        at += frame.length
    if at != pack.size or len({frame.id for frame in frames}) != pack.frames:
        raise FrameRefused("its places do not tile it")
    return PackTable(pack.name, pack.size, tuple(frames))


def sound_table(pack: Whole, rows: Sequence[FrameRow]) -> Told | None:
    """The table of a pack from its rows, a row for each frame; ``None`` where something is odd.

    Then the rows have to be looked at one by one.
    """
    frames: list[FrameAt] = []
    long: list[tuple[ObjectId, int]] = []
    try:
        for frame, offset, length, part, parts, held in rows:
            names, sizes, lengths = held[0::4], held[1::4], held[3::4]
            if parts == 1 and sizes != lengths:
                return None
            slots = tuple(map(Slot._make, zip(names, map(int, held[2::4]), map(int, lengths), strict=True)))
            frames.append(FrameAt(frame, offset, length, part, parts, slots))
            if parts > 1:
                long.append((slots[0].object, int(sizes[0])))
        return Told(tiled(pack, frames), long)
    except (FrameRefused, ValueError):
        return None


def examine_pack(
    pack: Whole, rows: Sequence[FrameRow], data: bytes, key_of: KeyOf, binding: Binding
) -> Examined | None:
    """Open all of a pack that has the size it should have; ``None`` where its rows are odd."""
    told = sound_table(pack, rows)
    return None if told is None else examine_told(told, data, key_of, binding)


def examine_told(told: Told, data: bytes, key_of: KeyOf, binding: Binding) -> Examined:
    """Open all of a pack of which its rows told."""
    long = {frame.table[0].object for frame in told.table.frames if frame.parts > 1}
    opened = open_pack(data, told.table, key_of, binding)
    return Examined(opened, told.long, sorted(long - _whole_sequences(told.table)))


def open_pack(data: bytes, table: PackTable, key_of: KeyOf, binding: Binding) -> Opened:
    """Open, decompress and hash everything in a pack. Made for a thread: it holds one frame of content at a time."""
    broken: dict[int, str] = {}
    objects = size = 0
    sealed = memoryview(data)
    hashes = {name: hashlib.sha256() for name in _whole_sequences(table)}
    for index, frame in enumerate(table.frames):
        try:
            piece = bytes(sealed[frame.offset : frame.offset + frame.length])
            packed = open_sealed(key_of, binding, frame.id, piece, index=frame.part, count=frame.parts)
            content = memoryview(open_content(packed, sum(slot.length for slot in frame.table)))
            _hash(frame, content, hashes)
        except Damaged as error:
            broken[index] = error.message
            continue
        size += len(content)
        objects += len(frame.table) if frame.part == 0 else 0
    return Opened(broken, objects, size)


def _hash(frame: FrameAt, content: memoryview, hashes: Mapping[ObjectId, hashlib._Hash]) -> None:
    for slot in frame.table:
        piece = content[slot.offset : slot.offset + slot.length]
        if frame.parts == 1:
            found = hashlib.sha256(piece)
        elif slot.object in hashes:
            found = hashes[slot.object]
            found.update(piece)
            if frame.part < frame.parts - 1:
                continue
        else:
            continue
        if found.hexdigest() != slot.object:
            raise FrameRefused(f"the bytes of {slot.object} are not the ones its id names")


def _whole_sequences(table: PackTable) -> set[ObjectId]:
    """Long objects whose parts all lie in this pack, in order."""
    parts: dict[ObjectId, list[int]] = {}
    wanted: dict[ObjectId, int] = {}
    for frame in table.frames:
        if frame.parts > 1:
            name = frame.table[0].object
            parts.setdefault(name, []).append(frame.part)
            wanted[name] = frame.parts
    return {name for name, held in parts.items() if held == list(range(wanted[name]))}

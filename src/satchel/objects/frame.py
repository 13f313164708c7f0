"""Frames: up to 1 MiB of objects compressed together, and how they are opened strictly.

A frame is a table that tiles its content exactly and one zstd frame that holds the content. An object over 1 MiB is a
sequence of frames of its own, all but the last holding exactly 1 MiB. Anything a writer here would not have built is
refused with ``FrameRefused``: zstd decoders alone accept trailing bytes, second frames and foreign dictionaries, so
the structure is read here before the bytes are decoded. ``docs/spec/objects.md`` has the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from satchel.errors import FrameRefused
from satchel.objects import zstd
from satchel.objects.ids import FrameId, ObjectId

MAX_FRAME_RAW = 1 << 20
"""Most bytes of content in a frame."""
MAX_FRAME_OBJECTS = 4_096
"""Most objects in a frame: bounds the table of a frame of tiny files to 160 KiB."""
MAX_PARTS = 64
"""Most frames of one sequence: an object is at most 64 MiB."""
MAX_WINDOW = 8 << 20
LEVEL = 3
"""zstd level where the wire is what people wait for. 100 MB of text of many projects: 0.8 s and 2.9x; at
``FAST_LEVEL`` 0.5 s and 2.7x, for a wire that is faster than that."""
FAST_LEVEL = 1

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHECKSUM = 0b100  # in the descriptor of the header: four bytes follow the last block
_REPEATED_BYTE, _RESERVED_BLOCK = 1, 3


class Slot(NamedTuple):
    """Where an object, or the part of one that this frame holds, lies in the frame's content."""

    object: ObjectId
    offset: int
    length: int


def compress_bound(raw_size: int) -> int:
    """The most bytes zstd may need for ``raw_size`` bytes: ZSTD_compressBound."""
    return raw_size + (raw_size >> 8) + (((128 << 10) - raw_size) >> 11 if raw_size < 128 << 10 else 0)


@dataclass(frozen=True, slots=True)
class Frame:
    """Objects compressed together: ``data`` is one zstd frame, ``table`` says where each object lies in its content.

    With ``parts`` above 1 this is part ``part`` (from 0) of one object and the table has one slot. With ``bases`` it is
    a delta (``objects.delta``): it travels, opens only beside them, and is never stored.
    """

    table: tuple[Slot, ...]
    raw_size: int
    data: bytes
    part: int = 0
    parts: int = 1
    bases: tuple[ObjectId, ...] = ()

    @property
    def id(self) -> FrameId:
        """SHA-256 of the compressed bytes."""
        return FrameId(hashlib.sha256(self.data).hexdigest())


def make_frames(objects: Iterable[tuple[ObjectId, bytes]], level: int = LEVEL) -> Iterator[Frame]:
    """Compress objects into frames, in the order given; an object given twice is framed once.

    Hold near-duplicates together (see ``similarity_key``) and they compress together. Raises ``ValueError`` for an
    object over 64 MiB. Holds one frame and one object at a time.
    """
    compressor = zstd.ZstdCompressor(level)
    seen: set[ObjectId] = set()
    waiting: list[tuple[ObjectId, bytes]] = []
    held = 0
    for name, data in objects:
        if name in seen:
            continue
        seen.add(name)
        if waiting and (held + len(data) > MAX_FRAME_RAW or len(waiting) == MAX_FRAME_OBJECTS):
            yield _frame(waiting, compressor)
            waiting, held = [], 0
        if len(data) > MAX_FRAME_RAW:
            yield from _sequence(name, data, compressor)
        else:
            waiting.append((name, data))
            held += len(data)
    if waiting:
        yield _frame(waiting, compressor)


def _frame(objects: list[tuple[ObjectId, bytes]], compressor: zstd.ZstdCompressor) -> Frame:
    table, offset = [], 0
    for name, data in objects:
        table.append(Slot(name, offset, len(data)))
        offset += len(data)
    content = b"".join(data for _, data in objects)
    return Frame(tuple(table), offset, compressor.compress(content, compressor.FLUSH_FRAME))


def _sequence(name: ObjectId, data: bytes, compressor: zstd.ZstdCompressor) -> Iterator[Frame]:
    starts = range(0, len(data), MAX_FRAME_RAW)
    if len(starts) > MAX_PARTS:
        raise ValueError(f"an object of {len(data)} bytes is over {MAX_PARTS * MAX_FRAME_RAW}")
    for part, start in enumerate(starts):
        piece = data[start : start + MAX_FRAME_RAW]
        packed = compressor.compress(piece, compressor.FLUSH_FRAME)
        yield Frame((Slot(name, 0, len(piece)),), len(piece), packed, part, len(starts))


def similarity_key(path: str, head: bytes) -> tuple[str, bytes, str]:
    """Sort files by this before framing: like suffixes together, then like beginnings, then neighbours in the tree."""
    name = path.rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    return (suffix.lower() if dot else "", head[:64], path)


def check_shape(frame: Frame) -> None:
    """Refuse a frame whose table or sizes are not what a writer makes; looks at no compressed byte but the header.

    Raises ``FrameRefused``.
    """
    if check_table(frame.table, frame.part, frame.parts) != frame.raw_size:
        raise FrameRefused("the object table does not tile the content")
    if len(frame.data) > compress_bound(frame.raw_size):
        raise FrameRefused("more compressed bytes than the content can need")


def check_table(table: tuple[Slot, ...], part: int, parts: int) -> int:
    """The size of the content that ``table`` tiles, as part ``part`` of ``parts``. Raises ``FrameRefused``."""
    if not 1 <= len(table) <= MAX_FRAME_OBJECTS:
        raise FrameRefused(f"a frame of {len(table)} objects")
    offset = 0
    for slot in table:
        if slot.offset != offset or slot.length < 0:
            raise FrameRefused("the object table does not tile the content")
        offset += slot.length
    if offset > MAX_FRAME_RAW:
        raise FrameRefused("the object table does not tile the content")
    if len({slot.object for slot in table}) != len(table):
        raise FrameRefused("an object is in a frame twice")
    _check_part(len(table), offset, part, parts)
    return offset


def _check_part(objects: int, raw_size: int, part: int, parts: int) -> None:
    if not (1 <= parts <= MAX_PARTS and 0 <= part < parts):
        raise FrameRefused(f"part {part} of {parts}")
    if parts == 1:
        return
    if objects != 1:
        raise FrameRefused("a part of a sequence holds more than one object")
    last = part == parts - 1
    if raw_size == 0 or (not last and raw_size != MAX_FRAME_RAW):
        raise FrameRefused("a part of a sequence is not full")


def open_frame(frame: Frame) -> bytes:
    """The content of a frame, after every check of its structure. Hashes of objects are not checked here.

    Raises ``FrameRefused``.
    """
    if frame.bases:
        raise FrameRefused("a delta, where a frame has to stand alone")
    check_shape(frame)
    return open_content(frame.data, frame.raw_size)


def open_content(
    data: bytes, raw_size: int | None = None, upto: int = MAX_FRAME_RAW, *, prefix: bytes | None = None
) -> bytes:
    """Decompress exactly one strict zstd frame of at most 1 MiB, of ``raw_size`` bytes if that is known.

    Where no more than the first ``upto`` bytes are wanted, and a seal or their hash vouches for them, the rest is
    checked in its structure alone: half the work on average. ``prefix`` is what a delta was made against, as the text
    before its own. Raises ``FrameRefused``.
    """
    stated = content_size(data)
    if stated > MAX_FRAME_RAW or (raw_size is not None and stated != raw_size):
        raise FrameRefused("the content size is not the one the table states")
    in_part = upto < stated and not data[4] & _CHECKSUM
    if in_part:
        _check_blocks(data)
    before = None if prefix is None else zstd.ZstdDict(prefix, is_raw=True).as_prefix
    decompressor = zstd.ZstdDecompressor(zstd_dict=before)
    try:
        content = decompressor.decompress(data, max_length=upto if in_part else stated + 1)
    except zstd.ZstdError as error:
        raise FrameRefused("the compressed bytes do not decode") from error
    if in_part and len(content) == upto:
        return content
    if len(content) != stated or not decompressor.eof or decompressor.unused_data:
        raise FrameRefused("the compressed bytes are not exactly one zstd frame")
    return content


def _check_blocks(data: bytes) -> None:
    """Refuse a zstd frame, whose header was looked at, that does not end with its last block (RFC 8878, 3.1.1.2)."""
    single, width = data[4] >> 5 & 1, 1 << (data[4] >> 6)
    at = (5 if single else 6) + width
    last = 0
    while not last:
        if at + 3 > len(data):
            raise FrameRefused("the compressed bytes are cut off")
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == _RESERVED_BLOCK:
            raise FrameRefused("a block of a reserved kind")
        at += 3 + (1 if kind == _REPEATED_BYTE else size)
    if at != len(data):
        raise FrameRefused("the compressed bytes are not exactly one zstd frame")


def content_size(data: bytes) -> int:
    """The content size in the header of a zstd frame (RFC 8878, 3.1.1.1), which must be strict.

    Raises ``FrameRefused`` for another magic (skippable frames too), reserved bits, a dictionary id, a window over
    8 MiB, and for a header without the content size.
    """
    if len(data) < 6 or not data.startswith(_ZSTD_MAGIC):
        raise FrameRefused("not a zstd frame")
    descriptor = data[4]
    size_flag, single = descriptor >> 6, descriptor >> 5 & 1
    if descriptor & 0b0001_1000:
        raise FrameRefused("reserved bits of the zstd header are set")
    if descriptor & 0b11:
        raise FrameRefused("a dictionary is named")
    if not single:
        if size_flag == 0:
            raise FrameRefused("the content size is missing")
        exponent, mantissa = data[5] >> 3, data[5] & 7
        window = (1 << 10 + exponent) + (1 << 10 + exponent >> 3) * mantissa
        if window > MAX_WINDOW:
            raise FrameRefused("the window is over 8 MiB")
    start, width = (5, 6)[not single], 1 << size_flag
    if len(data) < start + width:
        raise FrameRefused("the zstd header is cut off")
    size = int.from_bytes(data[start : start + width], "little") + (256 if size_flag == 1 else 0)
    if single and size > MAX_WINDOW:  # the window of a single segment is its content
        raise FrameRefused("the window is over 8 MiB")
    return size


class Assembler:
    """Frames in, checked objects out: opens each frame, checks the SHA-256 of each object, joins sequences.

    Holds one frame, and one object while its sequence arrives. After ``FrameRefused`` it must not be used again.
    """

    def __init__(self, max_object_bytes: int) -> None:
        """Refuse objects over ``max_object_bytes`` before holding them."""
        self._max = max_object_bytes
        self._pieces: list[bytes] = []
        self._name: ObjectId | None = None
        self._parts = 0

    def feed(self, frame: Frame) -> list[tuple[ObjectId, bytes]]:
        """The objects that this frame completes. Raises ``FrameRefused``."""
        if frame.part != len(self._pieces) or (self._pieces and frame.parts != self._parts):
            raise FrameRefused("a sequence is out of order or unfinished")
        content = open_frame(frame)
        if frame.parts > 1:
            return self._join(frame, content)
        return [self._checked(slot.object, content[slot.offset : slot.offset + slot.length]) for slot in frame.table]

    def finish(self) -> None:
        """Say that no frame follows. Raises ``FrameRefused`` if a sequence is unfinished."""
        if self._pieces:
            raise FrameRefused("a sequence is unfinished")

    def _join(self, frame: Frame, content: bytes) -> list[tuple[ObjectId, bytes]]:
        name = frame.table[0].object
        if self._pieces and name != self._name:
            raise FrameRefused("a sequence changes its object")
        if (frame.parts - 1) * MAX_FRAME_RAW >= self._max:
            raise FrameRefused(f"an object is over {self._max:,} bytes")
        self._name, self._parts = name, frame.parts
        self._pieces.append(content)
        if frame.part < frame.parts - 1:
            return []
        whole = b"".join(self._pieces)
        self._pieces = []
        return [self._checked(name, whole)]

    def _checked(self, name: ObjectId, data: bytes) -> tuple[ObjectId, bytes]:
        if len(data) > self._max:
            raise FrameRefused(f"an object is over {self._max:,} bytes")
        if hashlib.sha256(data).hexdigest() != name:
            raise FrameRefused("an object is not the one its id names")
        return name, data

"""How frames travel: the bytes of one frame, and a pack of them read as it arrives.

Sans-IO: ``PackReader`` is fed chunks of any size and holds at most one frame beside the chunk. The encoding of a frame
is the same wherever one is written down; ``docs/spec/objects.md`` has the bytes.
"""

from __future__ import annotations

import struct

from satchel.errors import FrameRefused
from satchel.objects.frame import MAX_FRAME_OBJECTS, MAX_FRAME_RAW, Frame, Slot, check_shape, compress_bound
from satchel.objects.ids import ObjectId

PACK_START = b"satchel-pack 1\n"
_FRAME_MAGIC, _DELTA_MAGIC, _END_MAGIC = b"SFR1", b"SFD1", b"SEN1"
_BASE_BYTES = 32
MAX_BASES = MAX_FRAME_OBJECTS
"""Most objects that one delta is made against."""
_HEAD = struct.Struct(">4sHHIII")  # magic, part, parts, objects, raw size, compressed size
_SLOT = struct.Struct(">32sII")  # object id, offset, length
_END = struct.Struct(">4sI")  # magic, frames


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame: head, object table, zstd frame; of a delta also its bases, between head and table."""
    of, parts = (frame.part, frame.parts) if not frame.bases else (len(frame.bases), 0)
    magic = _DELTA_MAGIC if frame.bases else _FRAME_MAGIC
    head = _HEAD.pack(magic, of, parts, len(frame.table), frame.raw_size, len(frame.data))
    table = [_SLOT.pack(bytes.fromhex(slot.object), slot.offset, slot.length) for slot in frame.table]
    return b"".join((head, *map(bytes.fromhex, frame.bases), *table, frame.data))


def decode_frame(buf: bytes) -> Frame:
    """Read exactly one frame. Checks its shape, not yet its content; raises ``FrameRefused``."""
    size = _frame_size(buf, 0, deltas=False)
    if size is None or size != len(buf):
        raise FrameRefused("the bytes are not exactly one frame")
    return _frame_at(buf, 0)


def encode_pack_start() -> bytes:
    """What a pack begins with."""
    return PACK_START


def encode_pack_end(frames: int) -> bytes:
    """What a pack of that many frames ends with."""
    return _END.pack(_END_MAGIC, frames)


class PackReader:
    """Reads a pack from chunks. Raises ``FrameRefused`` on anything odd and must not be used after that."""

    def __init__(self, *, deltas: bool = False) -> None:
        """Without ``deltas`` every frame stands alone; with them, ``Frame.bases`` tells."""
        self._buffer = bytearray()
        self._deltas = deltas
        self._started = False
        self._ended = False
        self._frames = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that this chunk completes; their shape is checked, their content not yet."""
        self._buffer += chunk
        frames: list[Frame] = []
        position = self._start()
        while self._started and not self._ended:
            end = self._end_at(position)
            if end is not None:
                position = end
                break
            size = _frame_size(self._buffer, position, deltas=self._deltas)
            if size is None or len(self._buffer) < position + size:
                break
            frames.append(_frame_at(self._buffer, position))
            self._frames += 1
            position += size
        del self._buffer[:position]
        if self._ended and self._buffer:
            raise FrameRefused("bytes follow the end of the pack")
        return frames

    def finish(self) -> None:
        """Say that no chunk follows. Raises ``FrameRefused`` if the pack is cut off."""
        if not self._ended:
            raise FrameRefused("the pack is cut off")

    def _start(self) -> int:
        if self._started:
            return 0
        seen = bytes(self._buffer[: len(PACK_START)])
        if not PACK_START.startswith(seen):
            raise FrameRefused("not a pack of this version")
        self._started = len(seen) == len(PACK_START)
        return len(seen) if self._started else 0

    def _end_at(self, position: int) -> int | None:
        """Where the pack ends, if its end stands at ``position`` in full."""
        if len(self._buffer) < position + _END.size or self._buffer[position : position + 4] != _END_MAGIC:
            return None
        _, frames = _END.unpack_from(self._buffer, position)
        if frames != self._frames:
            raise FrameRefused(f"the pack says {frames} frames and has {self._frames}")
        self._ended = True
        return position + _END.size


def _frame_size(buffer: bytes | bytearray, position: int, *, deltas: bool) -> int | None:
    """The size of the frame at ``position``; ``None`` while its head is incomplete.

    Refused before more is read: another magic, and sizes no frame can have.
    """
    magic = bytes(buffer[position : position + 4])
    kinds = (_FRAME_MAGIC, _END_MAGIC, _DELTA_MAGIC) if deltas else (_FRAME_MAGIC, _END_MAGIC)
    if not any(kind.startswith(magic) for kind in kinds):
        raise FrameRefused("neither a frame nor the end of the pack")
    if len(buffer) < position + _HEAD.size:
        return None
    if magic == _END_MAGIC:
        raise FrameRefused("neither a frame nor the end of the pack")
    _, of, parts, objects, raw_size, packed = _HEAD.unpack_from(buffer, position)
    if objects > MAX_FRAME_OBJECTS or raw_size > MAX_FRAME_RAW or packed > compress_bound(raw_size):
        raise FrameRefused("a frame is larger than frames may be")
    bases = 0
    if magic == _DELTA_MAGIC:
        bases = of
        if parts != 0 or not 1 <= bases <= MAX_BASES:
            raise FrameRefused(f"a delta against {bases} objects")
    return int(_HEAD.size + bases * _BASE_BYTES + objects * _SLOT.size + packed)


def _frame_at(buffer: bytes | bytearray, position: int) -> Frame:
    magic, part, parts, objects, raw_size, packed = _HEAD.unpack_from(buffer, position)
    start = position + _HEAD.size
    bases: tuple[ObjectId, ...] = ()
    if magic == _DELTA_MAGIC:
        named = memoryview(buffer)[start : start + part * _BASE_BYTES].tobytes()
        start += len(named)
        bases = tuple(ObjectId(named[at : at + _BASE_BYTES].hex()) for at in range(0, len(named), _BASE_BYTES))
        if len(set(bases)) != len(bases):
            raise FrameRefused("a delta names a base twice")
        part, parts = 0, 1
    data_at = start + objects * _SLOT.size
    slots = _SLOT.iter_unpack(memoryview(buffer)[start:data_at].tobytes())
    table = tuple(Slot(ObjectId(name.hex()), offset, length) for name, offset, length in slots)
    frame = Frame(table, raw_size, bytes(buffer[data_at : data_at + packed]), part, parts, bases)
    check_shape(frame)
    return frame

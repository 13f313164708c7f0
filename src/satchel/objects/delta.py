"""Deltas: frames that travel as what is new beside objects both ends hold.

A delta is a frame whose zstd data was compressed with the contents of its ``bases``, one after another, as a prefix:
the text before its own. It is checked as strictly as any frame, opened only beside the very same bases, and framed anew
before anything is stored. Decoding beside others gives other bytes or none, so the hash of every object decides.
``docs/spec/objects.md`` has the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from satchel.errors import FrameRefused
from satchel.objects import zstd
from satchel.objects.frame import LEVEL, MAX_FRAME_RAW, Frame, Slot, check_shape, open_content
from satchel.objects.ids import ObjectId

MIN_BASE_RAW, MAX_BASE_RAW = 8, MAX_FRAME_RAW
"""Least and most bytes of all bases of one delta together: zstd takes no shorter prefix, and with its content they fit
a window of 2 MiB."""

Contents = Sequence[tuple[ObjectId, bytes]]


def make_delta(objects: Contents, bases: Contents) -> Frame:
    """One frame of ``objects`` beside ``bases``. Both are at most 1 MiB together, and none is in a list twice.

    13 edited files of 136 KB: 288 bytes in 2 ms at level 3, 254 at level 9 in 16 ms, 50 KB without bases.
    """
    prefix, content = b"".join(data for _, data in bases), b"".join(data for _, data in objects)
    if not MIN_BASE_RAW <= len(prefix) <= MAX_BASE_RAW or len(content) > MAX_FRAME_RAW:
        raise ValueError("a delta holds at most 1 MiB, made against 8 bytes to 1 MiB")
    table, offset = [], 0
    for name, data in objects:
        table.append(Slot(name, offset, len(data)))
        offset += len(data)
    window = max((len(prefix) + len(content)).bit_length(), 10)
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.window_log: window,
    }
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=zstd.ZstdDict(prefix, is_raw=True).as_prefix)
    packed = compressor.compress(content, compressor.FLUSH_FRAME)
    return Frame(tuple(table), offset, packed, bases=tuple(name for name, _ in bases))


def open_delta(frame: Frame, bases: Sequence[bytes]) -> list[tuple[ObjectId, bytes]]:
    """The objects of a delta, each with the hash it is named by; ``bases`` are the contents of ``frame.bases``.

    Raises ``FrameRefused``.
    """
    if len(bases) != len(frame.bases) or not MIN_BASE_RAW <= sum(map(len, bases)) <= MAX_BASE_RAW:
        raise FrameRefused("a delta without the bases it can have")
    check_shape(frame)
    content = open_content(frame.data, frame.raw_size, prefix=b"".join(bases))
    found = [(slot.object, content[slot.offset : slot.offset + slot.length]) for slot in frame.table]
    if any(hashlib.sha256(data).hexdigest() != name for name, data in found):
        raise FrameRefused("an object is not the one its id names")
    return found

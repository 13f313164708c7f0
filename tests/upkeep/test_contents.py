"""A pack is what its table says, to the last byte and the last hash."""

from __future__ import annotations

import os

import pytest

from satchel.catalog.inspection import FrameHeld, PackState
from satchel.catalog.packs import PlaceRow
from satchel.errors import FrameRefused
from satchel.objects.frame import MAX_FRAME_RAW, Frame, Slot, make_frames
from satchel.objects.ids import ObjectId, TenantId, object_id
from satchel.objects.record import FrameAt, PackTable
from satchel.objects.seal import Binding, seal
from satchel.upkeep.contents import lost_objects, table_of, whole_of
from satchel.upkeep.opened import open_pack, sound_table

KEY = bytes(32)
BINDING = Binding(TenantId("ten_a"), "prj_a", "frame")


def packed(frames: list[Frame]) -> tuple[bytes, PackTable]:
    """A pack at rest and its table."""
    data, placed = b"", []
    for frame in frames:
        where = {"index": frame.part, "count": frame.parts}
        sealed = seal(KEY, BINDING, frame.id, frame.data, epoch=1, salt=os.urandom(32), **where)
        placed.append(FrameAt(frame.id, len(data), len(sealed), frame.part, frame.parts, frame.table))
        data += sealed
    return data, PackTable("pak", len(data), tuple(placed))


def rows(table: PackTable) -> list[PlaceRow]:
    sizes: dict[ObjectId, int] = {}
    for frame in table.frames:
        for slot in frame.table:
            sizes[slot.object] = sizes.get(slot.object, 0) + slot.length
    return [
        PlaceRow(s.object, f.part, f.parts, sizes[s.object], "pak", f.id, f.offset, f.length, s.offset, s.length)
        for f in table.frames
        for s in f.table
    ]


def by_frame(given: list[PlaceRow]) -> list[FrameHeld]:
    """The same rows as the database groups them."""
    found: dict[tuple[object, ...], FrameHeld] = {}
    for row in sorted(given, key=lambda row: (row.pack_offset, row.offset, row.length)):
        of = (row.frame, row.pack_offset, row.pack_length, row.part, row.parts)
        held = found.setdefault(
            of, FrameHeld(row.frame, row.pack_offset, row.pack_length, row.part, row.parts, [])
        ).held
        held += [row.object, str(row.size), str(row.offset), str(row.length)]
    return list(found.values())


def opened(data: bytes, table: PackTable) -> dict[int, str]:
    return open_pack(data, table, lambda _: KEY, BINDING).broken


def framed(*contents: bytes) -> list[Frame]:
    return [frame for data in contents for frame in make_frames([(object_id(data), data)])]


def test_a_sound_pack_opens_and_counts() -> None:
    long = os.urandom(2 * MAX_FRAME_RAW + 7)
    data, table = packed(framed(b"one", b"", long))
    assert open_pack(data, table, lambda _: KEY, BINDING) == ({}, 3, 3 + len(long))
    state = PackState("pak", "live", len(data), 5)
    assert table_of(state, rows(table)) == table
    assert sound_table(whole_of(state), by_frame(rows(table))) == (table, [(object_id(long), len(long))] * 3)


def test_bytes_that_were_sealed_under_the_name_of_others_are_found() -> None:
    (frame,) = framed(b"one")
    lying = Frame((Slot(object_id(b"two"), 0, 3),), 3, frame.data)
    data, table = packed([lying, *framed(b"three")])
    assert list(opened(data, table)) == [0]
    assert lost_objects(table, [0]) == (object_id(b"two"),)


def test_the_parts_of_a_long_object_are_hashed_together() -> None:
    first, second = (bytes([n]) * MAX_FRAME_RAW for n in (1, 2))
    one, two = framed(first + second)
    data, table = packed([one, two])
    assert opened(data, table) == {}
    swapped = [Frame(one.table, one.raw_size, two.data, 0, 2), Frame(two.table, two.raw_size, one.data, 1, 2)]
    data, table = packed(swapped)
    assert list(opened(data, table)) == [1]


@pytest.mark.parametrize("cut", [1, 50, 200])
def test_a_pack_that_was_cut_loses_its_last_frame_alone(cut: int) -> None:
    data, table = packed(framed(b"one", os.urandom(300)))
    assert list(opened(data[:-cut], table)) == [1]


def test_places_that_do_not_tile_a_pack_are_refused() -> None:
    data, table = packed(framed(b"one", b"two", b"three"))
    right, pack = rows(table), PackState("pak", "live", len(data), 3)
    wrong = {
        "a row is gone": (pack, right[1:]),
        "the last row is gone": (pack, right[:-1]),
        "a gap": (pack, [right[0], right[1]._replace(pack_offset=right[1].pack_offset + 1), right[2]]),
        "another size of the pack": (pack._replace(size=len(data) + 1), right),
        "another number of frames": (pack._replace(frames=2), right),
        "another size of the object": (pack, [right[0]._replace(size=4), *right[1:]]),
        "a longer slot": (pack, [right[0]._replace(length=4, size=4), *right[1:]]),
        "a slot that begins later": (pack, [right[0]._replace(offset=1), *right[1:]]),
        "a part of nothing": (pack, [right[0]._replace(parts=2), *right[1:]]),
    }
    for what, (state, given) in wrong.items():
        if what == "a longer slot":
            assert list(opened(data, table_of(state, given))) == [0]
            continue
        assert sound_table(whole_of(state), by_frame(given)) is None, what
        with pytest.raises(FrameRefused):
            table_of(state, given)

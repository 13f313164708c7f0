from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import StoreMissing
from satchel.objects.ids import FrameId, ObjectId
from satchel.store.places import MAX_GAP_BYTES, MAX_READ_BYTES, MAX_READ_FRAMES, Place, plan_reads


def place(name: str, pack: str, at: int, length: int = 100, part: int = 0, parts: int = 1, offset: int = 0) -> Place:
    return Place(ObjectId(name), part, parts, 10, pack, FrameId(f"{pack}{at}"), at, length, offset, 10)


def test_frames_side_by_side_are_read_at_once_and_far_ones_apart() -> None:
    far = 200 + MAX_GAP_BYTES + 1
    reads = plan_reads([place("c", "p", far), place("b", "p", 100), place("a", "p", 0), place("d", "q", 0)])
    assert [(read.pack, read.offset, read.length) for read in reads] == [("p", 0, 200), ("p", far, 100), ("q", 0, 100)]


def test_objects_of_one_frame_are_read_with_it_once() -> None:
    ((frame,),) = [read.frames for read in plan_reads([place("b", "p", 0, offset=10), place("a", "p", 0)])]
    assert [wanted.object for wanted in frame.places] == ["a", "b"]


def test_an_object_stored_twice_is_read_once() -> None:
    reads = plan_reads([place("a", "p", 0), place("a", "q", 0)])
    assert sum(len(read.frames) for read in reads) == 1


def test_a_long_object_is_read_by_part_wherever_its_parts_lie() -> None:
    reads = plan_reads([place("z", "p", 0, part=1, parts=2), place("z", "q", 5, part=0, parts=2), place("a", "r", 0)])
    assert [(read.pack, read.frames[0].part) for read in reads] == [("r", 0), ("q", 0), ("p", 1)]


def test_a_long_object_with_a_part_missing_is_told() -> None:
    with pytest.raises(StoreMissing, match="nowhere stored"):
        plan_reads([place("z", "p", 0, part=0, parts=2)])


@pytest.mark.promise("P8")
@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 60)), unique=True, max_size=40))
def test_every_frame_wanted_is_read_once_in_bounded_reads(wanted: list[tuple[str, int]]) -> None:
    size = 600_000
    reads = plan_reads([place(f"{pack}{n}", pack, n * size, size) for pack, n in wanted])
    assert sorted((read.pack, frame.offset // size) for read in reads for frame in read.frames) == sorted(wanted)
    for read in reads:
        assert read.length <= MAX_READ_BYTES
        assert len(read.frames) <= MAX_READ_FRAMES
        assert read.offset == read.frames[0].offset
        assert read.offset + read.length == read.frames[-1].offset + read.frames[-1].length

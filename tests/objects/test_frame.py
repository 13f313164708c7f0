from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import FrameRefused
from satchel.objects import zstd
from satchel.objects.frame import (
    MAX_FRAME_OBJECTS,
    MAX_FRAME_RAW,
    Assembler,
    Frame,
    Slot,
    compress_bound,
    content_size,
    make_frames,
    open_content,
    open_frame,
    similarity_key,
)
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.pack import decode_frame

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/frames.json").read_text())
LIMIT = 8 << 20


def named(*contents: bytes) -> list[tuple[ObjectId, bytes]]:
    return [(object_id(data), data) for data in contents]


def assembled(frames: list[Frame], limit: int = LIMIT) -> list[tuple[ObjectId, bytes]]:
    assembler = Assembler(limit)
    found = [item for frame in frames for item in assembler.feed(frame)]
    assembler.finish()
    return found


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["what"])
def test_a_frame_written_once_can_be_read_for_ever(vector: dict[str, Any]) -> None:
    frame = decode_frame(bytes.fromhex(vector["bytes"]))
    assert frame.id == vector["id"]
    assert assembled([frame]) == named(*map(bytes.fromhex, vector["objects"]))


def test_a_sequence_written_once_can_be_read_for_ever() -> None:
    frames = [decode_frame(bytes.fromhex(frame)) for frame in VECTORS["sequence"]["frames"]]
    ((name, data),) = assembled(frames)
    assert name == VECTORS["sequence"]["object"]
    assert data == bytes(MAX_FRAME_RAW) + b"end"


@pytest.mark.parametrize("encoded", VECTORS["refused"].values(), ids=list(VECTORS["refused"]))
def test_a_frame_nobody_would_write_is_refused(encoded: str) -> None:
    with pytest.raises(FrameRefused):
        open_frame(decode_frame(bytes.fromhex(encoded)))


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=200), max_size=12))
def test_objects_come_out_as_they_went_in(contents: list[bytes]) -> None:
    """P3: what was framed can be read back."""
    once = list(dict(named(*contents)).items())
    assert assembled(list(make_frames(named(*contents)))) == once


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(-2, 2).map(lambda off: MAX_FRAME_RAW + off) | st.sampled_from([0, 5, 3 << 20]), max_size=5))
def test_objects_around_and_over_a_frame_come_out_whole(sizes: list[int]) -> None:
    contents = [bytes([n]) * size for n, size in enumerate(sizes)]
    frames = list(make_frames(named(*contents)))
    assert sorted(assembled(frames)) == sorted(dict(named(*contents)).items())
    assert all(frame.raw_size <= MAX_FRAME_RAW for frame in frames)


def test_a_frame_of_very_many_tiny_files_is_bounded() -> None:
    """P8: a table does not grow with the number of files."""
    frames = list(make_frames(named(*(str(n).encode() for n in range(MAX_FRAME_OBJECTS + 1)))))
    assert [len(frame.table) for frame in frames] == [MAX_FRAME_OBJECTS, 1]


def test_an_object_over_64_mib_cannot_be_framed() -> None:
    with pytest.raises(ValueError, match="over"):
        list(make_frames(named(bytes((64 << 20) + 1))))


@pytest.mark.parametrize("size", [0, 1, 300, 5_000, 200_000, MAX_FRAME_RAW])
def test_random_bytes_fit_the_bound_of_compressed_bytes(size: int) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    (frame,) = make_frames(named(data))
    assert len(frame.data) <= compress_bound(size)
    assert content_size(frame.data) == size
    assert open_frame(frame) == data


@pytest.mark.promise("P3")
def test_an_object_that_is_not_what_its_id_says_is_refused() -> None:
    (frame,) = make_frames([(object_id(b"one thing"), b"another")])
    with pytest.raises(FrameRefused, match="not the one its id names"):
        Assembler(LIMIT).feed(frame)


def test_a_frame_made_with_a_nameless_dictionary_gives_no_object() -> None:
    """A decoder may turn such a frame into other text without an error: only the hash tells."""
    text = b"The on-call lead approves a rollback. " * 40
    dictionary = zstd.ZstdDict(text, is_raw=True)
    packed = zstd.compress(text, zstd_dict=dictionary)
    frame = Frame((Slot(object_id(text), 0, len(text)),), len(text), packed)
    with pytest.raises(FrameRefused):
        assembled([frame])


@pytest.mark.parametrize("upto", [0, 1, 17, 150_000, 399_999, 400_000, 500_000])
def test_a_frame_read_in_part_gives_its_beginning(upto: int) -> None:
    data = hashlib.shake_128(b"seed").digest(200_000) + bytes(200_000)
    (frame,) = make_frames(named(data))
    assert open_content(frame.data, upto=upto)[:upto] == data[:upto]


@pytest.mark.parametrize("spoil", [lambda d: d + b"\0", lambda d: d + d, lambda d: d[:-1], lambda d: d[:200_000]])
def test_a_frame_read_in_part_is_still_one_strict_frame(spoil: Callable[[bytes], bytes]) -> None:
    data = hashlib.shake_128(b"seed").digest(400_000)
    (frame,) = make_frames(named(data))
    with pytest.raises(FrameRefused):
        open_content(spoil(frame.data), upto=10)


def test_a_bomb_is_refused_before_it_is_opened() -> None:
    """P8: 64 MiB of zero bytes compress to 6 KiB."""
    with pytest.raises(FrameRefused, match="content size"):
        open_content(zstd.compress(bytes(64 << 20)))


def test_the_window_of_a_single_segment_is_its_content() -> None:
    """P8: such a header states no window, so what it says it holds counts as one."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b1010_0000])
    assert content_size(header + (8 << 20).to_bytes(4, "little")) == 8 << 20
    with pytest.raises(FrameRefused, match="window"):
        content_size(header + ((8 << 20) + 1).to_bytes(4, "little"))


def sequence(size: int = (2 << 20) + 5) -> list[Frame]:
    return list(make_frames(named(bytes(size))))


def test_an_object_over_the_readers_limit_is_refused_at_its_first_part() -> None:
    """P8: before it is held."""
    first, *_ = sequence()
    with pytest.raises(FrameRefused, match="over"):
        Assembler(2 << 20).feed(first)
    (small,) = make_frames(named(b"12345"))
    with pytest.raises(FrameRefused, match="over"):
        Assembler(4).feed(small)


def test_a_sequence_must_come_in_order_whole_and_alone() -> None:
    first, second, third = sequence()
    (other,) = make_frames(named(b"other"))
    changed = replace(second, table=(Slot(object_id(b"x"), 0, second.raw_size),))
    longer = replace(second, parts=4)
    misnamed = replace(first, table=(Slot(object_id(b"x"), 0, first.raw_size),))
    for frames in (
        [second],
        [first, third],
        [first, first],
        [first, other],
        [first, changed],
        [first, longer],
        [misnamed, second, third],
        [first, second],
        [first],
    ):
        with pytest.raises(FrameRefused):
            assembled(frames)
    assert len(assembled([other, first, second, third])) == 2


@settings(max_examples=100)
@given(st.data())
def test_no_bit_of_a_frame_can_change_unnoticed(data: st.DataObject) -> None:
    encoded = bytearray(bytes.fromhex(VECTORS["good"][0]["bytes"]))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        found = assembled([decode_frame(bytes(encoded))])
    except FrameRefused:
        return
    # Some bits of a compressed block mean nothing; then the objects are the same, and the id of the frame is not.
    assert found == named(*map(bytes.fromhex, VECTORS["good"][0]["objects"]))


def test_like_files_lie_together() -> None:
    files = {"b/plan.MD": b"# Plan", "a/run.sh": b"#!", "c/plan.md": b"# Plan", "LICENSE": b"Apache", "a/x.md": b"zz"}
    ordered = sorted(files, key=lambda path: similarity_key(path, files[path]))
    assert ordered == ["LICENSE", "b/plan.MD", "c/plan.md", "a/x.md", "a/run.sh"]

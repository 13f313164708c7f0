from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import FrameRefused
from satchel.objects.frame import Frame, make_frames
from satchel.objects.ids import object_id
from satchel.objects.pack import PackReader, decode_frame, encode_frame, encode_pack_end, encode_pack_start

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/frames.json").read_text())
FRAMES = [frame for word in (b"one", b"two", b"") for frame in make_frames([(object_id(word), word)])]
PACK = encode_pack_start() + b"".join(map(encode_frame, FRAMES)) + encode_pack_end(len(FRAMES))


def read(chunks: list[bytes]) -> list[Frame]:
    reader = PackReader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    reader.finish()
    return frames


def test_a_pack_written_once_can_be_read_for_ever() -> None:
    encoded = bytes.fromhex(VECTORS["pack"]["bytes"])
    frames = read([encoded])
    assert len(frames) == VECTORS["pack"]["frames"]
    assert encode_pack_start() + b"".join(map(encode_frame, frames)) + encode_pack_end(2) == encoded


@settings(max_examples=50)
@given(st.lists(st.integers(0, len(PACK)), max_size=6))
def test_a_pack_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PACK)]
    assert read([PACK[start:end] for start, end in pairwise(edges)]) == FRAMES


def test_an_empty_pack_is_a_pack() -> None:
    assert read([encode_pack_start(), encode_pack_end(0)]) == []


@pytest.mark.parametrize("length", range(len(PACK)))
def test_a_pack_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(FrameRefused, match="cut off"):
        read([PACK[:length]])


@pytest.mark.parametrize(
    "stream",
    [
        PACK + b"\0",
        PACK + PACK,
        b"satchel-pack 2\n" + PACK[15:],
        PACK[15:],
        encode_pack_start() + encode_pack_end(1),
        encode_pack_start() + encode_frame(FRAMES[0]) + encode_pack_end(0),
        encode_pack_start() + encode_pack_start(),
        b"GET / HTTP/1.1",
    ],
    ids=["a byte more", "twice", "another version", "no start", "too few", "too many", "two starts", "not a pack"],
)
def test_anything_odd_in_a_pack_is_refused(stream: bytes) -> None:
    for chunks in ([stream], [bytes([byte]) for byte in stream]):
        with pytest.raises(FrameRefused):
            read(chunks)


@pytest.mark.promise("P8")
def test_a_head_that_promises_too_much_is_refused_before_its_bytes_come() -> None:
    head = bytearray(encode_frame(FRAMES[0])[:20])
    for at in (8, 12, 16):  # objects, raw size, compressed size
        greedy = bytearray(head)
        greedy[at : at + 4] = (1 << 31).to_bytes(4, "big")
        reader = PackReader()
        with pytest.raises(FrameRefused, match="larger than frames may be"):
            reader.feed(encode_pack_start() + bytes(greedy))


@pytest.mark.promise("P8")
def test_a_reader_holds_no_more_than_a_frame_beside_the_chunk() -> None:
    noise = random.Random(1)
    contents = [noise.randbytes(200_000) for _ in range(6)]
    many = [frame for data in contents for frame in make_frames([(object_id(data), data)])]
    stream = encode_pack_start() + b"".join(map(encode_frame, many)) + encode_pack_end(len(many))
    reader, most = PackReader(), 0
    for start in range(0, len(stream), 10_000):
        reader.feed(stream[start : start + 10_000])
        most = max(most, len(reader._buffer))
    reader.finish()
    assert most < 200_000 + 10_000 + 1_000


def test_one_frame_alone_is_read_back() -> None:
    for frame in FRAMES:
        assert decode_frame(encode_frame(frame)) == frame

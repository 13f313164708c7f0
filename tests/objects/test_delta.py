from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import FrameRefused
from satchel.objects import zstd
from satchel.objects.delta import MAX_BASE_RAW, make_delta, open_delta
from satchel.objects.frame import Assembler, Frame, make_frames
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.pack import PackReader, decode_frame, encode_frame, encode_pack_end, encode_pack_start

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/deltas.json").read_text())
BASE = b"".join(b"%d: %s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(200))
EDITED = BASE.replace(b"77:", b"seventy-seven:")


def named(*contents: bytes) -> list[tuple[ObjectId, bytes]]:
    return [(object_id(data), data) for data in contents]


def travelled(data: bytes) -> Frame:
    """The one frame of a pack in which deltas may come."""
    reader = PackReader(deltas=True)
    (frame,) = reader.feed(encode_pack_start() + data + encode_pack_end(1))
    reader.finish()
    return frame


def delta() -> Frame:
    return make_delta(named(EDITED), named(BASE))


@pytest.mark.parametrize("vector", VECTORS["good"])
def test_a_delta_written_once_can_be_read_for_ever(vector: dict[str, Any]) -> None:
    frame = travelled(bytes.fromhex(vector["bytes"]))
    bases = [bytes.fromhex(base) for base in vector["bases"]]
    assert frame.bases == tuple(hashlib.sha256(base).hexdigest() for base in bases)
    assert open_delta(frame, bases) == named(*map(bytes.fromhex, vector["objects"]))
    assert encode_frame(frame).hex() == vector["bytes"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_a_delta_that_no_writer_makes_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(FrameRefused):
        open_delta(travelled(bytes.fromhex(vector["bytes"])), [bytes.fromhex(base) for base in vector["bases"]])


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=400), min_size=1, max_size=5, unique=True), st.binary(min_size=8, max_size=2_000))
def test_what_is_opened_beside_its_bases_is_what_was_made(contents: list[bytes], base: bytes) -> None:
    assert open_delta(travelled(encode_frame(make_delta(named(*contents), named(base)))), [base]) == named(*contents)


def test_an_edit_takes_a_fraction_of_what_it_would_alone() -> None:
    (alone,) = make_frames(named(EDITED))
    assert len(encode_frame(delta())) * 20 < len(encode_frame(alone))


def test_where_frames_have_to_stand_alone_a_delta_is_refused() -> None:
    data = encode_frame(delta())
    with pytest.raises(FrameRefused):
        PackReader().feed(encode_pack_start() + data)
    with pytest.raises(FrameRefused):
        decode_frame(data)
    with pytest.raises(FrameRefused):
        Assembler(1 << 20).feed(travelled(data))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstd.compress(bytes(64 << 20))
    honest = delta()
    for stated in (honest.raw_size, 1 << 20):
        table = (honest.table[0]._replace(length=stated),)
        with pytest.raises(FrameRefused, match="content size"):
            open_delta(replace(honest, data=bomb, raw_size=stated, table=table), [BASE])


def test_bases_are_bounded() -> None:
    with pytest.raises(ValueError, match="1 MiB"):
        make_delta(named(EDITED), named(bytes(MAX_BASE_RAW + 1)))
    with pytest.raises(FrameRefused, match="bases"):
        open_delta(delta(), [bytes(MAX_BASE_RAW + 1)])
    with pytest.raises(FrameRefused, match="bases"):
        open_delta(delta(), [])


@pytest.mark.parametrize("end", [4, 19, 30, 60, 95, -1])
def test_a_pack_that_ends_within_a_delta_is_cut_off(end: int) -> None:
    reader = PackReader(deltas=True)
    assert reader.feed(encode_pack_start() + encode_frame(delta())[:end]) == []
    with pytest.raises(FrameRefused, match="cut off"):
        reader.finish()

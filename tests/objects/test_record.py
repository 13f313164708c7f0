from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.objects import zstd
from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.record import (
    Change,
    CommitRecord,
    FrameAt,
    PackTable,
    Parent,
    RecordRefused,
    decode_record,
    encode_record,
    record_hash,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/records.json").read_text())
ID = object_id(b"x")

changes = st.builds(
    Change,
    st.text(max_size=8),
    st.sampled_from(["100644", "100755"]),
    st.just(ID),
    st.integers(0, 1 << 40),
    st.text(max_size=4),
    st.text(st.characters(codec="utf-8"), max_size=8),
) | st.text(max_size=8).map(lambda path: Change(path, None, None))


def record(**changed: Any) -> CommitRecord:
    (frame,) = make_frames([(ID, b"x"), (object_id(b""), b"")])
    pack = PackTable("pak_1", 101, (FrameAt(frame.id, 0, 101, 0, 1, frame.table),))
    fields: dict[str, Any] = {
        "id": "rec_2",
        "parent": Parent("rec_1", ID),
        "lineage": Lineage("lin_1"),
        "version": 2,
        "digest": Digest(ID),
        "changes": (Change("a.md", "100644", ID, 1, "note", "A"), Change("b.md", None, None)),
        "packs": (pack,),
        "author_id": "key_1",
        "author": "release-bot",
        "time": 1_767_225_845_678,
    }
    return CommitRecord(**(fields | changed))


@pytest.mark.parametrize("vector", VECTORS["good"], ids=["whole", "first"])
def test_a_record_written_once_can_be_read_for_ever(vector: dict[str, Any]) -> None:
    encoded = bytes.fromhex(vector["bytes"])
    assert record_hash(encoded) == vector["hash"]
    again = encode_record(decode_record(encoded))
    assert zstd.decompress(again).decode() == vector["json"]


@settings(max_examples=50)
@given(st.lists(changes, max_size=4), st.none() | st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_record_comes_out_as_it_went_in(some: list[Change], listing: str | None) -> None:
    try:
        written = record(changes=tuple(some), listing=listing)
        encoded = encode_record(written)
    except UnicodeEncodeError:  # a path that no tree can hold
        return
    assert decode_record(encoded) == written


def broken(**fields: Any) -> bytes:
    plain = json.loads(zstd.decompress(encode_record(record()))) | fields
    kept = {key: value for key, value in plain.items() if value != "drop"}
    return zstd.compress(json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "satchel-record 2"},
        {"more": 1},
        {"time": "drop"},
        {"version": -1},
        {"version": True},
        {"digest": "0" * 63},
        {"parent": ["rec_1"]},
        {"parent": ["rec_1", "not a hash"]},
        {"changes": {}},
        {"changes": [["a", "120000", ID, 1, "note", "A"]]},
        {"changes": [["a", "100644", ID]]},
        {"changes": [[1]]},
        {"packs": [["pak_1", 1, [[ID, 0, 1, 0, 1, [[ID, -1]]]]]]},
        {"packs": [["pak_1", 9, [[ID, 0, 4, 0, 1, [[ID, 1]]], [ID, 5, 4, 0, 1, [[ID, 1]]]]]]},
        {"packs": [["pak_1", 9, [[ID, 0, 8, 0, 1, [[ID, 1]]]]]]},
        {"packs": [["pak_1", 8, [[ID, 0, 8, 0, 1, [[ID, 1], [ID, 1]]]]]]},
        {"packs": [["pak_1", 8, [[ID, 0, 8, 0, 2, [[ID, 1]]]]]]},
        {"author": "me"},
    ],
    ids=str,
)
def test_a_record_nobody_would_write_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RecordRefused):
        decode_record(broken(**fields))


@pytest.mark.parametrize(
    "told",
    [
        lambda text: b" " + text,
        lambda text: text.replace(b'"time":', b'"time":0,"time":'),
        lambda text: text.replace(b'"note"', b'"\\u006eote"'),
        lambda text: text[:-1] + b',"version":2}',
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode(),
    ],
    ids=["a space", "a key twice", "a needless escape", "a last key twice", "another order"],
)
def test_only_the_canonical_json_of_a_record_is_read(told: Callable[[bytes], bytes]) -> None:
    """Two readers cannot take one record for two things."""
    text = zstd.decompress(encode_record(record()))
    assert decode_record(zstd.compress(text)) == record()
    with pytest.raises(RecordRefused):
        decode_record(zstd.compress(told(text)))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"{}",
        zstd.compress(b"[]"),
        zstd.compress(b"not json"),
        zstd.compress(b"[" * 100_000),
        encode_record(record()) + b"\0",
        encode_record(record())[:-1],
    ],
    ids=["empty", "not compressed", "a list", "not JSON", "deep", "a byte more", "cut off"],
)
def test_bytes_that_are_no_record_are_refused(encoded: bytes) -> None:
    with pytest.raises(RecordRefused):
        decode_record(encoded)

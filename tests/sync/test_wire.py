from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.errors import FrameRefused, InvalidInput, PathRefused, SatchelError, TooLarge
from satchel.objects.frame import Assembler, make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.wire import MAGIC, MAX_BLOCK_BYTES, Parent, Sent, StreamReader, encode_preamble

PARENT = Parent(Lineage("lin_1"), 3, Digest("1" * 64))
AFTER = Digest("2" * 64)


def stream(changes: list[Sent], contents: Iterable[bytes]) -> bytes:
    frames = list(make_frames((object_id(data), data) for data in contents))
    parts = [*encode_preamble(PARENT, AFTER, changes), encode_pack_start()]
    return b"".join([*parts, *map(encode_frame, frames), encode_pack_end(len(frames))])


def block(value: object) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(data).to_bytes(4, "big") + data


def change(path: str, data: bytes) -> Sent:
    return Sent(path, Entry("100644", object_id(data)), len(data))


@given(st.integers(1, 4000), st.lists(st.binary(max_size=3000), max_size=5))
@settings(max_examples=60)
def test_a_stream_reads_the_same_however_it_is_cut(cut: int, contents: list[bytes]) -> None:
    changes = [change(f"f{n}.md", data) for n, data in enumerate(contents)] + [Sent("gone.md", None)]
    body = stream(changes, contents)
    reader, assembler = StreamReader(), Assembler(1 << 20)
    received: dict[str, bytes] = {}
    for start in range(0, len(body), cut):
        for frame in reader.feed(body[start : start + cut]):
            received |= dict(assembler.feed(frame))
    reader.finish()
    assert reader.preamble is not None
    assert reader.preamble.changes == tuple(changes)
    assert (reader.preamble.parent, reader.preamble.digest) == (PARENT, AFTER)
    assert sorted(received.values()) == sorted(set(contents))


def test_many_long_paths_keep_every_block_in_bounds() -> None:
    changes = [change("/".join(["é" * 60] * 8) + f"/{n:05}.md", b"x") for n in range(2_500)]
    pieces = list(encode_preamble(PARENT, AFTER, changes))[1:]
    assert all(4 < len(piece) <= MAX_BLOCK_BYTES + 4 for piece in pieces)
    reader = StreamReader()
    reader.feed(stream(changes, []))
    assert reader.preamble is not None
    assert reader.preamble.changes == tuple(changes)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("end", [0, 5, 12, 40, 150, 300, -1])
def test_a_stream_that_is_cut_off_is_refused(end: int) -> None:
    body = stream([change("a.md", b"text")], [b"text"])
    reader = StreamReader()
    reader.feed(body[:end])
    with pytest.raises((InvalidInput, FrameRefused)):
        reader.finish()


HEAD = {"changes": 1, "digest": AFTER, "parent": {"lineage": "lin_1", "version": 3, "digest": "1" * 64}}
ROW = ["a.md", "100644", "3" * 64, 4]


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"STLSYNC2", InvalidInput),
        (b"GET / HT", InvalidInput),
        (MAGIC + b"\0\0\0\0", InvalidInput),
        (MAGIC + (MAX_BLOCK_BYTES + 1).to_bytes(4, "big"), InvalidInput),
        (MAGIC + block(b"{nonsense"), InvalidInput),
        (MAGIC + block(b"[" * 100_000), InvalidInput),
        (MAGIC + block([]), InvalidInput),
        (MAGIC + block({**HEAD, "more": 1}), InvalidInput),
        (MAGIC + block({**HEAD, "changes": True}), InvalidInput),
        (MAGIC + block({**HEAD, "changes": 10**9}), TooLarge),
        (MAGIC + block({**HEAD, "digest": "x"}), InvalidInput),
        (MAGIC + block({**HEAD, "parent": None}), InvalidInput),
        (MAGIC + block({"changes": 1}), InvalidInput),
        (MAGIC + block(HEAD) + block([]), InvalidInput),
        (MAGIC + block(HEAD) + block([["a"], ["b"]]), InvalidInput),
        (MAGIC + block(HEAD) + block([["a", "100644"]]), InvalidInput),
        (MAGIC + block(HEAD) + block(["a"]), InvalidInput),
        (MAGIC + block(HEAD) + block([[1]]), InvalidInput),
        (MAGIC + block(HEAD) + block([["../a.md"]]), PathRefused),
        (MAGIC + block(HEAD) + block([[".satchel/base-0"]]), PathRefused),
        (MAGIC + block(HEAD) + block([["a.md", "120000", *ROW[2:]]]), InvalidInput),
        (MAGIC + block(HEAD) + block([["a.md", "100644", "XYZ", 4]]), InvalidInput),
        (MAGIC + block(HEAD) + block([[*ROW[:3], -1]]), TooLarge),
        (MAGIC + block(HEAD) + block([[*ROW[:3], 1 << 40]]), TooLarge),
        (MAGIC + block({**HEAD, "changes": 2}) + block([ROW, ["a.md"]]), InvalidInput),
        (MAGIC + block(HEAD) + block([ROW]) + b"junk after the changes", FrameRefused),
    ],
)
def test_bytes_that_no_writer_sends_are_refused(body: bytes, error: type[SatchelError]) -> None:
    with pytest.raises(error):
        StreamReader().feed(body)
    reader = StreamReader()
    with pytest.raises(error):
        [reader.feed(bytes([byte])) for byte in body]


def test_content_alone_travels_without_parent_and_changes() -> None:
    reader = StreamReader()
    frames = list(make_frames([(object_id(b"text"), b"text")]))
    body = b"".join(encode_preamble(None, None, [])) + encode_pack_start() + encode_frame(frames[0])
    assert reader.feed(body + encode_pack_end(1)) == frames
    reader.finish()
    assert reader.preamble is not None
    assert reader.preamble.parent is None

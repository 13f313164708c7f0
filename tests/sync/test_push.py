"""The body of a push: how well it is compressed, and that this changes nothing of what it says."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path

import pytest

from satchel.objects.frame import FAST_LEVEL, Assembler, Frame
from satchel.objects.ids import Digest, Lineage, ObjectId, object_id
from satchel.objects.listing import Entry
from satchel.sync.push import LEVELS, SMALL_PUSH_BYTES, Content, FileMoved, Outgoing, _level, body
from satchel.sync.wire import Parent, Sent, StreamReader


def outgoing(root: Path, files: dict[str, bytes]) -> Outgoing:
    changes, contents = [], []
    for path, data in files.items():
        (root / path).write_bytes(data)
        changes.append(Sent(path, Entry("100644", object_id(data)), len(data)))
        contents.append(Content(object_id(data), path, len(data)))
    return Outgoing(Parent(Lineage("lin_1"), 0, Digest("0" * 64)), Digest("1" * 64), changes, contents)


def large() -> dict[str, bytes]:
    """More than is compressed ahead of the request, and more frames than are worked on at once."""
    return {f"{n}.md": os.urandom(300_000).hex().encode() for n in range(1 + SMALL_PUSH_BYTES // 500_000)}


def test_a_large_push_says_the_same_whichever_level_each_frame_has(tmp_path: Path) -> None:
    files = large()
    sending = body(outgoing(tmp_path, files), tmp_path)
    reader, assembler = StreamReader(), Assembler(8 << 20)
    found: dict[ObjectId, bytes] = {}
    sent = 0
    for piece in sending.stream:
        sent += len(piece)
        for frame in reader.feed(piece):
            found.update(assembler.feed(frame))
    reader.finish()
    assert found == {object_id(data): data for data in files.values()}
    assert sent <= sending.declared


def test_frames_are_compressed_well_while_the_wire_is_slow_and_fast_while_it_waits() -> None:
    ready: Future[list[Frame]] = Future()
    ready.set_result([])
    late: Future[list[Frame]] = Future()
    assert [_level([ready, ready], level, LEVELS) for level in LEVELS] == [*LEVELS[1:], LEVELS[-1]]
    assert [_level([ready, late], level, LEVELS) for level in LEVELS] == list(LEVELS)
    assert {_level([late, ready], level, LEVELS) for level in LEVELS} == {FAST_LEVEL}


@pytest.mark.promise("P3")
def test_a_file_that_changes_while_it_is_sent_stops_the_stream(tmp_path: Path) -> None:
    files = large()
    sending = body(outgoing(tmp_path, files), tmp_path)
    for path, data in files.items():
        (tmp_path / path).write_bytes(data[::-1])  # of the same length
    with pytest.raises(FileMoved):
        list(sending.stream)

"""What comes from an MCP server over HTTP, as its bytes happen to be cut."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from satchel.errors import ServerLied
from satchel.remote.mcphttp import MAX_ANSWER_BYTES, _events

STREAM = b": hello\r\ndata: {}\r\n\r\nevent: message\ndata:1\ndata: 2\n\nid: 7\ndata:\n\ndata: cut off"


def in_pieces(data: bytes, length: int) -> Iterator[bytes]:
    return (data[at : at + length] for at in range(0, len(data), length))


@pytest.mark.parametrize("length", [1, 2, 3, 7, len(STREAM)])
def test_events_are_the_same_however_the_stream_is_cut(length: int) -> None:
    assert list(_events(in_pieces(STREAM, length))) == [b"{}", b"1\n2", b""]


@pytest.mark.promise("P8")
def test_a_line_that_comes_byte_by_byte_does_not_take_long() -> None:
    began = time.process_time()
    [event] = _events(in_pieces(b"data:" + b"x" * 2_000_000 + b"\n\n", 1))
    assert len(event) == 2_000_000
    assert time.process_time() - began < 10


@pytest.mark.promise("P8")
def test_an_event_that_never_ends_is_refused() -> None:
    with pytest.raises(ServerLied, match="an event of the MCP server is over"):
        list(_events(in_pieces(b"x" * (MAX_ANSWER_BYTES + 1), 65_536)))

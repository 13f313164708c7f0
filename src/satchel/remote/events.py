"""Server-sent events, read as they come. What does not fit the form is a lie; what is not known is passed over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from satchel.errors import ServerLied
from satchel.sync.watch import Told

MAX_LINE_BYTES = 64 * 1024


def told_in(chunks: Iterable[bytes]) -> Iterator[Told]:
    """The events of a stream. Raises ``ServerLied``, and what reading the stream raises."""
    event = b""
    for line in _lines(chunks):
        if line.startswith(b"event:"):
            event = line[6:].strip()
        elif line.startswith(b"data:") and event in (b"head", b"end"):
            yield _told(event.decode(), line[5:])
        elif not line:
            event = b""


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ServerLied("the server tells of an event that does not end")
        for line in lines:
            yield line.removesuffix(b"\r")


def _told(event: str, data: bytes) -> Told:
    try:
        said = json.loads(data)
        version, digest, reason = said.get("version", 0), said.get("digest", ""), said.get("reason", "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ServerLied("an event that the server tells of is not a JSON object") from error
    if type(version) is not int or not isinstance(digest, str) or not isinstance(reason, str):
        raise ServerLied("an event that the server tells of has members of another type")
    return Told(event, version, digest, reason)

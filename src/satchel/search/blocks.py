"""Sections at rest: several together in one compressed block, so that a hit opens a few kilobytes.

A block is zstd over one line of JSON, ``[[first line, last line, trail, characters], ...]``, and the texts one after
the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from satchel.errors import IndexCorrupt
from satchel.search.schema import BLOCK_CHARACTERS, rows

if TYPE_CHECKING:
    import apsw

    from satchel.documents.sections import Section

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 1
_HEADS = json.JSONEncoder(ensure_ascii=False)
_HEADS_AT = json.JSONDecoder().raw_decode


class SectionText(NamedTuple):
    """A section as the index gives it back."""

    first: int
    last: int
    trail: tuple[str, ...]
    text: str


class Packer:
    """Makes blocks; one compressor serves them all, which halves the time that short blocks take."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(LEVEL)

    def blocks(self, sections: Sequence[Section]) -> Iterator[tuple[int, bytes]]:
        """(position of the first section, block) until every section is in one."""
        start, held = 0, 0
        for position, section in enumerate(sections):
            held += len(section.text)
            if held >= BLOCK_CHARACTERS:
                yield start, self._encode(sections[start : position + 1])
                start, held = position + 1, 0
        if start < len(sections):
            yield start, self._encode(sections[start:])

    def _encode(self, sections: Sequence[Section]) -> bytes:
        heads = [[s.first_line, s.last_line, s.trail, len(s.text)] for s in sections]
        whole = _HEADS.encode(heads) + "\n" + "".join([s.text for s in sections])
        return self._compressor.compress(whole.encode(), zstd.ZstdCompressor.FLUSH_FRAME)


def section(database: apsw.Connection, number: int) -> SectionText:
    """The section of that number. Raises ``IndexCorrupt``."""
    at, data = rows(database, "SELECT id, data FROM block WHERE id <= ? ORDER BY id DESC LIMIT 1", (number,))[0]
    return open_section(data, number - at)


def open_section(data: bytes, place: int) -> SectionText:
    """The section at a place, from 0, of a block. Raises ``IndexCorrupt``."""
    try:
        opened = zstd.ZstdDecompressor()  # the function `decompress` takes twice the time for so little
        text = opened.decompress(data).decode()
        heads, end = _HEADS_AT(text)
        first, last, trail, length = heads[place]
        at = end + 1 + sum([other[3] for other in heads[:place]])
    except (zstd.ZstdError, ValueError, TypeError, IndexError) as error:
        raise IndexCorrupt("a block of the index does not open") from error
    return SectionText(first, last, tuple(trail), text[at : at + length])

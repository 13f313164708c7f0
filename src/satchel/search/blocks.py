"""Sections at rest: several together in one compressed block, so that a hit opens a few kilobytes.

A block is zstd over one line of JSON, ``[[first line, last line, trail, characters], ...]``, and the texts one after
the other.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from satchel.errors import IndexCorrupt
from satchel.search.schema import BLOCK_CHARACTERS, rows

if TYPE_CHECKING:
    from satchel.documents.sections import Section

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 1
_HEADS = json.JSONEncoder(ensure_ascii=False)
_HEADS_AT = json.JSONDecoder().raw_decode
_DAMAGED = "a block of the index does not open"


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


_HOLDING = """
SELECT asked.value, id, data FROM carray(?) AS asked
CROSS JOIN block ON id = (SELECT max(id) FROM block WHERE id <= asked.value)
"""


def sections(database: apsw.Connection, numbers: Sequence[int]) -> dict[int, SectionText]:
    """The sections of these numbers, each block opened once. Raises ``IndexCorrupt``."""
    if not numbers:
        return {}
    found: dict[int, SectionText] = {}
    opened: dict[int, Block] = {}
    for number, at, data in rows(database, _HOLDING, (apsw.carray(array("q", numbers)),)):
        block = opened.get(at)
        if block is None:
            block = opened[at] = open_block(data)
        found[number] = block.section(number - at)
    if not found.keys() >= set(numbers):
        raise IndexCorrupt("a block of the index is missing")
    return found


class Block(NamedTuple):
    """A block without its compression."""

    heads: list[list[Any]]
    texts: str

    def section(self, place: int) -> SectionText:
        """The section at a place, from 0. Raises ``IndexCorrupt``."""
        try:
            first, last, trail, length = self.heads[place]
            at = sum([other[3] for other in self.heads[:place]])
        except (ValueError, TypeError, IndexError) as error:
            raise IndexCorrupt(_DAMAGED) from error
        return SectionText(first, last, tuple(trail), self.texts[at : at + length])


def open_block(data: bytes) -> Block:
    """Raises ``IndexCorrupt``."""
    try:
        text = zstd.ZstdDecompressor().decompress(data).decode()  # the function takes twice the time for so little
        heads, end = _HEADS_AT(text)
    except (zstd.ZstdError, ValueError) as error:
        raise IndexCorrupt(_DAMAGED) from error
    return Block(heads, text[end + 1 :])

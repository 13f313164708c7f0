from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.documents.sections import Section
from satchel.errors import IndexCorrupt
from satchel.search.blocks import Packer, SectionText, open_block


@given(st.lists(st.tuples(st.lists(st.text(max_size=5), max_size=3), st.text(max_size=50)), max_size=20))
def test_sections_come_back_as_they_went_in(given_sections: list[tuple[list[str], str]]) -> None:
    sections = [Section(tuple(trail), at, at + 1, text) for at, (trail, text) in enumerate(given_sections, 1)]
    blocks = list(Packer().blocks(sections))
    ends = [start for start, _ in blocks[1:]] + [len(sections)] if blocks else []
    opened = [
        open_block(block).section(at - start)
        for (start, block), end in zip(blocks, ends, strict=True)
        for at in range(start, end)
    ]
    assert opened == [SectionText(s.first_line, s.last_line, s.trail, s.text) for s in sections]


def test_blocks_begin_where_they_say_and_stay_small() -> None:
    sections = [Section((), at, at, "x" * 800) for at in range(1, 11)]
    blocks = list(Packer().blocks(sections))
    assert [start for start, _ in blocks] == [0, 3, 6, 9]
    for start, block in blocks:
        assert open_block(block).section(0).first == start + 1
        with pytest.raises(IndexCorrupt):
            open_block(block).section(3)


@pytest.mark.parametrize("data", [b"", b"junk"])
def test_a_block_that_does_not_open_is_damage(data: bytes) -> None:
    with pytest.raises(IndexCorrupt):
        open_block(data)

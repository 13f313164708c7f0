from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.documents.document import parse
from satchel.documents.outline import Outlined, find_section, outline

TEXT = b"""---
title: x
---
# One

text

## Two

two

### Deep

deep

## Three


# Four
"""


def test_front_matter_that_is_too_long_to_be_any_is_text_in_an_outline_as_it_is_in_a_search() -> None:
    data = f"---\ntitle: x\n# No key\nlong:\n- {'é' * 40_000}\n---\n\n# One\n\ntext\n".encode()
    assert [row.trail for row in outline("a.md", data)] == [("No key",), ("One",)]
    assert {section.trail for section in parse("a.md", data).sections} == {(), ("No key",), ("One",)}


def test_a_heading_covers_what_stands_under_it_without_blank_lines_at_the_end() -> None:
    assert [(row.level, row.trail, row.first_line, row.last_line) for row in outline("a.md", TEXT)] == [
        (1, ("One",), 4, 16),
        (2, ("One", "Two"), 8, 14),
        (3, ("One", "Two", "Deep"), 12, 14),
        (2, ("One", "Three"), 16, 16),
        (1, ("Four",), 19, 19),
    ]


def test_what_has_no_headings_has_no_outline() -> None:
    assert outline("a.md", b"text") == outline("a.bin", b"# x") == outline("a.md", b"\xff") == []


def test_a_section_is_found_by_its_heading_or_by_those_above_it_too() -> None:
    rows = outline("a.md", b"# A\n## X\n# B\n## x  y\n## X\n# C > D\n")

    def lines(wanted: str) -> int | None:
        found = find_section(rows, wanted)
        return found.first_line if found else None

    assert [lines(name) for name in ("x", "B > x", "b \u203a X", "X Y", "c > d", "A > X", "X > A", "", "zzz")] == [
        2, 5, 5, 4, 6, 2, None, None, None,
    ]  # fmt: skip


@pytest.mark.promise("P8")
def test_a_file_that_ends_in_megabytes_of_blanks_has_its_outline_at_once() -> None:
    text = "".join(f"{'*' * level} a\n" for level in range(1, 17)) + " " * 4_000_000
    began = time.process_time()
    rows = outline("a.org", text.encode())
    assert time.process_time() - began < 2  # 0.05 s; 4 s and more where each level looked at each blank
    assert rows[0] == Outlined(1, ("a",), 1, 16, len(text.rstrip()))


@settings(max_examples=50)
@given(st.text("#ab \n=-`", max_size=120))
def test_sections_of_an_outline_lie_in_the_file_and_in_each_other(text: str) -> None:
    rows = outline("a.md", text.encode())
    total = text.count("\n") + 1
    open_rows: list[Outlined] = []
    for row in rows:
        assert 1 <= row.first_line <= row.last_line <= total
        open_rows = [one for one in open_rows if one.level < row.level]
        assert all(one.first_line <= row.first_line and row.last_line <= one.last_line for one in open_rows)
        assert row.trail[:-1] == tuple(one.trail[-1] for one in open_rows)
        open_rows.append(row)

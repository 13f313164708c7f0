"""A text cut into sections: what search finds, and what a hit points at.

Every line that is not blank and not front matter is in exactly one section (a single line longer than a section is cut
into several that all name that line). A section begins at its heading; a heading with nothing under it but a deeper
heading belongs to the section of that one. What is longer than ``MAX_SECTION_CHARS`` is cut between paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from satchel.documents.marks import Checkbox, Heading, Marks

MAX_SECTION_CHARS = 4_000
"""Longer sections are cut."""


class Section(NamedTuple):
    trail: tuple[str, ...]
    """Headings from the outermost down to the section's own; empty before the first heading."""
    first_line: int
    last_line: int
    """1-based, inclusive, counted in the whole file."""
    text: str
    """Those lines as they stand, heading lines included, without blank lines at the end."""


class TaskLine(NamedTuple):
    line: int
    text: str
    done: bool
    trail: tuple[str, ...]
    owner: str | None
    """The first ``@name`` of the text, without the sign."""


_OWNER = re.compile(r"(?:^|[\s(\[,])@([A-Za-z0-9][\w./-]*[\w]|[A-Za-z0-9])")


def cut(text: str, marks: Marks, start: int = 0) -> tuple[tuple[Section, ...], tuple[TaskLine, ...]]:
    """Sections and tasks of ``text`` from offset ``start`` (a line start) on, lines counted from its beginning."""
    sections: list[Section] = []
    tasks: list[TaskLine] = []
    boxes = iter(marks.boxes)
    box = next(boxes, None)
    line, counted = 1, 0  # `line` is the line number at offset `counted`
    for begin, end, trail in _spans(text, marks.headings, start):
        while box is not None and box.at < end:
            tasks.append(_task(box, line + text.count("\n", counted, box.at), trail))
            box = next(boxes, None)
        for piece_begin, piece_end in _pieces(text, begin, end):
            line += text.count("\n", counted, piece_begin)
            counted = piece_begin
            body = text[piece_begin:piece_end]
            sections.append(Section(trail, line, line + body.count("\n"), body))
    return tuple(sections), tuple(tasks)


def _task(box: Checkbox, line: int, trail: tuple[str, ...]) -> TaskLine:
    owner = _OWNER.search(box.text) if "@" in box.text else None
    return TaskLine(line, box.text, box.done, trail, owner[1] if owner else None)


def _spans(text: str, headings: list[Heading], start: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(begin, end, trail) of what stands under each heading, and before the first."""
    begin = start
    trail: tuple[str, ...] = ()
    levels: list[int] = []
    for place, heading in enumerate(headings):
        at, level = heading[0], heading[1]
        if at > begin and not (place and _is_bare(text, begin, at) and headings[place - 1][1] < level):
            yield begin, at, trail
            begin = at
        while levels and levels[-1] >= level:
            levels.pop()
        trail = (*trail[: len(levels)], heading[2])
        levels.append(level)
    yield begin, len(text), trail


def _is_bare(text: str, begin: int, end: int) -> bool:
    """Whether only heading lines stand between two headings: all that is not blank is on one line, or underlines it."""
    lines = text[begin : min(end, begin + 2_000)].split("\n")
    if end - begin > 2_000:
        return False
    return all(not line.strip() or line.lstrip()[0] in "#=" or _UNDERLINE.match(line) for line in lines[1:])


_UNDERLINE = re.compile(r"[ \t]*([=\-~^\"'`*+.:<>_])\1+[ \t]*\Z")


def _pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of pieces of at most ``MAX_SECTION_CHARS``, blank lines around them left out."""
    while begin < end and text[begin].isspace():
        begin += 1
    begin = text.rfind("\n", 0, begin) + 1 if begin < end else begin  # keep the indentation of the first line
    while end > begin and text[end - 1].isspace():
        end -= 1
    while end - begin > MAX_SECTION_CHARS:
        at = _best_cut(text, begin, begin + MAX_SECTION_CHARS)
        yield begin, begin + len(text[begin:at].rstrip())
        begin = at
        while begin < end and text[begin] == "\n":
            begin += 1
    if end > begin:
        yield begin, end


def _best_cut(text: str, begin: int, limit: int) -> int:
    """Where to cut before ``limit``: a blank line in the second half, else a line end, else a space, else there."""
    half = begin + MAX_SECTION_CHARS // 2
    for mark, floor in (("\n\n", half), ("\n", begin + 1), (" ", half)):
        at = text.rfind(mark, floor, limit)
        if at > begin:
            return at + 1
    return limit

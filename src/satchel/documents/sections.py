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
"""Longer sections are cut. Of 1,600, 2,500, 4,000 and 8,000 characters the first three answer equally well (MRR@10
0.815, 0.809, 0.812, then 0.799; ``bench/search.py`` on 42 questions about 30 MB), and fewer pieces are faster."""


def room_for_repeats(characters: int) -> int:
    """How many characters may be said again with each section of a text of that length, all together.

    Of 9,700 documents none came to as much as its own length. Without a bound 0.5 MB of short sections under long
    headings made an index of 84 MB.
    """
    return 4 * characters + 16_384


class Section(NamedTuple):
    trail: tuple[str, ...]
    """Headings from the outermost down to the section's own; empty before the first heading. Its own alone where the
    trails before it have used up ``room_for_repeats``."""
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


_OWNER = re.compile(r"(?<![\w.+/@-])@([A-Za-z0-9][\w./-]*[\w]|[A-Za-z0-9])")


def cut(text: str, marks: Marks, start: int = 0) -> tuple[tuple[Section, ...], tuple[TaskLine, ...]]:
    """Sections and tasks of ``text`` from offset ``start`` (a line start) on, lines counted from its beginning."""
    sections: list[Section] = []
    tasks: list[TaskLine] = []
    boxes = iter(marks.boxes)
    box = next(boxes, None)
    line, counted = 1, 0  # `line` is the number of the line that holds offset `counted`
    room = room_for_repeats(len(text))
    for begin, end, trail in _spans(text, marks.headings, start):
        length = sum(map(len, trail))
        box_line, box_counted = line, counted
        while box is not None and box.at < end:
            box_line += text.count("\n", box_counted, box.at)
            box_counted = box.at
            room -= length
            tasks.append(_task(box, box_line, trail if room >= 0 else trail[-1:]))
            box = next(boxes, None)
        for at, body in _pieces(text, begin, end):
            first = line + text.count("\n", counted, at)
            line = first + body.count("\n")
            counted = at + len(body)
            room -= length
            sections.append(Section(trail if room >= 0 else trail[-1:], first, line, body))
    return tuple(sections), tuple(tasks)


def _task(box: Checkbox, line: int, trail: tuple[str, ...]) -> TaskLine:
    owner = _OWNER.search(box.text) if "@" in box.text else None
    return TaskLine(line, box.text, box.done, trail, owner[1] if owner else None)


def _spans(text: str, headings: list[Heading], start: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(begin, end, trail) of what stands under each heading, and before the first."""
    begin = content = start
    trail: tuple[str, ...] = ()
    levels: list[int] = []
    for at, end, level, title in headings:
        # A heading with nothing under it stays with the deeper one that follows.
        deeper = bool(levels) and levels[-1] < level
        if at > begin and not (deeper and _blank(text, content, at)):
            yield begin, at, trail
            begin = at
        while levels and levels[-1] >= level:
            levels.pop()
        trail = (*trail[: len(levels)], title)
        levels.append(level)
        content = end
    yield begin, len(text), trail


def _blank(text: str, begin: int, end: int) -> bool:
    return begin >= end or text[begin:end].isspace()


def _pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    """(offset, text) of pieces of at most ``MAX_SECTION_CHARS``, without blank lines before and after."""
    body = text[begin:end].rstrip()
    if not body:
        return
    if body[0].isspace():  # blank lines before the first heading; the first line keeps its indentation
        lead = body.rfind("\n", 0, len(body) - len(body.lstrip())) + 1
        begin, body = begin + lead, body[lead:]
    end = begin + len(body)
    while end - begin > MAX_SECTION_CHARS:
        at = _best_cut(text, begin)
        if piece := text[begin:at].rstrip():
            yield begin, piece
        while text[at] == "\n":
            at += 1
        begin = at
        body = ""
    yield begin, body or text[begin:end]


def _best_cut(text: str, begin: int) -> int:
    """Where to end a piece that is too long: a blank line in its second half, else a line end, else a space."""
    limit = begin + MAX_SECTION_CHARS
    for mark, floor in (("\n\n", begin + MAX_SECTION_CHARS // 2), ("\n", begin + 1), (" ", begin + 1)):
        at = text.rfind(mark, floor, limit)
        if at > begin:
            return at + 1
    return limit

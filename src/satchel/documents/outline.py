"""The headings of a document and the lines each of them covers, deeper ones included."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from satchel.documents.document import marked


class Outlined(NamedTuple):
    """A heading with all that stands under it."""

    level: int
    """1 is the outermost."""
    trail: tuple[str, ...]
    """From the outermost heading down to this one."""
    first_line: int
    last_line: int
    """1-based, inclusive; blank lines at the end are left out."""
    characters: int


def outline(path: str, data: bytes) -> list[Outlined]:
    """In the order of the file; empty for what is no text document or has no headings."""
    found = marked(path, data)
    if found is None or not found[1].headings:
        return []
    text, marks = found
    line_of = _Lines(text)
    rows: list[Outlined] = []
    open_rows: list[int] = []  # of the headings around the one at hand
    ends = [len(text)] * len(marks.headings)
    for number, heading in enumerate(marks.headings):
        while open_rows and marks.headings[open_rows[-1]].level >= heading.level:
            ends[open_rows.pop()] = heading.at
        open_rows.append(number)
    trail: list[tuple[int, str]] = []
    for (at, _, level, title), end in zip(marks.headings, ends, strict=True):
        while trail and trail[-1][0] >= level:
            trail.pop()
        trail.append((level, title))
        last = at + len(text[at:end].rstrip())
        names = tuple([name for _, name in trail])
        rows.append(Outlined(level, names, line_of(at), line_of(max(last - 1, at)), last - at))
    return rows


def find_section(rows: list[Outlined], wanted: str) -> Outlined | None:
    """The first section whose heading is ``wanted``; ``Outer > Inner`` names one under another, and case and blanks do
    not count."""
    names = [_folded(name) for name in wanted.replace(" › ", " > ").split(" > ")]
    whole = _folded(wanted)
    for row in rows:
        if _folded(row.trail[-1]) == whole or [_folded(name) for name in row.trail[-len(names) :]] == names:
            return row
    return None


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


class _Lines:
    """From an offset to its line."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def __call__(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

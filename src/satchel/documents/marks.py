"""Where the headings and checkboxes of a text stand: one regular expression per format, run over the whole text.

The expressions find candidate lines only (140 MB/s on markdown, against 60 when anchored with ``^``), and a few lines
of Python decide about each candidate. Code blocks and comments are jumped over, so nothing inside them is a heading or
a task. Offsets are characters of the text given.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from itertools import accumulate, islice
from typing import NamedTuple

MAX_HEADING_CHARS = 200
"""A longer heading is cut: it is a trail, not a text."""
MAX_TASK_CHARS = 1_000
"""A longer task is cut."""
MAX_LEVEL = 16
"""Deeper headings of Org, where a star more is a level more, count as this deep: the trail of every section and task is
kept, and of thousands of levels it is a hundred times the text."""
MAX_MARKS = 20_000
"""Headings and checkboxes of one file, together; what comes after them is text."""


class Heading(NamedTuple):
    at: int
    """Offset of the first character of its line."""
    end: int
    """Offset of the end of the heading: of its line, or of the line under it."""
    level: int
    """1 is the outermost."""
    title: str


class Checkbox(NamedTuple):
    at: int
    done: bool
    text: str


class Marks(NamedTuple):
    headings: list[Heading]
    """In the order of the text."""
    boxes: list[Checkbox]


NO_MARKS = Marks([], [])
_BOX = r"(?:[-*+]|\d{1,9}[.)])[ \t]+\[(?P<box>[ xX])\][ \t]+(?P<todo>\S[^\n]*)"

# Markdown --------------------------------------------------------------------------------------------------------

_MARKDOWN = re.compile(
    r"\n(?=[ \t>]*[#=\-<`~*+\d])(?P<lead>[ \t>]*)(?:"
    r"(?P<hashes>\#{1,6})(?:[ \t]+(?P<atx>[^\n]*))?(?=\n|\Z)"
    r"|(?P<rule>=+|-{2,})[ \t]*(?=\n|\Z)"
    r"|(?P<comment><!--)"
    r"|(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)"
    rf"|{_BOX})"
)
# A line that can be a setext heading: text, and no list item, quotation, table row, HTML, code, rule or other heading.
_PARAGRAPH = re.compile(r" {0,3}(?!(?:[-+*]|\d{1,9}[.)])(?:\s|$)|[>|#<`~=]|(?:[- \t]++|[* \t]++|[_ \t]++)$)\S.*\Z")


def markdown(text: str, start: int = 0, *, until_title: bool = False) -> Marks:
    """Marks of markdown from offset ``start`` (a line start) on: ATX and setext headings, ``- [ ]`` checkboxes.

    Fences may be indented to any depth, as list items have it. A setext heading is exactly one line. An unclosed fence
    or comment hides the rest of the text; a deeply indented or quoted one without an end is taken for plain text.
    With ``until_title`` nothing after the first heading that has a title is looked for.
    """
    padded = "\n" + text
    headings: list[Heading] = []
    boxes: list[Checkbox] = []
    search = _MARKDOWN.search
    closing = _Closing(padded)
    pos = floor = start
    while len(headings) + len(boxes) < MAX_MARKS and (match := search(padded, pos)):
        if until_title and headings and headings[-1].title:
            break
        at, pos = match.span()
        group = match.lastgroup
        if group == "todo":
            boxes.append(Checkbox(at, match["box"] != " ", _task_text(match["todo"])))
            continue
        lead = match[1]
        plain = not lead or (len(lead) <= 3 and not lead.strip(" "))
        if group == "atx" or group == "hashes":
            if plain:
                headings.append(Heading(at, pos - 1, len(match["hashes"]), clean_title(match["atx"] or "")))
                floor = pos
        elif group == "rule":
            if plain and (heading := _setext(padded, match, floor)):
                headings.append(heading)
                floor = pos
        elif group == "comment":
            if plain:
                end = padded.find("-->", pos - 2)  # ``<!-->`` is a whole one
                pos = floor = end + 3 if end >= 0 else len(padded)
        elif not ("`" in match["info"] and match["fence"][0] == "`"):
            closed = closing.after(pos, match["fence"])
            pos = floor = closed if closed is not None else len(padded) if plain else pos
    return Marks(headings, boxes)


def _setext(padded: str, rule: re.Match[str], floor: int) -> Heading | None:
    """The heading that a rule underlines, if the line before it is a paragraph of its own. ``floor`` is where the
    last heading, code, comment or front matter ended."""
    at = rule.start()
    begin = padded.rfind("\n", floor, at) + 1
    above = max(padded.rfind("\n", floor, begin - 1) + 1, floor)
    if not begin or padded[above : begin - 1].strip():
        return None
    line = padded[begin:at]
    if not _PARAGRAPH.match(line):
        return None
    return Heading(begin - 1, rule.end() - 1, 1 if rule["rule"][0] == "=" else 2, clean_title(line))


_CLOSING = re.compile(r"\n[ \t>]*(?P<fence>`{3,}|~{3,})[ \t]*(?=\n|\Z)")


class _Closing:
    """The lines that can close a fence, looked for once: thousands of fences without an end would each search all."""

    def __init__(self, padded: str) -> None:
        self._padded = padded
        self._lines: dict[str, _Lines] | None = None

    def after(self, pos: int, fence: str) -> int | None:
        """The end of the first line from ``pos`` on that closes ``fence``: the same sign, at least as often."""
        if self._lines is None:
            self._lines = {sign: _Lines(*[array("i") for _ in range(4)]) for sign in "`~"}
            for match in _CLOSING.finditer(self._padded):
                self._lines[match["fence"][0]].add(match)
            for lines in self._lines.values():
                lines.longest.extend(accumulate(reversed(lines.lengths), max))
                lines.longest.reverse()
        starts, ends, lengths, longest = self._lines[fence[0]]
        at = bisect_left(starts, pos)
        if at == len(starts) or longest[at] < len(fence):
            return None
        while lengths[at] < len(fence):
            at += 1
        return ends[at]


class _Lines(NamedTuple):
    """Lines that can close fences of one sign. ``longest`` is the longest from each on. Bare numbers: a text may hold
    nothing else, and as objects they took 27 bytes for each of its own."""

    starts: array[int]
    ends: array[int]
    lengths: array[int]
    longest: array[int]

    def add(self, match: re.Match[str]) -> None:
        self.starts.append(match.start())
        self.ends.append(match.end())
        self.lengths.append(len(match["fence"]))


# reStructuredText ------------------------------------------------------------------------------------------------

_UNDER, _OVER = "=-~^\"'`#*+.:<>_", "=-~^\"'`#*+"


def _row(signs: str, least: int) -> str:
    """A row of one sign, each sign spelt out: of a reference to the first of them every repetition takes 110 bytes."""
    return f"(?=[{re.escape(signs)}])(?:{'|'.join(f'{re.escape(sign)}{{{least},}}+' for sign in signs)})"


_RST = re.compile(
    rf"\n(?:(?P<title>(?!\.\.)\S[^\n]*)\n(?P<rule>{_row(_UNDER, 2)})[ \t]*(?=\n|\Z)"
    rf"|(?P<over>{_row(_OVER, 3)})[ \t]*\n[ \t]*(?P<overtitle>\S[^\n]*)\n(?P=over)[ \t]*(?=\n|\Z)"
    rf"|[ \t]*{_BOX})"
)


def restructured(text: str, start: int = 0) -> Marks:
    """Marks of reStructuredText: underlined (and overlined) titles, levels by first use, and checkboxes."""
    padded = "\n" + text
    headings: list[Heading] = []
    boxes: list[Checkbox] = []
    styles: list[str] = []
    pos = start
    while len(headings) + len(boxes) < MAX_MARKS and (match := _RST.search(padded, pos)):
        pos = match.end()
        if match["box"]:
            boxes.append(Checkbox(match.start(), match["box"] != " ", _task_text(match["todo"])))
            continue
        title, rule, style = match["title"], match["rule"], (match["rule"] or "")[:1]
        if match["over"]:
            title, rule, style = match["overtitle"], match["over"], match["over"][0] * 2
        if len(rule) < len(title.rstrip()):
            pos = match.start() + 1  # too short to underline its line; the line may still be a mark of its own
            continue
        if style not in styles:
            styles.append(style)
        headings.append(Heading(match.start(), pos - 1, styles.index(style) + 1, clean_title(title)))
    return Marks(headings, boxes)


# AsciiDoc and Org ------------------------------------------------------------------------------------------------

_ASCIIDOC = re.compile(
    r"\n(?:(?P<signs>={1,6}|\#{1,6})[ \t]+(?P<title>[^\n]+)"
    r"|(?P<block>-{4,}|\.{4,}|/{4,}|\+{4,}|```)[^\n]*"
    r"|[ \t]*(?:[*-]{1,5})[ \t]+\[(?P<box>[ xX*])\][ \t]+(?P<todo>\S[^\n]*))"
)
_ORG = re.compile(
    r"\n(?:(?P<signs>\*+)[ \t]+(?:(?P<state>TODO|DONE)[ \t]+)?(?P<title>\S[^\n]*)"
    r"|[ \t]*\#\+(?P<block>(?i:begin)_\w+)[^\n]*"
    r"|[ \t]*(?:[-+]|\d{1,9}[.)])[ \t]+\[(?P<box>[ xX-])\][ \t]+(?P<todo>\S[^\n]*))"
)
# A block's last line; ``block`` is what it has in common with the first, less the ``begin`` of Org.
_ASCIIDOC_END = re.compile(r"\n(?P<block>-{4,}|\.{4,}|/{4,}|\+{4,}|```)[ \t]*(?=\n|\Z)")
_ORG_END = re.compile(r"\n[ \t]*\#\+(?i:end)(?P<block>_\w+)[ \t]*(?=\n|\Z)")


def asciidoc(text: str, start: int = 0) -> Marks:
    """Marks of AsciiDoc: ``=`` titles and ``* [ ]`` checkboxes, outside delimited blocks."""
    return _signed(_ASCIIDOC, text, start, _ASCIIDOC_END)


def org(text: str, start: int = 0) -> Marks:
    """Marks of Org: starred headings (``TODO`` and ``DONE`` ones are tasks too) and ``- [ ]`` checkboxes."""
    return _signed(_ORG, text, start, _ORG_END)


def _signed(pattern: re.Pattern[str], text: str, start: int, end: re.Pattern[str]) -> Marks:
    padded = "\n" + text
    headings: list[Heading] = []
    boxes: list[Checkbox] = []
    ends: dict[str, _Ends] | None = None
    pos = start
    while len(headings) + len(boxes) < MAX_MARKS and (match := pattern.search(padded, pos)):
        at, pos = match.start(), match.end()
        found = match.groupdict()
        if found["box"]:
            boxes.append(Checkbox(at, found["box"] in "xX*", _task_text(found["todo"])))
        elif found["block"]:
            if ends is None:
                ends = _ends(end, padded)
            block: str = found["block"]
            lines = ends.get(block[5:].lower() if block[:5].lower() == "begin" else block, _NO_ENDS)
            closing = bisect_left(lines.starts, pos)
            pos = lines.ends[closing] if closing < len(lines.ends) else pos
        else:
            headings.append(Heading(at, pos - 1, min(len(found["signs"]), MAX_LEVEL), clean_title(found["title"])))
            if found.get("state"):
                boxes.append(Checkbox(at, found["state"] == "DONE", _task_text(found["title"])))
    return Marks(headings, boxes)


class _Ends(NamedTuple):
    """The lines that can close a block, in the order of the text."""

    starts: array[int]
    ends: array[int]


_NO_ENDS = _Ends(array("i"), array("i"))


def _ends(end: re.Pattern[str], padded: str) -> dict[str, _Ends]:
    """Every line that can close a block, by block."""
    found: dict[str, _Ends] = {}
    for match in end.finditer(padded):
        block = match["block"].lower()
        if block not in found:
            found[block] = _Ends(array("i"), array("i"))
        found[block].starts.append(match.start())
        found[block].ends.append(match.end())
    return found


def boxes_only(text: str, start: int = 0) -> Marks:
    """Marks of plain text: checkboxes, no headings."""
    found = islice(_PLAIN.finditer("\n" + text, start), MAX_MARKS)
    return Marks([], [Checkbox(match.start(), match["box"] != " ", _task_text(match["todo"])) for match in found])


_PLAIN = re.compile(rf"\n[ \t]*{_BOX}")

# Titles ----------------------------------------------------------------------------------------------------------

_CLOSING_HASHES = re.compile(r"(?:^|[ \t])#+[ \t]*\Z")
# No part gives back what it took: what follows it is never in it, and a thousand opening brackets took 8 ms a heading.
_LINK = re.compile(r"!?\[([^\]]*+)\](?:\([^)]*+\)|\[[^\]]*+\])")
_TAG = re.compile(r"<[^>]*+>|\{#[^}]*+\}|`|\*\*|__")


# Escapes in front matter and JSON can name what a text itself cannot hold, or no database keeps: NUL, half a surrogate.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def one_line(title: str) -> str:
    """``title`` without control characters and halves of surrogate pairs, its words a space apart."""
    return " ".join(_UNWRITABLE.sub(" ", title).split())


def clean_title(raw: str) -> str:
    """A heading as a person reads it: one line, no closing hashes, link targets, anchors, tags, backticks or bold
    marks."""
    title = raw[: 5 * MAX_HEADING_CHARS].strip()  # the expressions below are not linear
    if title.isalnum():
        return title[:MAX_HEADING_CHARS]
    if title.endswith("#"):
        title = _CLOSING_HASHES.sub("", title)
    if "[" in title:
        title = _LINK.sub(r"\1", title)
    if "`" in title or "<" in title or "*" in title or "{" in title or "_" in title:
        title = _TAG.sub("", title)
    if not title.isprintable():
        title = one_line(title)
    return title.strip()[:MAX_HEADING_CHARS]


def _task_text(raw: str) -> str:
    return raw[:MAX_TASK_CHARS].strip()

"""The few lines of a section that show why it was found, and where the words stand in them.

Words are compared as the index compares them: by the tokenizer of FTS5 itself, so that ``approve`` lights up
``approval`` exactly where it made the section a hit. The same text and query give the same snippet everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from satchel.search.words import names, parted, spaced

SNIPPET_CHARACTERS = 240
"""The most characters of a snippet, the ellipses not counted."""

Token = tuple[int, int, str]
"""First byte, byte after the last, the word as the index holds it."""
Tokenize = Callable[[str], list[Token]]


class Term(NamedTuple):
    """A sought word or phrase."""

    words: tuple[str, ...]
    """One or more words of the index, in order."""
    begun: bool
    """Whether the last of them is the beginning of one."""
    parted: tuple[str, ...]
    """The same where it is a name made of several words: ``camelcase``, then ``camel`` and ``case``."""


_HEADING = re.compile(r"\s{0,3}#{1,6}\s|[=\-~^\"'`*+#]{3,}\s*\Z|=+\s")


class Snippet(NamedTuple):
    text: str
    highlights: list[list[int]]


def terms_of(sought: Sequence[str], tokenize: Tokenize) -> list[Term]:
    """Each sought word or phrase as words of the index; those that hold no word are left out."""

    def words(text: str) -> tuple[str, ...]:
        return tuple([token[2] for token in tokenize(spaced(text))])

    terms = []
    for text in sought:
        whole, split = words(text), parted(text)
        terms.append(Term(whole, text.endswith("*"), whole if split == text else words(split)))
    return [term for term in terms if term.words]


def cut_snippet(text: str, trail: Sequence[str], terms: Sequence[Term], tokenize: Tokenize) -> Snippet:
    """The stretch of a section that shows the most different terms, then the most of them, then the first."""
    body = " ".join(_without_headings(text, trail).split())
    matches = _matches(body, terms, tokenize)
    start, end = _window(body, matches)
    before = "… " if start else ""
    after = " …" if end < len(body) else ""
    shift = len(before) - start
    highlights = [[a + shift, b + shift] for a, b, _ in matches if a >= start and b <= end]
    return Snippet(f"{before}{body[start:end]}{after}", _merged(highlights))


def _without_headings(text: str, trail: Sequence[str]) -> str:
    """``text`` without the heading lines it begins with: the trail says them. All of it if it is nothing else."""
    known = set(trail)
    lines = text.split("\n")
    at = 0
    while at < len(lines) and (not lines[at].strip() or lines[at].strip() in known or _HEADING.match(lines[at])):
        at += 1
    return "\n".join(lines[at:]) if at < len(lines) else text


def _matches(body: str, terms: Sequence[Term], tokenize: Tokenize) -> list[tuple[int, int, int]]:
    """(start, end, number of the term) in characters, by start."""
    if not terms:
        return []
    wide = spaced(body)
    found = _places(tokenize(wide), terms)
    if not body.isascii():
        if wide == body:
            data = body.encode()
            found = [(len(data[:a].decode()), len(data[:b].decode()), number) for a, b, number in found]
        else:
            place_of = _characters(body, wide)
            found = [(place_of[a], place_of[b], number) for a, b, number in found]
    inside = _inside_names(body, terms, tokenize)
    return sorted({*found, *inside}) if inside else found


def _places(tokens: Sequence[Token], terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """(first byte, byte after the last, number of the term) of every term in these tokens, by first byte."""
    first: dict[str, list[tuple[tuple[str, ...], bool, int]]] = {}
    beginnings: list[tuple[str, int]] = []
    for number, (words, begun, split) in enumerate(terms):
        if begun and len(words) == 1:
            beginnings.append((words[0], number))
        else:
            for each in dict.fromkeys((words, split)):
                first.setdefault(each[0], []).append((each, begun, number))
    found = []
    for place in [place for place, token in enumerate(tokens) if token[2] in first]:
        for words, begun, number in first[tokens[place][2]]:
            if len(words) == 1 or _stands([token[2] for token in tokens[place : place + len(words)]], words, begun):
                found.append((tokens[place][0], tokens[place + len(words) - 1][1], number))
    for beginning, number in beginnings:
        found += [(start, end, number) for start, end, word in tokens if word.startswith(beginning)]
    if beginnings:
        found.sort()
    return found


def _inside_names(body: str, terms: Sequence[Term], tokenize: Tokenize) -> list[tuple[int, int, int]]:
    """As ``_matches``, of the terms that are words inside a name: ``case`` in ``camelCase``."""
    # A stem differs from its word at the end alone: most names are passed over without asking the tokenizer.
    hints = tuple({words[0][:3] for _, _, words in terms})
    found = []
    for at, name in names(body):
        split = parted(name)
        if not any(word.startswith(hints) for word in split.lower().split()):
            continue
        data = split.encode()
        for start, end, number in _places(tokenize(data.decode()), terms):
            before, matched = data[:start].decode(), data[start:end].decode()
            first = at + len(before) - before.count(" ")
            found.append((first, first + len(matched) - matched.count(" "), number))
    return found


def _stands(tokens: Sequence[str], words: Sequence[str], begun: bool) -> bool:
    """Whether a phrase of several words stands in these tokens."""
    if not begun:
        return tuple(tokens) == words
    return len(tokens) == len(words) and tuple(tokens[:-1]) == words[:-1] and tokens[-1].startswith(words[-1])


def _characters(body: str, wide: str) -> dict[int, int]:
    """From byte offsets in the spaced text to character offsets in the text it was made from."""
    places: dict[int, int] = {}
    at, byte = 0, 0
    for character in wide:
        added = at >= len(body) or (character == " " and body[at] != " ")
        places[byte] = at
        byte += len(character.encode())
        at += not added
    places[byte] = at
    return places


def _window(body: str, matches: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Start and end of the stretch to show, at word ends."""
    if len(body) <= SNIPPET_CHARACTERS:
        return 0, len(body)
    best, chosen = (0, 0), 0
    reach = SNIPPET_CHARACTERS * 3 // 4
    after = 0
    for place, (start, _, _) in enumerate(matches):
        while after < len(matches) and matches[after][1] <= start + reach:
            after += 1
        inside = matches[place:after]
        worth = (len({number for _, _, number in inside}), len(inside))
        if worth > best:
            best, chosen = worth, start
    start = max(0, min(chosen - SNIPPET_CHARACTERS // 8, len(body) - SNIPPET_CHARACTERS))
    if start:
        space = body.find(" ", start, start + SNIPPET_CHARACTERS // 8)
        start = space + 1 if space >= 0 else start
    end = min(len(body), start + SNIPPET_CHARACTERS)
    if end < len(body):
        space = body.rfind(" ", end - SNIPPET_CHARACTERS // 8, end)
        end = space if space >= 0 else end
    return start, end


def _merged(spans: list[list[int]]) -> list[list[int]]:
    """Spans in order, those that overlap made one."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged

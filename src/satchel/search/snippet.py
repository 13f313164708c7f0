"""The few lines of a section that show why it was found, and where the words stand in them.

Words are compared as the index compares them: by the tokenizer of FTS5 itself, so that ``approve`` lights up
``approval`` exactly where it made the section a hit. The same text and query give the same snippet everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from satchel.search.words import name_around, names, parted, spaced

SNIPPET_CHARACTERS = 240
"""The most characters of a snippet, the ellipses not counted."""

Token = tuple[int, int, str]
"""First byte, byte after the last, the word as the index holds it."""
Tokenize = Callable[[str], list[Token]]


STEMS_KEPT = 512
"""Words whose stems stay known to an open index, of which a server has hundreds: those that come near to sought ones
come again and again."""


class Stems(dict[str, str]):
    """Each word of letters and digits as the index holds it; the tokenizer is asked once."""

    def __init__(self, tokenize: Tokenize) -> None:
        self._tokenize = tokenize

    def __missing__(self, word: str) -> str:
        if len(self) >= STEMS_KEPT:
            self.clear()
        stem = self[word] = self._tokenize(word)[0][2]
        return stem


class Term(NamedTuple):
    """A sought word or phrase."""

    words: tuple[str, ...]
    """One or more words of the index, in order."""
    begun: bool
    """Whether the last of them is the beginning of one."""
    parted: tuple[str, ...]
    """The same where it is a name made of several words: ``camelcase``, then ``camel`` and ``case``."""

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """The runs of words that are the term."""
        if self.words == self.parted or (self.begun and len(self.words) == 1):
            return (self.words,)
        return self.words, self.parted


_WORD = re.compile("[0-9A-Za-z]+")
_PLAIN = re.compile("[\\0-\x7f\xa0\u2010-\u2027\u2030-\u205e\u2190-\u22ff\u2500-\u257f]*")
"""ASCII, and of the rest dashes, quotation marks, arrows, operators and lines of tables, which separate words."""
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


def cut_snippet(
    text: str, trail: Sequence[str], terms: Sequence[Term], tokenize: Tokenize, stems: Mapping[str, str]
) -> Snippet:
    """The stretch of a section that shows the most different terms, then the most of them, then the first."""
    body = " ".join(_without_headings(text, trail).split())
    matches = _matches(body, terms, tokenize, stems)
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


def _matches(
    body: str, terms: Sequence[Term], tokenize: Tokenize, stems: Mapping[str, str]
) -> list[tuple[int, int, int]]:
    """(start, end, number of the term) in characters, by start."""
    if not terms:
        return []
    if body.isascii() or _PLAIN.fullmatch(body):
        return _hinted_matches(body, terms, tokenize, stems)
    wide = spaced(body)
    found = _places(tokenize(wide), terms)
    if wide == body:
        data = body.encode()
        found = [(len(data[:a].decode()), len(data[:b].decode()), number) for a, b, number in found]
    else:
        place_of = _characters(body, wide)
        found = [(place_of[a], place_of[b], number) for a, b, number in found]
    return sorted({*found, *_inside_names(names(body), terms, tokenize)})


def _hinted_matches(
    body: str, terms: Sequence[Term], tokenize: Tokenize, stems: Mapping[str, str]
) -> list[tuple[int, int, int]]:
    """The same in a third of the time: only words that begin as a sought one are read at all."""
    folded = body.lower()
    found = set()
    inside: dict[int, str] = {}
    for number, term in enumerate(terms):
        for words in term.ways:
            hint = _hint(words[0])
            at = folded.find(hint)
            while at >= 0:
                if not at or not folded[at - 1].isalnum():
                    after = _WORD.match(folded, at).end()  # type: ignore[union-attr]  # a hint is letters and digits
                    end = _end(folded, at, after, words, term.begun, stems)
                    if end:
                        found.add((at, end, number))
                    if not body[at + 1 : after].islower():
                        inside.update(name_around(body, at))
                elif body[at].isupper():
                    inside.update(name_around(body, at))
                at = folded.find(hint, at + 1)
    if inside:
        found.update(_inside_names(inside.items(), terms, tokenize))
    return sorted(found)


def _end(folded: str, at: int, after: int, words: Sequence[str], begun: bool, stems: Mapping[str, str]) -> int:
    """Where these words end, of which the first stands from ``at`` to ``after``; 0 where others stand there."""
    last = len(words) - 1
    for place, wanted in enumerate(words):
        if place:
            word = _WORD.search(folded, after)
            if word is None:
                return 0
            at, after = word.span()
        stem = stems[folded[at:after]]
        if stem != wanted and not (begun and place == last and stem.startswith(wanted)):
            return 0
    return after


def _hint(stem: str) -> str:
    """What every word of a stem begins with: Porter's stemmer leaves the beginning of a word, but for a last ``y``
    made ``i``, an ``e`` put on, and ``ibility`` made ``ibl``."""
    return stem[:-1] if stem[-1] in "iel" and len(stem) > 1 else stem


def _places(tokens: Sequence[Token], terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """(first byte, byte after the last, number of the term) of every term in these tokens."""
    first: dict[str, list[tuple[tuple[str, ...], bool, int]]] = {}
    beginnings: list[tuple[str, int]] = []
    for number, term in enumerate(terms):
        if term.begun and len(term.words) == 1:
            beginnings.append((term.words[0], number))
        else:
            for each in term.ways:
                first.setdefault(each[0], []).append((each, term.begun, number))
    found = []
    for place in [place for place, token in enumerate(tokens) if token[2] in first]:
        for words, begun, number in first[tokens[place][2]]:
            if len(words) == 1 or _stands([token[2] for token in tokens[place : place + len(words)]], words, begun):
                found.append((tokens[place][0], tokens[place + len(words) - 1][1], number))
    for beginning, number in beginnings:
        found += [(start, end, number) for start, end, word in tokens if word.startswith(beginning)]
    return found


def _inside_names(
    named: Iterable[tuple[int, str]], terms: Sequence[Term], tokenize: Tokenize
) -> Iterator[tuple[int, int, int]]:
    """As ``_matches``, of the terms that are words inside these names: ``case`` in ``camelCase``."""
    hints = tuple({_hint(words[0]) for term in terms for words in term.ways})
    known: dict[str, list[tuple[int, int, int]]] = {}
    for at, name in named:
        if name not in known:
            known[name] = list(_inside(name, hints, terms, tokenize))
        for start, end, number in known[name]:
            yield at + start, at + end, number


def _inside(
    name: str, hints: tuple[str, ...], terms: Sequence[Term], tokenize: Tokenize
) -> Iterator[tuple[int, int, int]]:
    split = parted(name)
    if not any(word.startswith(hints) for word in split.lower().split()):
        return  # most names: without asking the tokenizer
    data = split.encode()
    for start, end, number in _places(tokenize(split), terms):
        before, matched = data[:start].decode(), data[start:end].decode()
        first = len(before) - before.count(" ")
        yield first, first + len(matched) - matched.count(" "), number


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
    inside: dict[int, int] = {}  # how often each term stands from here to the reach
    for place, (start, _, number) in enumerate(matches):
        after = max(after, place)
        while after < len(matches) and matches[after][1] <= start + reach:
            inside[matches[after][2]] = inside.get(matches[after][2], 0) + 1
            after += 1
        worth = (len(inside), after - place)
        if worth > best:
            best, chosen = worth, start
        if after > place:
            inside[number] -= 1
            if not inside[number]:
                del inside[number]
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

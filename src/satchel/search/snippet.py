"""The few lines of a section that show why it was found, and where the words stand in them.

Words are compared as the index compares them: by the tokenizer of FTS5 itself, so that ``approve`` lights up
``approval`` exactly where it made the section a hit. The same text and query give the same snippet everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from satchel.search.words import is_name, name_around, names, parted, spaced

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


class Way(NamedTuple):
    """A run of words of the index that is a term."""

    words: tuple[str, ...]
    hint: str
    """What the first of them begins with in every text."""
    begun: bool = False
    """Whether the last of them is the beginning of one."""


Term = tuple[Way, ...]
"""A sought word or phrase. A name made of several words has two ways: ``camelcase``, then ``camel`` and ``case``; the
beginning of a word also those that stem to less than it."""


_WORD = re.compile("[0-9A-Za-z]+")
_PLAIN = re.compile("[\\0-\x7f\xa0\u2010-\u2027\u2030-\u205e\u2190-\u22ff\u2500-\u257f]*")
"""ASCII, and of the rest dashes, quotation marks, arrows, operators and lines of tables, which separate words."""
_HEADING = re.compile(r"\s{0,3}#{1,6}\s|[=\-~^\"'`*+#]{3,}\s*\Z|=+\s")


class Snippet(NamedTuple):
    text: str
    highlights: list[list[int]]


def term_of(text: str, tokenize: Tokenize, stems: Iterable[str] = ()) -> Term:
    """A sought word or phrase as words of the index, or one of ``stems``; empty if it holds no word."""

    def words(text: str) -> tuple[str, ...]:
        return tuple([token[2] for token in tokenize(spaced(text))])

    whole, split, begun = words(text), parted(text), text.endswith("*")
    if not whole:
        return ()
    runs = [whole] if split == text or (begun and len(whole) == 1) else [whole, words(split)]
    ways = [Way(run, _hint(run[0]), begun) for run in dict.fromkeys(runs)]
    return (*ways, *[Way((stem,), _hint(stem)) for stem in stems])


def cut_snippet(
    text: str, trail: Sequence[str], terms: Sequence[Term], tokenize: Tokenize, stems: Mapping[str, str]
) -> Snippet:
    """The stretch of a section that shows the most different terms, then the most of them, then the first."""
    body = " ".join(text[_after_headings(text, trail) :].split())
    matches = _matches(body, terms, tokenize, stems)
    start, end = _window(body, matches)
    before = "… " if start else ""
    after = " …" if end < len(body) else ""
    shift = len(before) - start
    highlights: list[list[int]] = []
    for first, last, _ in matches:
        if first >= start and last <= end:
            if highlights and first + shift <= highlights[-1][1]:
                highlights[-1][1] = max(highlights[-1][1], last + shift)
            else:
                highlights.append([first + shift, last + shift])
    return Snippet(f"{before}{body[start:end]}{after}", highlights)


def _after_headings(text: str, trail: Sequence[str]) -> int:
    """Where the text begins that follows the heading lines, which the trail says; 0 if there is nothing else."""
    at = 0
    while True:
        end = text.find("\n", at)
        line = text[at:] if end < 0 else text[at:end]
        bare = line.strip()
        if bare and bare not in trail and not _HEADING.match(line):
            return at
        if end < 0:
            return 0
        at = end + 1


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
    find, word_at = folded.find, _WORD.match
    found = set()
    inside: dict[int, str] = {}
    for number, ways in enumerate(terms):
        for words, hint, begun in ways:
            sought = "" if begun or len(words) > 1 else words[0]
            at = find(hint)
            while at >= 0:
                if at and folded[at - 1].isalnum():
                    if body[at].isupper():
                        inside.update(name_around(body, at))
                else:
                    after = word_at(folded, at).end()  # type: ignore[union-attr]  # a hint is letters and digits
                    word = folded[at:after]
                    if sought:
                        if stems[word] == sought:
                            found.add((at, after, number))
                    else:
                        end = _end(folded, at, after, words, begun, stems)
                        if end:
                            found.add((at, end, number))
                    written = body[at:after]
                    if written != word and is_name(written):
                        inside[at] = written
                at = find(hint, at + 1)
    if inside:
        known = {name: _plain_inside(name, terms, stems) for name in set(inside.values())}
        found.update([(at + a, at + b, number) for at, name in inside.items() for a, b, number in known[name]])
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
        for words, _, begun in term:
            if begun and len(words) == 1:
                beginnings.append((words[0], number))
            else:
                first.setdefault(words[0], []).append((words, begun, number))
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
    hints = tuple({way.hint for term in terms for way in term})
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


def _plain_inside(name: str, terms: Sequence[Term], stems: Mapping[str, str]) -> list[tuple[int, int, int]]:
    """As ``_inside``, of a name in ASCII."""
    parts = parted(name).split(" ")
    found = []
    start = 0
    for place, part in enumerate(parts):
        stem = stems[part.lower()]
        for number, ways in enumerate(terms):
            for words, hint, begun in ways:
                if stem.startswith(hint):
                    run = parts[place : place + len(words)]
                    if _stands([stems[each.lower()] for each in run], words, begun):
                        found.append((start, start + sum([len(each) for each in run]), number))
        start += len(part)
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
    chosen = _best_start(matches, SNIPPET_CHARACTERS * 3 // 4)
    start = max(0, min(chosen - SNIPPET_CHARACTERS // 8, len(body) - SNIPPET_CHARACTERS))
    if start:
        space = body.find(" ", start, start + SNIPPET_CHARACTERS // 8)
        start = space + 1 if space >= 0 else start
    end = min(len(body), start + SNIPPET_CHARACTERS)
    if end < len(body):
        space = body.rfind(" ", end - SNIPPET_CHARACTERS // 8, end)
        end = space if space >= 0 else end
    return start, end


def _best_start(matches: Sequence[tuple[int, int, int]], reach: int) -> int:
    """The start of the match from which on the most terms, then the most matches stand within ``reach``."""
    if not matches or matches[-1][1] - matches[0][0] <= reach:
        return matches[0][0] if matches else 0
    best, chosen = (0, 0), 0
    after, end = 0, len(matches)
    inside: dict[int, int] = {}  # how often each term stands from here to the reach
    for place, (start, _, number) in enumerate(matches):
        after = max(after, place)
        while after < end and matches[after][1] <= start + reach:
            inside[matches[after][2]] = inside.get(matches[after][2], 0) + 1
            after += 1
        worth = (len(inside), after - place)
        if worth > best:
            best, chosen = worth, start
        if after == end:
            break  # what begins later holds less
        if after > place:
            inside[number] -= 1
            if not inside[number]:
                del inside[number]
    return chosen

"""Words that stand in an index and are spelled almost like one that was sought in vain.

The index knows stems; what is suggested is a word as it stands in a text. What is found depends on the live sections
alone (promise P2): stems whose sections are all gone do not count, though the file may still hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apsw

from satchel.search import blocks
from satchel.search.schema import ROW_BITS, ROW_DOCUMENT, rows
from satchel.search.snippet import Tokenize
from satchel.search.weight import Weigh, weightless
from satchel.search.words import quoted, spaced

MAX_ASKED = 8
"""Words of a query looked at, the longest first."""
MAX_LOOKED_AT = 200_000
"""Stems compared with one word: those that begin as it does and are about as long. No text that people wrote has so
many; it bounds the time where programs wrote it."""
MAX_MEASURED = 5_000
"""Of these so many are measured, at up to 0.2 ms: those with nearly the same letters, seldom hundreds."""
MEASURING_COSTS, SECTION_COSTS = 400, 60
"""What measuring a stem, and the words of a section before that, weigh (``search.weight``): 20 and 3 microseconds."""
LEAST_LETTERS, MOST_LETTERS = 4, 40
"""A shorter word is near to far too many, and a longer one is none that people spell: to compare two of 4,000 letters
took three seconds."""

SHORT = 6
"""In a shorter stem one letter may differ, in others two."""


class Near(NamedTuple):
    """In the order of worth."""

    distance: int
    """Letters put in, left out, replaced, or two neighbours exchanged."""
    rarity: int
    """Minus the number of sections that have it."""
    word: str


def near_words(
    database: apsw.Connection, tokenize: Tokenize, sought: Sequence[str], most: int, weigh: Weigh = weightless
) -> list[Near]:
    """At most ``most`` words, for the words of ``sought`` that no section has."""
    tokens = {token[2] for term in sought for token in tokenize(spaced(term))}
    asked = [stem for stem in tokens if LEAST_LETTERS <= len(stem) <= MOST_LETTERS]
    found: dict[str, Near] = {}
    for stem in sorted(sorted(asked), key=len, reverse=True)[:MAX_ASKED]:
        if _count(database, stem):
            continue
        for distance, other in _alike(database, stem, weigh):
            count = _count(database, other)
            word = _as_written(database, tokenize, other) if count else None
            if word is not None:
                near = Near(distance, -count, word)
                found[word] = min(near, found.get(word, near))
            if len(found) >= most:
                break
    return sorted(found.values())[:most]


def _alike(database: apsw.Connection, stem: str, weigh: Weigh) -> Iterator[tuple[int, str]]:
    """(distance, stem) of the stems at most two letters away, one where it is short; by distance, then by stem."""
    database.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, fts, row)")
    reach = 1 if len(stem) < SHORT else 2
    compared = rows(
        database,
        "SELECT term FROM temp.words WHERE term >= ? AND term < ? AND length(term) BETWEEN ? AND ? LIMIT ?",
        (stem[0], stem[0] + "\U0010ffff", len(stem) - reach, len(stem) + reach, MAX_LOOKED_AT),
    )
    letters = set(stem)
    alike = [other for (other,) in compared if len(letters.symmetric_difference(other)) <= 2 * reach]
    weigh(MEASURING_COSTS * len(alike[:MAX_MEASURED]))
    measured = [(distance(stem, other, reach), other) for other in alike[:MAX_MEASURED]]
    yield from sorted([near for near in measured if near[0] <= reach])


def distance(one: str, other: str, reach: int) -> int:
    """Damerau's distance (optimal string alignment), or more than ``reach`` where it is more."""
    far = reach + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row] + [far] * len(other)  # what is further off the diagonal is further than the reach
        for column in range(max(1, row - reach), min(len(other), row + reach) + 1):
            across = other[column - 1]
            cost = min(last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != across))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == across:
                cost = min(cost, before[column - 2] + 1)
            now[column] = cost
        if min(now) > reach:
            return reach + 1
        before, last = last, now
    return last[-1]


def _count(database: apsw.Connection, stem: str) -> int:
    """How many sections hold a stem. A stem that stems further counts as none: nobody could ask for it."""
    return int(rows(database, "SELECT count(*) FROM fts WHERE fts MATCH ?", (quoted(stem),))[0][0])


def _as_written(database: apsw.Connection, tokenize: Tokenize, stem: str) -> str | None:
    """The word in lower case, as the first section by path and position writes it; ``None`` where it is in a path or
    title alone."""
    found = rows(
        database,
        f"SELECT fts.rowid >> {ROW_BITS} FROM fts CROSS JOIN document ON {ROW_DOCUMENT} "  # noqa: S608
        "WHERE fts MATCH ? ORDER BY path, fts.rowid LIMIT 1",
        (quoted(stem),),
    )
    for (number,) in found:
        text = blocks.sections(database, [number])[number].text
        raw = spaced(text).encode()
        for start, end, word in tokenize(raw.decode()):
            if word == stem:
                return raw[start:end].decode().lower()
    return None

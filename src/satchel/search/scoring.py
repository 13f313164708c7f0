"""BM25 over one index or many, on one scale: FTS5's formula with the counts of all sections that are asked together.

FTS5's own ``bm25`` knows one index alone: a word that stands in most sections of a project counts for nothing there,
and scores of two projects do not compare. It also counts every phrase of its query anew each time. Here the counts are
summed first, and a function in Python scores row by row, in about the same time (1.2 against 0.9 microseconds a row).
It keeps what may be among the best: where the words left can no longer lift a section there, it is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from heapq import heapreplace
from typing import NamedTuple

import apsw

from satchel.search.schema import SIZE_MASK, SIZES

K1, B = 0.4, 0.75
"""A word that is said once tells most of what a section is about: with the usual 1.2 in place of 0.4 every set of
questions finds a little less (ADR 0049), and what a word can add at most says less about what it adds."""
LEAST_WEIGHT = 1e-6
"""Of a word that stands in half of the sections or more, as FTS5 has it."""
CLOSE = 1 - 1e-5
"""Scores are kept to six digits: what comes as near as this to the last wanted one may tie with it."""


class Term(NamedTuple):
    """A sought word or phrase as phrases of FTS5, any of which will do."""

    phrases: tuple[str, ...]

    @property
    def expression(self) -> str:
        return self.phrases[0] if len(self.phrases) == 1 else f"({' OR '.join(self.phrases)})"


class Statistics(NamedTuple):
    """What scores depend on, of one index or of several together."""

    sections: int
    length: int
    """Characters of all sections, each to the step that its row says."""
    counts: tuple[tuple[int, ...], ...]
    """How many sections hold each phrase, by term."""


def together(all_of: Sequence[Statistics]) -> Statistics:
    """Statistics for the same terms, summed."""
    counts = zip(*(each.counts for each in all_of), strict=True)
    return Statistics(
        sum(each.sections for each in all_of),
        sum(each.length for each in all_of),
        tuple([tuple([sum(column) for column in zip(*of, strict=True)]) for of in counts]),
    )


@lru_cache(16)  # the same for all indexes that are asked together
def weights(statistics: Statistics) -> tuple[tuple[float, ...], ...]:
    """The most that each phrase of each term can add to a score, whatever the section."""
    return tuple([tuple([_weight(statistics.sections, count) for count in counts]) for counts in statistics.counts])


def _weight(sections: int, count: int) -> float:
    rarity = math.log((sections - count + 0.5) / (count + 0.5)) if sections > count else 0.0
    return max(rarity, LEAST_WEIGHT) * (K1 + 1)


@lru_cache(16)
def sizes(sections: int, length: int) -> list[float]:
    """What stands beside the count of a word in the formula, by the step of length that a row says."""
    mean = length / sections if length else 1.0
    return [K1 * (1 - B + B * size / mean) for size in SIZES]


class Scorer:
    """Keeps the best of the rows for which ``relevance(fts)`` is asked on one connection, or ``relevance_every(fts)``
    where each row holds every term."""

    def __init__(self, database: apsw.Connection) -> None:
        self._phrases: list[tuple[int, float, float]] = []
        self._sizes: list[float] = []
        self._whole = 0.0
        self._others = 0
        self._floor = 0.0
        self._best: list[float] = []
        self._found: list[tuple[float, int]] = []
        database.register_fts5_function("relevance", self._score)
        database.register_fts5_function("relevance_every", self._score_every)

    def set(
        self, phrases: Sequence[tuple[int, float]], terms: int, statistics: Statistics, wanted: int, floor: float
    ) -> None:
        """Score these phrases, (number in the query of FTS5, most it can add), of so many terms, and keep the
        ``wanted`` best rows with their ties, unless they score less than ``floor``."""
        rest = 0.0
        self._phrases = []
        for number, weight in sorted(phrases, key=lambda phrase: (phrase[1], -phrase[0])):
            rest += weight
            self._phrases.append((number, weight, rest))
        self._phrases.reverse()
        self._whole = rest
        self._others = terms - 1
        self._sizes = sizes(statistics.sections, statistics.length)
        self._floor = floor * CLOSE
        self._best = [0.0] * wanted
        self._found = []

    def kept(self) -> list[tuple[float, int]]:
        """(score, row), the best first: as many as are wanted, if there are, and what may tie with the last."""
        return sorted([found for found in self._found if found[0] >= self._floor], reverse=True)

    def _score_every(self, found: apsw.FTS5ExtensionApi, /, *_: object) -> None:
        """How often all phrases stand in a row is known sooner than how often each does: no one can stand there more
        often than what the other terms leave, once each."""
        often = found.inst_count - self._others
        if self._whole * often / (often + self._sizes[found.rowid & SIZE_MASK]) >= self._floor:
            self._score(found)

    def _score(self, found: apsw.FTS5ExtensionApi, /, *_: object) -> None:
        offsets = found.phrase_column_offsets
        row = found.rowid
        size = self._sizes[row & SIZE_MASK]
        floor = self._floor
        score = 0.0
        for number, weight, rest in self._phrases:
            if score + rest < floor:
                return
            often = len(offsets(number, 0))
            if often:
                score += weight * often / (often + size)
        if score >= floor and score > 0:
            self._found.append((score, row))
            if score > self._best[0]:
                heapreplace(self._best, score)
                self._floor = max(floor, self._best[0] * CLOSE)

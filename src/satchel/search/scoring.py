"""BM25 over one index or many, on one scale: FTS5's formula with the counts of all sections that are asked together.

FTS5's own ``bm25`` knows one index alone: a word that stands in most sections of a project counts for nothing there,
and scores of two projects do not compare. It also counts every phrase of its query anew each time. Here the counts are
summed first, and a function in Python scores row by row, in about the same time (1.2 against 0.9 microseconds a row).
Where the words left can no longer lift a section to the last place that is wanted, it is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import apsw

K1, B = 1.2, 0.75
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
    words: int
    counts: tuple[tuple[int, ...], ...]
    """How many sections hold each phrase, by term."""


def together(all_of: Sequence[Statistics]) -> Statistics:
    """Statistics for the same terms, summed."""
    counts = zip(*(each.counts for each in all_of), strict=True)
    return Statistics(
        sum(each.sections for each in all_of),
        sum(each.words for each in all_of),
        tuple([tuple([sum(column) for column in zip(*of, strict=True)]) for of in counts]),
    )


def highest(statistics: Statistics) -> list[float]:
    """The most that each term can add to a score, whatever the section."""
    return [sum(_weight(statistics.sections, count) for count in counts) for counts in statistics.counts]


def _weight(sections: int, count: int) -> float:
    rarity = math.log((sections - count + 0.5) / (count + 0.5)) if sections > count else 0.0
    return max(rarity, LEAST_WEIGHT) * (K1 + 1)


class Scorer:
    """The function ``relevance(fts)`` of one connection."""

    def __init__(self, database: apsw.Connection) -> None:
        self._weights: list[tuple[int, float, float]] = []
        self._flat = self._slope = self._floor = 0.0
        database.register_fts5_function("relevance", self._score)

    def set(self, statistics: Statistics, first: int, floor: float) -> None:
        """Score the terms whose phrases stand in the query of FTS5 from the ``first`` on; what cannot come near
        ``floor`` may come out as 0."""
        weights = []
        number = first
        for counts in statistics.counts:
            for count in counts:
                weights.append((_weight(statistics.sections, count), number))
                number += 1
        weights.sort(key=lambda pair: (-pair[0], pair[1]))
        rest = 0.0
        self._weights = []
        for weight, at in reversed(weights):
            rest += weight
            self._weights.insert(0, (at, weight, rest))
        mean = statistics.words / max(statistics.sections, 1)
        self._flat, self._slope = K1 * (1 - B), K1 * B / max(mean, 1.0)
        self._floor = floor * CLOSE

    def _score(self, row: apsw.FTS5ExtensionApi, /, *_: object) -> float:
        offsets = row.phrase_column_offsets
        floor = self._floor
        most = 0.0
        held = []
        for at, weight, rest in self._weights:
            if most + rest < floor:
                return 0.0
            often = len(offsets(at, 0))
            if often:
                most += weight
                held.append((weight, often))
        if most < floor:
            return 0.0
        size = self._flat + self._slope * row.column_size(0)
        score = 0.0
        for weight, often in held:
            score += weight * often / (often + size)
        return score


def words_of(record: bytes) -> int:
    """How many words all sections have, from FTS5's averages record: numbers of seven bits a byte, the rows first."""
    numbers = [0]
    for byte in record:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(0)
    return numbers[1] if len(numbers) > 2 else 0

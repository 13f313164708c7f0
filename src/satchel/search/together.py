"""One query asked of one index or of many, as if they were one: the same choice, the same scale, the same order.

Whether sections must hold every word is decided over all of them, and so is what a word is worth (``scoring``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from satchel.search.matching import Asked, Ranked, Row, most_scored
from satchel.search.narrowing import SCORING_COSTS
from satchel.search.scoring import Statistics, together
from satchel.search.weight import Weigh, weightless

if TYPE_CHECKING:
    from satchel.search.index import Index


class Best(NamedTuple):
    """What was found in all indexes."""

    every: bool
    """Whether the sections hold every word."""
    rows: list[tuple[Row, int]]
    """At least the wanted number of the best, if there are so many, each with the place of its index."""
    ranked: list[Ranked]
    """What each index found."""


NOTHING = Best(every=False, rows=[], ranked=[])


def best_of(
    indexes: Sequence[Index],
    asked: Asked,
    admitted: Sequence[Sequence[str] | None],
    *,
    wanted: int,
    weigh: Weigh = weightless,
) -> Best:
    """The best rows of all indexes; ``admitted`` are the paths that may match in each, ``None`` for all."""
    statistics = together([index.statistics(asked, every=True) for index in indexes])
    if min([sum(counts) for counts in statistics.counts], default=0) >= asked.least or not asked.least:
        weigh(_work(statistics, every=True))
        found = _best(indexes, asked, admitted, statistics, every=True, wanted=wanted)
        if sum([one.total for one in found.ranked]) >= asked.least:
            return found
    if asked.loose is not asked.terms:
        statistics = together([index.statistics(asked, every=False) for index in indexes])
    weigh(_work(statistics, every=False))
    return _best(indexes, asked, admitted, statistics, every=False, wanted=wanted)


def _work(statistics: Statistics, *, every: bool) -> int:
    """What ranking weighs: every list of holders is passed over, and what may be among the best is scored."""
    holders = [sum(counts) for counts in statistics.counts]
    return sum(holders) + SCORING_COSTS * most_scored(holders, statistics.sections, every=every)


def _best(
    indexes: Sequence[Index],
    asked: Asked,
    admitted: Sequence[Sequence[str] | None],
    statistics: Statistics,
    *,
    every: bool,
    wanted: int,
) -> Best:
    best: list[tuple[Row, int]] = []
    ranked: list[Ranked] = []
    floor, left = 0.0, asked.least
    for place, (index, only) in enumerate(zip(indexes, admitted, strict=True)):
        least = left if place == len(indexes) - 1 else 1
        one = index.rank(asked, statistics, every=every, wanted=wanted, least=least, only=only, floor=floor)
        ranked.append(one)
        left -= one.total
        if one.rows:
            best += [(row, place) for row in one.rows]
            scores = sorted([row.score for row, _ in best], reverse=True)
            floor = scores[wanted - 1] if len(scores) >= wanted else 0.0
    return Best(every, best, ranked)

"""Which sections are worth scoring: an expression of FTS5 that none can be outside of and still score enough.

FTS5 finds the sections that hold some words in 50 nanoseconds each, and scoring one takes a microsecond. Every term has
a most that it can add to a score. So a section that scores enough holds, beside the rarest of its terms, one of those
without which the rest could not bring it there. Nothing is left out that belongs among the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

HOPE = 0.5
"""The best ten commonly score more than this share of what all terms together could add: looked for first."""

SCORING_COSTS = 20
"""Scoring a section takes as long as passing over this many in FTS5."""


class Scored(NamedTuple):
    """A term with what its phrases can add to a score."""

    expression: str
    holders: int
    """How many sections hold it."""
    most: tuple[float, ...]
    """What each of its phrases can add."""
    adds: float
    """What all of it can add."""

    @property
    def begun(self) -> bool:
        """Whether it stands for every word that begins so: each time it is named costs as much as all of them."""
        return " *" in self.expression


def narrowed(terms: Sequence[Scored], rare: int, least: float) -> tuple[str, int]:
    """What holds one of the first ``rare`` terms and may score ``least``, and how many phrases stand in it; empty where
    no section can score so much. ``terms`` come from the rarest on."""
    parts: list[str] = []
    phrases = 0
    for at, first in enumerate(terms[:rare]):
        # Sections whose rarest term this is.
        if sum(term.adds for term in terms[at:]) < least:
            break
        phrases += len(first.most)
        others = _needed(terms[at + 1 :], least - first.adds)
        cost = sum(term.holders for term in others)
        if others and cost < SCORING_COSTS * first.holders and not any(term.begun for term in others):
            parts.append(f"({first.expression} AND ({' OR '.join([term.expression for term in others])}))")
            phrases += sum(len(term.most) for term in others)
        else:
            parts.append(first.expression)
    return " OR ".join(parts), phrases


def _needed(terms: Sequence[Scored], least: float) -> Sequence[Scored]:
    """The shortest beginning of ``terms`` that no section can be without and have ``least`` of them all."""
    left = sum(term.adds for term in terms)
    for at, term in enumerate(terms):
        if left < least:
            return terms[:at]
        left -= term.adds
    return terms if least > 0 else ()

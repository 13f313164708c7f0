"""How long an answer may be, in characters and in estimated tokens.

A token is estimated as four ASCII characters, or one other: models differ, and this is on the safe side of those in use
for prose and code alike.
"""

from __future__ import annotations

import json

QUARTERS_PER_TOKEN = 4


def quarters(text: str) -> int:
    """Quarters of estimated tokens: one for an ASCII character, four for any other."""
    if text.isascii():
        return len(text)
    plain = len(text.encode("ascii", "ignore"))
    return plain + QUARTERS_PER_TOKEN * (len(text) - plain)


def tokens_in(text: str) -> int:
    """Estimated tokens, rounded up."""
    return -(-quarters(text) // QUARTERS_PER_TOKEN)


def written(value: object) -> str:
    """A part of an answer as it is counted: JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Budget:
    """What may still be said."""

    def __init__(self, characters: int, tokens: int | None = None) -> None:
        self.characters = characters
        self.quarters = characters * QUARTERS_PER_TOKEN if tokens is None else tokens * QUARTERS_PER_TOKEN

    def fits(self, text: str) -> bool:
        return len(text) <= self.characters and quarters(text) <= self.quarters

    def take(self, text: str) -> bool:
        """Count ``text`` if there is room for it; otherwise say so and count nothing."""
        if not self.fits(text):
            return False
        self.characters -= len(text)
        self.quarters -= quarters(text)
        return True

    def fitting(self, text: str) -> int:
        """How many of the first characters of ``text`` there is room for."""
        most = min(len(text), self.characters, self.quarters)
        if quarters(text[:most]) <= self.quarters:
            return most
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if quarters(text[:middle]) <= self.quarters else (low, middle - 1)
        return low

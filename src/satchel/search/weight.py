"""What a step of a search takes, told before it is done: so that it can be done elsewhere.

The unit is passing over one section in FTS5, some 50 nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable

Weigh = Callable[[int], None]
"""Told what the next step takes at most, about; it may raise, and then nothing was done."""


def weightless(_work: int) -> None:
    """Whatever it takes."""

"""A sample in the suite, everything under ``make prove``, which is told how many there were of what."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
ALL = bool(os.environ.get("PROVE"))


def spread(points: Sequence[T], count: int) -> list[T]:
    """``count`` of them, from the first to the last."""
    if count >= len(points):
        return list(points)
    return [points[round(n * (len(points) - 1) / max(1, count - 1))] for n in range(count)]


def counted(what: str, got: int, of: int) -> None:
    """Tell ``scripts/prove.py``, where it asks."""
    where = os.environ.get("PROVE_COUNTS")
    if where:
        with open(where, "a") as file:
            file.write(json.dumps([what, got, of]) + "\n")

"""Dates as people write them: a year, a month, a day or a moment, each a stretch of time in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_WRITTEN = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?P<time>[T ][0-9:.]{5,15}(?:Z|[+-][0-9:]{4,6})?)?)?)?",
    re.IGNORECASE,
)
_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def period(written: str) -> tuple[int, int] | None:
    """The first millisecond since 1970 of ``2025``, ``2025-01``, ``2025-01-31`` or ``2025-01-31T10:00:00Z``, and the
    first after it; ``None`` for what is no date. A moment without a zone is UTC, and lasts a millisecond."""
    found = _WRITTEN.fullmatch(written)
    if found is None:
        return None
    year, month, day = (int(found[name] or 1) for name in ("year", "month", "day"))
    try:
        if found["time"]:
            begin = datetime.fromisoformat(written.upper())
            begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
            return _ms(begin), _ms(begin) + 1
        begin = datetime(year, month, day, tzinfo=UTC)
    except (ValueError, OverflowError):  # no such day or hour
        return None
    # Counted in days, since the day after 9999-12-31 is none that could be named.
    if found["day"]:
        days = 1
    elif found["month"]:
        days = 31 if month == 12 else (begin.replace(month=month + 1) - begin).days
    else:
        days = (begin.replace(month=12, day=31) - begin).days + 1
    return _ms(begin), _ms(begin) + days * _DAY_MS


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)

"""A version of the hosted project as people name it: its number, or a date."""

from __future__ import annotations

import datetime as dt

from satchel.errors import InvalidInput, NoSuchVersion, ServerLied
from satchel.remote import Remote

MAX_PAGES = 10_000
PAGE = 100


def version_at(remote: Remote, project: str, at: str) -> int:
    """The version ``at`` names: a number, or the newest one made until a time (a date is the whole day, where one is).

    Raises ``InvalidInput``, and ``NoSuchVersion`` for a time before the first version.
    """
    if at.isascii() and at.isdecimal() and 0 < int(at) < 2**62:
        return int(at)
    until = _time(at)
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = remote.history(project, cursor=cursor, limit=PAGE)
        for row in page["items"]:
            if dt.datetime.fromisoformat(row["time"]) <= until:
                return row["version"]
        cursor = page["next"]
        if cursor is None:
            raise NoSuchVersion(f"the project had no version yet at {at}", hint="List them:  satchel log")
    raise ServerLied("the list of versions does not end")


def _time(text: str) -> dt.datetime:
    try:
        if len(text) == len("2026-01-31"):
            found = dt.datetime.combine(dt.date.fromisoformat(text), dt.time.max)
        else:
            found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text} is neither a version nor a time", hint="Such as 12, 2026-01-31 or 2026-01-31T16:00."
        ) from error
    return found.astimezone()

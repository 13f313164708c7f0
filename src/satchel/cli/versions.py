"""A version of the hosted project as people name it: its number, or a date."""

from __future__ import annotations

from satchel.context.assemble import moment_of
from satchel.errors import NoSuchVersion, ServerLied
from satchel.remote import Remote
from satchel.remote.values import time

MAX_PAGES = 10_000
PAGE = 100


def version_at(remote: Remote, project: str, at: str) -> int:
    """The version ``at`` names, as a search takes it: a number, or the newest by the end of a day, or by a time.

    Raises ``InvalidInput``, and ``NoSuchVersion`` for a time before the first version.
    """
    moment = moment_of(at)
    if moment.before is None:
        assert moment.version is not None
        return moment.version
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = remote.history(project, cursor=cursor, limit=PAGE)
        for row in page["items"]:
            if time(row["time"]) < moment.before:
                return row["version"]
        cursor = page["next"]
        if cursor is None:
            raise NoSuchVersion(f"the project had no version yet at {at}", hint="List them:  satchel log")
    raise ServerLied("the list of versions does not end")

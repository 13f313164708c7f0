"""The versions that changed one path, as far back as retention keeps their entries."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from satchel.catalog.schema import entry, mine
from satchel.catalog.schema import version as version_table
from satchel.catalog.scope import Scope
from satchel.catalog.versions import FOREVER, VersionRow

_SPANS = (
    select(entry.c.since, entry.c.until)
    .where(
        mine(entry),
        entry.c.project_id == bindparam("project"),
        entry.c.path == bindparam("path"),
        entry.c.since < bindparam("before"),
    )
    .order_by(entry.c.since.desc())
    .limit(bindparam("limit"))
)
_NAMED = select(*(version_table.c[name] for name in VersionRow._fields)).where(
    mine(version_table),
    version_table.c.project_id == bindparam("project"),
    version_table.c.version.in_(bindparam("versions", expanding=True)),
)


async def of_path(s: Scope, project: str, path: str, before: int | None = None, limit: int = 50) -> list[VersionRow]:
    """Versions older than ``before`` (default: all) that added, changed or deleted ``path``, newest first.

    Their counts are of that path alone: one of them is 1.
    """
    bound = FOREVER if before is None else before
    # One more than asked: whether the oldest was added or changed is told by the one before it.
    spans = await s.rows(_SPANS, {"project": project, "path": path, "before": bound, "limit": limit + 1})
    began, ended = {row.since for row in spans}, {row.until for row in spans if row.until is not None}
    counts = {number: (0, 1, 0) if number in ended else (1, 0, 0) for number in began}
    counts |= dict.fromkeys(ended - began, (0, 0, 1))
    wanted = sorted((number for number in counts if number < bound), reverse=True)[:limit]
    rows = await s.rows(_NAMED, {"project": project, "versions": wanted}) if wanted else []
    found = {row.version: VersionRow._make(row) for row in rows}
    return [
        found[number]._replace(added=counts[number][0], changed=counts[number][1], deleted=counts[number][2])
        for number in wanted
        if number in found
    ]

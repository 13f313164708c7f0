"""What a tenant may use, and what it uses.

Limits are judged inside the transaction of the write they concern, so that two writers cannot pass one limit together.
Room for content is held before the content comes: see ``reservations``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update

from satchel.catalog import audit
from satchel.catalog.schema import mine, pack, principal, project, tenant
from satchel.catalog.schema import usage as usage_table
from satchel.catalog.scope import Scope, chunks
from satchel.errors import NoSuchThing, QuotaReached
from satchel.objects.ids import ProjectId

NO_LIMIT = -1
NEAR_PERCENT = 80
"""From here on a quota counts as nearly used up, and whoever fills it is told."""


class Limits(NamedTuple):
    """The most a tenant may hold or do; -1 is no limit."""

    storage_bytes: int = 50 * 10**9
    """Sealed bytes at rest, old versions included."""
    projects: int = 1_000
    members: int = 1_000
    keys: int = 1_000
    artifacts: int = NO_LIMIT
    """Files in the heads of all projects together."""
    file_bytes: int = NO_LIMIT
    """Of one file."""
    requests: int = NO_LIMIT
    """In a minute."""
    sync_bytes: int = NO_LIMIT
    """Bodies that bring content, in a day (UTC)."""


class Usage(NamedTuple):
    """What a tenant holds now, by the names of ``Limits``, and what that amounts to for its people."""

    storage_bytes: int
    projects: int
    members: int
    keys: int
    artifacts: int
    """Files in the heads of all projects, and ``artifact_bytes`` their bytes before compression."""
    artifact_bytes: int


class ProjectUse(NamedTuple):
    id: ProjectId
    slug: str
    archived: int | None
    """When it was archived, if it was."""
    artifacts: int
    artifact_bytes: int
    """As in ``Usage``."""
    versions: int
    stored_bytes: int
    """Sealed bytes at rest in packs of any state."""


QUOTA_NAMES = {
    "storage_bytes": "storageBytes",
    "projects": "projects",
    "members": "members",
    "keys": "keys",
    "artifacts": "artifacts",
    "file_bytes": "fileBytes",
    "requests": "requestsPerMinute",
    "sync_bytes": "syncBytesPerDay",
}
"""How a quota is called to its tenant, by its name in ``Limits``."""


def named(limits: Limits) -> dict[str, int | None]:
    """The limits by the names that a tenant knows; None is no limit."""
    return {QUOTA_NAMES[name]: None if limit < 0 else limit for name, limit in limits._asdict().items()}


_LIMITS = select(*(tenant.c[f"{name}_limit"] for name in Limits._fields)).where(mine(tenant))
_STORED = select(usage_table.c.stored_bytes).where(mine(usage_table))
_PROJECTS = select(
    func.count(project.c.project_id),
    func.coalesce(func.sum(project.c.files), 0),
    func.coalesce(func.sum(project.c.bytes), 0),
).where(mine(project))
_FILES = select(func.coalesce(func.sum(project.c.files), 0)).where(mine(project))
_PRINCIPALS = (
    select(principal.c.kind, func.count(principal.c.principal_id))
    .where(mine(principal), principal.c.revoked.is_(None))
    .group_by(principal.c.kind)
)
_BY_PROJECT = (
    select(
        project.c.project_id,
        project.c.slug,
        project.c.archived,
        project.c.files,
        project.c.bytes,
        project.c.version,
    )
    .where(mine(project), project.c.slug > bindparam("after"))
    .order_by(project.c.slug)
    .limit(bindparam("limit"))
)
_STORED_BY_PROJECT = (
    select(pack.c.project_id, func.sum(pack.c.size))
    .where(mine(pack), pack.c.project_id.in_(bindparam("projects", expanding=True)))
    .group_by(pack.c.project_id)
)
_ALL_STORED = select(func.coalesce(func.sum(pack.c.size), 0)).where(mine(pack)).scalar_subquery()
_RECOUNT = update(usage_table).where(mine(usage_table)).values(stored_bytes=_ALL_STORED)
_SET = update(tenant).where(mine(tenant))


async def limits(s: Scope) -> Limits:
    """The tenant's limits; raises ``NoSuchThing`` for a tenant that does not exist."""
    row = await s.row(_LIMITS)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    return Limits._make(row)


async def set_limits(s: Scope, new: Limits) -> None:
    """Replace the tenant's limits. What is over a lowered limit stays, and nothing more is taken."""
    await s.execute(_SET.values({f"{name}_limit": value for name, value in new._asdict().items()}))
    s.announce()


async def usage(s: Scope) -> Usage:
    """What the tenant uses."""
    stored = await s.row(_STORED)
    projects = await s.row(_PROJECTS)
    kinds = {row[0]: row[1] for row in await s.rows(_PRINCIPALS)}
    assert projects is not None  # an aggregate without groups always has one row
    return Usage(
        storage_bytes=stored[0] if stored else 0,
        projects=projects[0],
        members=kinds.get("member", 0),
        keys=kinds.get("key", 0),
        artifacts=int(projects[1]),
        artifact_bytes=int(projects[2]),
    )


async def recount(s: Scope) -> None:
    """Count anew what the tenant stores, from its packs."""
    await s.execute(_RECOUNT)


async def by_project(s: Scope, after: str = "", limit: int = 100) -> list[ProjectUse]:
    """What projects use whose slug comes after ``after``, by slug, archived ones too."""
    rows = await s.rows(_BY_PROJECT, {"after": after, "limit": limit})
    stored: dict[str, int] = {}
    for chunk in chunks([row.project_id for row in rows]):
        stored |= {found[0]: int(found[1]) for found in await s.rows(_STORED_BY_PROJECT, {"projects": list(chunk)})}
    return [ProjectUse._make((*row, stored.get(row.project_id, 0))) for row in rows]


class Use(NamedTuple):
    """What a deed does to a quota."""

    name: str
    """As in ``Limits``."""
    before: int
    after: int
    limit: int

    @property
    def near(self) -> bool:
        """Whether the quota is nearly used up afterwards."""
        return is_near(self.after, self.limit)


def is_near(used: int, limit: int) -> bool:
    """Whether at least ``NEAR_PERCENT`` of a limit is used."""
    return limit >= 0 and used * 100 >= limit * NEAR_PERCENT


def reached(name: str, used: int, limit: int, wanted: str, *, reserved: int = 0) -> QuotaReached:
    """The refusal of what would go over a quota; ``reserved`` is what uploads under way hold beside ``used``."""
    shown: dict[str, object] = {"name": QUOTA_NAMES[name], "used": used, "limit": limit}
    held = ""
    if reserved:
        shown["reserved"] = reserved
        held = f", {reserved:,} are held for uploads under way"
    most = f"{limit:,} bytes" if name.endswith("_bytes") else f"{limit:,}"
    message = f"quota {QUOTA_NAMES[name]} reached: {used:,} of {most} are used{held}, and this asks for {wanted}"
    hint = "Uploads under way hold the rest: send it again when they have ended." if reserved else None
    return QuotaReached(message, hint=hint, quota=shown)


async def check_count(s: Scope, name: str, now: int) -> None:
    """Raise ``QuotaReached`` unless one more of ``projects``, ``members`` or ``keys`` fits."""
    limit = (await limits(s))._asdict()[name]
    used = (await usage(s))._asdict()[name]
    if 0 <= limit <= used:
        raise reached(name, used, limit, "one more")
    await note(s, [Use(name, used, used + 1, limit)], now)


async def count_files(s: Scope) -> int:
    """Files in the heads of all projects."""
    row = await s.row(_FILES)
    assert row is not None  # an aggregate without groups always has one row
    return int(row[0])


async def note(s: Scope, uses: Iterable[Use], now: int) -> list[Use]:
    """Those that are nearly used up; the audit has a row for each that just became so, not for those that were."""
    near = [use for use in uses if use.near]
    for use in near:
        if not is_near(use.before, use.limit):
            target = f"{QUOTA_NAMES[use.name]}: {use.after:,} of {use.limit:,}"
            await audit.record(s, None, "quota.near", target, "done", "", now)
    return near

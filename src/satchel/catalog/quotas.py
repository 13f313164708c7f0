"""What a tenant may use, and what it uses.

Limits are judged inside the transaction of the write they concern, so that two writers cannot pass one limit together.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select, update

from satchel.catalog.schema import mine, principal, project, tenant
from satchel.catalog.schema import usage as usage_table
from satchel.catalog.scope import Scope
from satchel.errors import NoSuchThing, QuotaReached


class Limits(NamedTuple):
    """The most a tenant may hold; -1 is no limit."""

    storage_bytes: int = 50 * 10**9
    """Sealed bytes at rest, old versions included."""
    projects: int = 1_000
    members: int = 1_000
    keys: int = 1_000


class Usage(NamedTuple):
    """What a tenant holds now, by the names of ``Limits``, and what that amounts to for its people."""

    storage_bytes: int
    projects: int
    members: int
    keys: int
    artifacts: int
    """Files in the heads of all projects, and ``artifact_bytes`` their bytes before compression."""
    artifact_bytes: int


QUOTA_NAMES = {"storage_bytes": "storageBytes", "projects": "projects", "members": "members", "keys": "keys"}
"""How a quota is called to its tenant."""

_LIMITS = select(
    tenant.c.storage_bytes_limit, tenant.c.projects_limit, tenant.c.members_limit, tenant.c.keys_limit
).where(mine(tenant))
_STORED = select(usage_table.c.stored_bytes).where(mine(usage_table))
_LOCK_STORED = _STORED.with_for_update()
_PROJECTS = select(
    func.count(project.c.project_id),
    func.coalesce(func.sum(project.c.files), 0),
    func.coalesce(func.sum(project.c.bytes), 0),
).where(mine(project))
_PRINCIPALS = (
    select(principal.c.kind, func.count(principal.c.principal_id))
    .where(mine(principal), principal.c.revoked.is_(None))
    .group_by(principal.c.kind)
)
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


async def reserve(s: Scope, declared: int) -> None:
    """Raise ``QuotaReached`` if ``declared`` more bytes would not fit.

    Use is counted by ``add_pack`` in the same transaction; until then nothing is held back, so ask again there.
    """
    row = await s.row(_LOCK_STORED)
    used = row[0] if row else 0
    limit = (await limits(s)).storage_bytes
    if limit >= 0 and used + declared > limit:
        raise QuotaReached(
            f"storage quota reached: {used:,} of {limit:,} bytes are used and this asks for {declared:,} more",
            quota={"name": QUOTA_NAMES["storage_bytes"], "used": used, "limit": limit},
        )


async def check_count(s: Scope, name: str) -> None:
    """Raise ``QuotaReached`` unless one more of ``projects``, ``members`` or ``keys`` fits."""
    limit = (await limits(s))._asdict()[name]
    used = (await usage(s))._asdict()[name]
    if 0 <= limit <= used:
        raise QuotaReached(
            f"quota reached: {used:,} of {limit:,} {name}",
            quota={"name": QUOTA_NAMES[name], "used": used, "limit": limit},
        )

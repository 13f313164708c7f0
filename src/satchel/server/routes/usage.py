"""What the tenant uses of what it may use, in all and project by project."""

from __future__ import annotations

from fastapi import APIRouter, Response

from satchel.catalog import quotas, reservations
from satchel.server.access import TenantAdmin
from satchel.server.bodies import answer
from satchel.server.openapi import operation
from satchel.server.routes.projects import Cursor, PageLimit
from satchel.server.schemas import ProjectUsagePage, Usage

router = APIRouter(tags=["tenant"])
_REFUSED = ("auth.insufficient_scope",)


@router.get("/tenant/usage", **operation("What the tenant uses of its quotas", answer=Usage, errors=_REFUSED))
async def usage(caller: TenantAdmin) -> Response:
    """Stored bytes are sealed bytes at rest. They fall when bytes are deleted, which is after the backup window."""
    now = caller.cloud.clock()
    async with caller.cloud.catalog.read(caller.tenant) as s:
        limits, used = await quotas.limits(s), await quotas.usage(s)
        held, synced = await reservations.reserved(s, now), await reservations.synced_today(s, now)
    amounts = used._asdict() | {"sync_bytes": synced}
    rows = [
        {
            "name": shown,
            "used": amounts.get(name),
            "reserved": held if name in ("storage_bytes", "sync_bytes") else 0,
            "limit": None if limit < 0 else limit,
            "near": name in amounts and quotas.is_near(amounts[name], limit),
        }
        for (name, shown), limit in zip(quotas.QUOTA_NAMES.items(), limits, strict=True)
    ]
    return answer({"quotas": rows, "artifacts": used.artifacts, "artifactBytes": used.artifact_bytes})


@router.get(
    "/tenant/usage/projects",
    **operation("What each project uses, by slug, archived ones too", answer=ProjectUsagePage, errors=_REFUSED),
)
async def projects(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await quotas.by_project(s, cursor or "", limit + 1)
    items = [
        {
            "id": row.id,
            "slug": row.slug,
            "archived": row.archived is not None,
            "storedBytes": row.stored_bytes,
            "artifacts": row.artifacts,
            "artifactBytes": row.artifact_bytes,
            "versions": row.versions,
        }
        for row in rows[:limit]
    ]
    return answer({"items": items, "next": rows[limit - 1].slug if len(rows) > limit else None})

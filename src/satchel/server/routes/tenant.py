"""The caller's own tenant: what it is, what it uses, who did what."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from satchel.auth.policy import Action
from satchel.catalog import audit, quotas, tenants
from satchel.catalog.tenants import TenantRow
from satchel.server.access import SignedIn, TenantAdmin
from satchel.server.bodies import answer, read_json, rfc3339
from satchel.server.openapi import operation
from satchel.server.routes.projects import Cursor, PageLimit
from satchel.server.schemas import AuditPage, Tenant, TenantPatch, Usage

router = APIRouter(tags=["tenant"])
_REFUSED = ("auth.insufficient_scope",)


@router.get("/tenant", **operation("The tenant of the credential", answer=Tenant))
async def get_tenant(caller: SignedIn) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        return answer(shown(await tenants.own(s)))


@router.patch(
    "/tenant", **operation("Rename the tenant", body=TenantPatch, answer=Tenant, errors=(*_REFUSED, "disk.full"))
)
async def patch_tenant(request: Request, caller: TenantAdmin) -> Response:
    asked = await read_json(request, TenantPatch, 16 * 1024)
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        row = await tenants.rename(s, name=asked.name)
        await audit.record(s, caller.principal, "tenant.rename", row.id, "done", caller.exchange.id, now)
    await caller.cloud.notices.tenant(row.id)
    return answer(shown(row))


@router.get("/tenant/usage", **operation("What the tenant uses of its quotas", answer=Usage, errors=_REFUSED))
async def usage(caller: TenantAdmin) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        limits, used = await quotas.limits(s), await quotas.usage(s)
    rows = [
        {"name": shown_name, "used": getattr(used, name), "limit": None if limit < 0 else limit}
        for (name, shown_name), limit in zip(quotas.QUOTA_NAMES.items(), limits, strict=True)
    ]
    return answer({"quotas": rows, "artifacts": used.artifacts, "artifactBytes": used.artifact_bytes})


@router.get("/tenant/audit", **operation("Who did what, newest first", answer=AuditPage, errors=_REFUSED))
async def audit_log(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await audit.list_(s, cursor, limit + 1)
    items = [
        {
            "id": row.id,
            "time": rfc3339(row.time),
            "principal": row.principal_id or None,
            "name": row.principal_name,
            "action": row.action,
            "target": row.target,
            "result": row.result,
            "requestId": row.request_id,
        }
        for row in rows[:limit]
    ]
    return answer({"items": items, "next": rows[limit - 1].id if len(rows) > limit else None})


def shown(row: TenantRow) -> dict[str, object]:
    return {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "state": row.state,
        "createdAt": rfc3339(row.created),
    }

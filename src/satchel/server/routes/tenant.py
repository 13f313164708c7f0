"""The caller's own tenant: what it is, what it uses, who did what."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.catalog import audit, quotas, retention, tenants
from satchel.catalog.retention import Retention
from satchel.catalog.scope import Scope
from satchel.catalog.tenants import TenantRow
from satchel.errors import InvalidInput
from satchel.server.access import Caller, SignedIn, TenantAdmin
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
    "/tenant",
    **operation(
        "Rename the tenant, or say how long versions are kept",
        body=TenantPatch,
        answer=Tenant,
        errors=(*_REFUSED, "disk.full"),
        example={"retention": {"days": 90}},
    ),
)
async def patch_tenant(request: Request, caller: TenantAdmin) -> Response:
    """Retention takes effect with the next collect, and is then final: what has expired does not come back."""
    asked = await read_json(request, TenantPatch, 16 * 1024)
    if asked.name is UNSET and asked.retention is UNSET:
        raise InvalidInput("send name, retention, or both")
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        if asked.name is not UNSET:
            await tenants.rename(s, name=asked.name)
            await _record(s, caller, "tenant.rename", caller.tenant, now)
        if asked.retention is not UNSET:
            rule = Retention(asked.retention.versions, asked.retention.days)
            await retention.set_(s, rule)
            await _record(s, caller, "tenant.retention", f"{caller.tenant} {_said(rule)}", now)
        row = await tenants.own(s)
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
        "retention": row.retention._asdict(),
    }


async def _record(s: Scope, caller: Caller, action: str, target: str, now: int) -> None:
    await audit.record(s, caller.principal, action, target, "done", caller.exchange.id, now)


def _said(rule: Retention) -> str:
    if rule.versions is not None:
        return f"keeps {rule.versions} versions"
    return "keeps all" if rule.days is None else f"keeps {rule.days} days"

"""The operator's addresses: tenants are founded, suspended, given quotas and shredded. No content can be read here."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.catalog import audit, bootstrap, quotas, tenants
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Directory
from satchel.catalog.tenants import TenantRow
from satchel.errors import InvalidInput, NoSuchThing, Refused
from satchel.objects.ids import TenantId
from satchel.server.access import Caller, Operator
from satchel.server.bodies import answer, read_json, rfc3339
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.routes.projects import IDEMPOTENT, Cursor, PageLimit
from satchel.server.routes.tenant import shown
from satchel.server.schemas import NewTenant, Shredded, Tenant, TenantChange, TenantCreate, TenantPage
from satchel.upkeep.keys import backups_at, keys_expire

router = APIRouter(tags=["operator"])
_ABSENT = ("resource.not_found",)


class OwnTenant(Refused):
    code = "tenant.own"
    default_hint = "Act on another tenant, or with an operator's key of another."


@router.get("/admin/tenants", **operation("All tenants, by slug", answer=TenantPage, errors=_ABSENT))
async def list_tenants(caller: Operator, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with caller.cloud.catalog.directory() as d:
        rows = await tenants.list_(d, cursor or "", limit + 1)
    items = [shown(row) for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].slug if len(rows) > limit else None})


@router.post(
    "/admin/tenants",
    **operation(
        "Found a tenant; its owner's key is shown in this answer and never again",
        body=TenantCreate,
        answer=NewTenant,
        status=201,
        headers=IDEMPOTENT,
        errors=(*_ABSENT, "resource.exists", "request.idempotency_reused", "disk.full"),
        example={"slug": "acme", "name": "Acme"},
    ),
)
async def create_tenant(request: Request, caller: Operator) -> Response:
    """A replay under the same Idempotency-Key answers without `adminKey`."""
    asked = await read_json(request, TenantCreate, 16 * 1024)
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.directory(write=True) as d:
        own = d.enter(caller.tenant)
        await caller.stands(own, Action.OPERATE)

        async def do() -> dict[str, object]:
            founded = await bootstrap.found_tenant(
                d,
                slug=asked.slug,
                name=asked.name,
                pepper=cloud.pepper,
                now=now,
                limits=Limits(storage_bytes=cloud.settings.quota_storage_bytes, projects=cloud.settings.quota_projects),
            )
            # Before the transaction ends: no tenant without keys. Keys without a tenant are harmless.
            await cloud.keyring.create(founded.tenant.id)
            await _record(d, caller, "tenant.create", founded.tenant.id, now)
            return {"tenant": shown(founded.tenant), "adminKey": founded.key}

        result = await once(request, caller, own, "POST /admin/tenants", asked, do)
    await cloud.notices.tenant(TenantId(result["tenant"]["id"]))  # type: ignore[index]  # what `shown` gives
    return answer({"adminKey": None} | result, 201)


@router.patch(
    "/admin/tenants/{tenant}",
    **operation(
        "Suspend or resume a tenant, or change its quotas",
        body=TenantChange,
        answer=Tenant,
        errors=(*_ABSENT, "tenant.own", "disk.full"),
    ),
)
async def change_tenant(request: Request, caller: Operator, tenant: str) -> Response:
    asked = await read_json(request, TenantChange, 16 * 1024)
    if asked.suspended is UNSET and asked.quota is UNSET:
        raise InvalidInput("send suspended, quota, or both")
    now = caller.cloud.clock()
    async with caller.cloud.catalog.directory(write=True) as d:
        await caller.stands(d.enter(caller.tenant), Action.OPERATE)
        row = await _find(d, tenant)
        if asked.suspended is not UNSET:
            _not_own(caller, row)
            await tenants.set_state(d, row.id, tenants.SUSPENDED if asked.suspended else tenants.ACTIVE)
            await _record(d, caller, "tenant.suspend" if asked.suspended else "tenant.resume", row.id, now)
        if asked.quota is not UNSET:
            given = {"storage_bytes": asked.quota.storage_bytes, "projects": asked.quota.projects}
            wanted = {name: value for name, value in given.items() if value is not UNSET}
            s = d.enter(row.id)
            await quotas.set_limits(s, (await quotas.limits(s))._replace(**wanted))
            await _record(d, caller, "tenant.quota", row.id, now)
        row = await _find(d, row.id)
    await caller.cloud.notices.tenant(row.id)
    caller.cloud.authenticator.void()
    return answer(shown(row))


@router.delete(
    "/admin/tenants/{tenant}",
    **operation(
        "Delete a tenant and destroy its keys: nothing of it can be read again",
        answer=Shredded,
        errors=(*_ABSENT, "tenant.own", "disk.full"),
    ),
)
async def shred_tenant(caller: Operator, tenant: str) -> Response:
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.directory() as d:
        row = await _find(d, tenant)
    _not_own(caller, row)
    async with cloud.catalog.directory(write=True) as d:
        await caller.stands(d.enter(caller.tenant), Action.OPERATE)
        # Keys first: rows without keys are harmless, and the next try finishes.
        await cloud.keyring.shred(row.id)
        await tenants.erase(d, row.id)
        await _record(d, caller, "tenant.shred", row.id, now)
    cloud.authenticator.void()
    await cloud.forget(row.id)
    looked, expire = await keys_expire(backups_at(cloud.settings.backup_url), row.id)
    return answer({"ok": True, "backupsLooked": looked, "keysExpireAt": None if expire is None else rfc3339(expire)})


async def _find(d: Directory, ref: str) -> TenantRow:
    row = await tenants.find(d, ref)
    if row is None or row.state == tenants.SHREDDED:
        raise NoSuchThing("there is no such tenant")
    return row


def _not_own(caller: Caller, row: TenantRow) -> None:
    if row.id == caller.tenant:
        raise OwnTenant("this is the tenant of your own credential")


async def _record(d: Directory, caller: Caller, action: str, target: str, now: int) -> None:
    """In the audit of the operator's own tenant: the tenant acted on does not learn who operates."""
    await audit.record(d.enter(caller.tenant), caller.principal, action, target, "done", caller.exchange.id, now)

"""The operator's addresses: tenants are founded, suspended, given quotas and deleted. No content can be read here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, structs

from satchel.auth.policy import Action
from satchel.catalog import bootstrap, members, quotas, residence, settings, tenants
from satchel.catalog.quotas import Limits
from satchel.catalog.retention import DAY_MS
from satchel.catalog.scope import Directory
from satchel.catalog.tenants import TenantRow
from satchel.context.part import rfc3339
from satchel.errors import AlreadyExists, InvalidInput, NoSuchThing, Refused
from satchel.objects.ids import TenantId, new_id
from satchel.server.access import Caller, Operator
from satchel.server.bodies import answer, read_json
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.routes.projects import IDEMPOTENT, Cursor, PageLimit
from satchel.server.routes.tenant import shown
from satchel.server.schemas import NewTenant, Tenant, TenantChange, TenantCreate, TenantDeletion, TenantPage
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
    id_ = TenantId(new_id("ten", cloud.random(16)))
    async with cloud.catalog.directory() as d:
        taken = await tenants.find(d, asked.slug) is not None
    if not taken:
        # Outside of any transaction, for which all who write would wait as long as the store takes, and before it: no
        # tenant without keys. Keys without a tenant are harmless.
        await cloud.keyring.create(id_)
    async with cloud.catalog.directory(write=True) as d:
        own = d.enter(caller.tenant)
        await caller.stands(own, Action.OPERATE)

        async def do() -> dict[str, object]:
            if taken:
                raise AlreadyExists(f"a tenant with the slug {asked.slug} exists already", field="slug")
            founded = await bootstrap.found_tenant(
                d,
                slug=asked.slug,
                name=asked.name,
                pepper=cloud.pepper,
                now=now,
                limits=Limits(storage_bytes=cloud.settings.quota_storage_bytes, projects=cloud.settings.quota_projects),
                delete_at=None if asked.expires_seconds is UNSET else now + asked.expires_seconds * 1000,
                id=id_,
            )
            await _record(d, caller, "tenant.create", founded.tenant.id, now)
            return {"tenant": shown(founded.tenant), "adminKey": founded.key}

        result = await once(request, caller, own, "POST /admin/tenants", asked, do)
    await cloud.notices.tenant(TenantId(result["tenant"]["id"]))  # type: ignore[index]  # what `shown` gives
    return answer({"adminKey": None} | result, 201)


@router.patch(
    "/admin/tenants/{tenant}",
    **operation(
        "Suspend or resume a tenant, bring it back, or change its quotas and where its content may rest",
        body=TenantChange,
        answer=Tenant,
        errors=(*_ABSENT, "tenant.own", "disk.full"),
    ),
)
async def change_tenant(request: Request, caller: Operator, tenant: str) -> Response:
    asked = await read_json(request, TenantChange, 16 * 1024)
    if asked.suspended is UNSET and asked.quota is UNSET and asked.settings is UNSET:
        raise InvalidInput("send at least one of suspended, quota, settings")
    now = caller.cloud.clock()
    # The later of two clocks, as for a deletion: a node that is behind would bring back what another is shredding.
    late = max(now, await caller.cloud.catalog.clock() or 0)
    async with caller.cloud.catalog.directory(write=True) as d:
        await caller.stands(d.enter(caller.tenant), Action.OPERATE)
        row = await _find(d, tenant)
        if asked.suspended is not UNSET:
            _not_own(caller, row)
            await _suspend(d, caller, row, asked.suspended, now, late)
        if asked.quota is not UNSET:
            given = structs.asdict(asked.quota).items()
            wanted = {name: quotas.NO_LIMIT if value is None else value for name, value in given if value is not UNSET}
            s = d.enter(row.id)
            limits = await quotas.limits(s)
            if (new := limits._replace(**wanted)) != limits:
                await quotas.set_limits(s, new)
                said = ", ".join(f"{name} {'no limit' if n == quotas.NO_LIMIT else n}" for name, n in wanted.items())
                await _record(d, caller, "tenant.quota", f"{row.id} {said}", now)
        if asked.settings is not UNSET and asked.settings.allowed_storage is not UNSET:
            s = d.enter(row.id)
            old, _ = await settings.get(s)
            places = residence.check_places(asked.settings.allowed_storage)
            number, changed = await settings.change(s, replace(old, allowed_storage=places), None, now)
            if changed:
                await _record(d, caller, "tenant.settings", f"{row.id} revision {number}: {', '.join(changed)}", now)
        row = await _find(d, row.id)
    await caller.cloud.notices.tenant(row.id)
    return answer(shown(row))


@router.delete(
    "/admin/tenants/{tenant}",
    **operation(
        "Delete a tenant: after a time of grace its keys are destroyed, and nothing of it can be read again",
        answer=TenantDeletion,
        errors=(*_ABSENT, "tenant.own", "disk.full"),
    ),
)
async def delete_tenant(
    caller: Operator,
    tenant: str,
    now: Annotated[bool, Query(description="Without the time of grace: it cannot be brought back.")] = False,
) -> Response:
    """Until `deleteAt` nobody of it gets in, and `PATCH` with `suspended` false brings it back as it was."""
    cloud, time = caller.cloud, caller.cloud.clock()
    # By the later of two clocks: for a node with the right one the days of grace of one that is behind might be over.
    begins = max(time, await cloud.catalog.clock() or 0)
    async with cloud.catalog.directory(write=True) as d:
        await caller.stands(d.enter(caller.tenant), Action.OPERATE)
        row = await _find(d, tenant)
        _not_own(caller, row)
        if now or row.state != tenants.DELETING:
            grace = 0 if now else cloud.settings.tenant_grace_days * DAY_MS
            before, row = row, await tenants.delete_later(d, row.id, begins + grace)
            if row != before:
                await _record(d, caller, "tenant.delete", f"{row.id} by {rfc3339(row.delete_at or time)}", time)
    await cloud.notices.tenant(row.id)
    if not now:
        return answer(_deletion(row.delete_at, looked=False, expire=None))
    # Outside of any transaction, for which all who write would wait as long as the store takes. Cut off here, the
    # tenant is due and nobody's any more. Keys first: rows without keys are harmless.
    await cloud.keyring.shred(row.id)
    async with cloud.catalog.directory(write=True) as d:
        found = await tenants.find(d, row.id)
        if found is not None and found.state != tenants.SHREDDED:  # else it was found due, or somebody else was quicker
            await members.erase_tenant(d, row.id)
            await _record(d, caller, "tenant.shred", row.id, time)
    await cloud.forget(row.id)
    looked, expire = await keys_expire(backups_at(cloud.settings.backup_url), row.id)
    return answer(_deletion(None, looked=looked, expire=expire))


def _deletion(at: int | None, *, looked: bool, expire: int | None) -> dict[str, object]:
    return {
        "ok": True,
        "state": tenants.SHREDDED if at is None else tenants.DELETING,
        "deleteAt": None if at is None else rfc3339(at),
        "backupsLooked": looked,
        "keysExpireAt": None if expire is None else rfc3339(expire),
    }


async def _find(d: Directory, ref: str) -> TenantRow:
    row = await tenants.find(d, ref)
    if row is None or row.state == tenants.SHREDDED:
        raise NoSuchThing(
            "there is no such tenant", hint="List them:  GET /api/v1/admin/tenants, or `satchel tenant list`."
        )
    return row


def _not_own(caller: Caller, row: TenantRow) -> None:
    if row.id == caller.tenant:
        raise OwnTenant("this is the tenant of your own credential")


async def _suspend(d: Directory, caller: Caller, row: TenantRow, suspended: bool, now: int, late: int) -> None:
    """Suspend or resume. Nobody gets into a tenant that is being deleted, and to suspend it does not bring it back.

    ``late`` says whether its time of grace is over.
    """
    deleting = row.state == tenants.DELETING
    if deleting and suspended:
        return
    if deleting and (row.delete_at or 0) <= late:  # its keys may be gone already
        raise NoSuchThing("the time of grace of this tenant is over")
    wanted = tenants.SUSPENDED if suspended else tenants.ACTIVE
    if row.state == wanted:
        return
    await tenants.set_state(d, row.id, wanted)
    back = "tenant.restore" if deleting else "tenant.resume"
    await _record(d, caller, "tenant.suspend" if suspended else back, row.id, now)


async def _record(d: Directory, caller: Caller, action: str, target: str, now: int) -> None:
    """In the audit of the operator's own tenant: the tenant acted on does not learn who operates."""
    await caller.record(d.enter(caller.tenant), action, target, now)

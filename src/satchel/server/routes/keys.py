"""API keys of a tenant: made, listed and revoked by its admins."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import audit, grants, principals, projects
from satchel.catalog.principals import PrincipalRow
from satchel.catalog.scope import Scope
from satchel.errors import InsufficientScope, InvalidInput, NoSuchThing
from satchel.objects.ids import ProjectId
from satchel.server.access import Caller, TenantAdmin, absent_project
from satchel.server.bodies import answer, read_json, rfc3339
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.routes.projects import IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import Done, KeyCreate, KeyPage, NewKey

router = APIRouter(tags=["keys"])
_MAX_BODY = 256 * 1024
_REFUSED = ("auth.insufficient_scope",)


@router.get("/keys", **operation("The API keys that count, without their secrets", answer=KeyPage, errors=_REFUSED))
async def list_keys(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await principals.list_(s, principals.KEY, cursor or "", limit + 1)
        items = [await _shown(s, row) for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].id if len(rows) > limit else None})


@router.post(
    "/keys",
    **operation(
        "Make an API key; its text is shown in this answer and never again",
        body=KeyCreate,
        answer=NewKey,
        status=201,
        headers=IDEMPOTENT,
        errors=(*_REFUSED, "project.not_found", "quota.reached", "request.idempotency_reused", "disk.full"),
        example={"name": "release-bot", "role": "read", "expiresIn": 7_776_000},
    ),
)
async def create_key(request: Request, caller: TenantAdmin) -> Response:
    """`role` is for every project of the tenant, `projects` for some of them. A replay answers without `key`."""
    asked = await read_json(request, KeyCreate, _MAX_BODY)
    wanted = TenantRole(asked.tenant_role)
    if wanted > caller.principal.tenant_role:
        raise InsufficientScope("a key cannot have more than its maker", needs=wanted.value)
    if asked.role is UNSET and not asked.projects and wanted is TenantRole.MEMBER:
        raise InvalidInput("say what the key is for: role, projects, or tenantRole")
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        given = await _grants(s, asked)

        async def do() -> dict[str, object]:
            row, text = await principals.issue_key(
                s,
                pepper=caller.cloud.pepper,
                name=asked.name,
                now=now,
                tenant_role=wanted,
                all_projects=None if asked.role is UNSET else Role(asked.role),
                grants=given,
                created_by=caller.principal.id,
                expires=None if asked.expires_in is UNSET else now + asked.expires_in * 1000,
            )
            await audit.record(s, caller.principal, "key.create", row.id, "done", caller.exchange.id, now)
            return await _shown(s, row) | {"key": text}

        result = await once(request, caller, s, "POST /keys", asked, do)
    return answer({"key": None} | result, 201)


@router.delete(
    "/keys/{key}",
    **operation(
        "Revoke an API key: it stops counting at once",
        answer=Done,
        errors=(*_REFUSED, "resource.not_found", "tenant.last_owner", "disk.full"),
    ),
)
async def revoke_key(caller: TenantAdmin, key: str) -> Response:
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        row = await principals.get(s, key)
        if row is None or row.kind != principals.KEY:
            raise NoSuchThing("there is no such key", hint="List them:  GET /api/v1/keys, or `satchel key list`.")
        _not_above(caller, row)
        await principals.revoke(s, row.id, now)
        await audit.record(s, caller.principal, "key.revoke", row.id, "done", caller.exchange.id, now)
    caller.cloud.authenticator.void()
    return answer({"ok": True})


def _not_above(caller: Caller, row: PrincipalRow) -> None:
    if row.tenant_role > caller.principal.tenant_role:
        raise InsufficientScope("an admin cannot end an owner", needs=row.tenant_role.value)


async def _grants(s: Scope, asked: KeyCreate) -> dict[ProjectId, Role]:
    given: dict[ProjectId, Role] = {}
    for wanted in asked.projects or ():
        row = await projects.get(s, wanted.project)
        if row is None:
            raise absent_project()
        given[row.id] = Role(wanted.role)
    return given


async def _shown(s: Scope, row: PrincipalRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "tenantRole": row.tenant_role.value,
        "role": row.all_projects.value if row.all_projects else None,
        "projects": [{"project": g.project, "role": g.role.value} for g in await grants.of_principal(s, row.id)],
        "createdAt": rfc3339(row.created),
        "expiresAt": None if row.expires is None else rfc3339(row.expires),
        "revoked": row.revoked is not None,
    }

"""API keys of a tenant: made, listed, given new secrets and revoked by its admins."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.auth.roles import Principal, Role, TenantRole
from satchel.catalog import grants, principals, projects
from satchel.catalog.principals import PrincipalRow
from satchel.catalog.scope import Scope
from satchel.context.part import rfc3339
from satchel.errors import InsufficientScope, InvalidInput, NoSuchThing
from satchel.objects.ids import ProjectId
from satchel.server.access import TenantAdmin, absent_project
from satchel.server.bodies import answer, read_json
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.routes.projects import IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import Done, KeyCreate, KeyPage, KeyReroll, NewKey

router = APIRouter(tags=["keys"])
_MAX_BODY = 256 * 1024
_REFUSED = ("auth.insufficient_scope",)


@router.get("/keys", **operation("The API keys that count, without their secrets", answer=KeyPage, errors=_REFUSED))
async def list_keys(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    now = caller.cloud.clock()
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await principals.list_(s, principals.KEY, cursor or "", limit + 1)
        items = [await _shown(s, row, now) for row in rows[:limit]]
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
    if asked.role is UNSET and not asked.projects and wanted is TenantRole.MEMBER:
        raise InvalidInput("say what the key is for: role, projects, or tenantRole")
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        if wanted > (await caller.stands(s, Action.TENANT_ADMIN)).tenant_role:
            raise InsufficientScope("a key cannot have more than its maker", needs=wanted.value)
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
                requests=None if asked.requests_per_minute is UNSET else asked.requests_per_minute,
            )
            await caller.record(s, "key.create", row.id, now)
            return await _shown(s, row, now) | {"key": text}

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
        who = await caller.stands(s, Action.TENANT_ADMIN)
        row = await principals.get(s, key)
        if row is None or row.kind != principals.KEY:
            raise NoSuchThing("there is no such key", hint="List them:  GET /api/v1/keys, or `satchel key list`.")
        if row.tenant_role > who.tenant_role:
            raise InsufficientScope("an admin cannot end an owner", needs=row.tenant_role.value)
        if await principals.revoke(s, row.id, now):
            await caller.record(s, "key.revoke", row.id, now)
    return answer({"ok": True})


@router.post(
    "/keys/{key}/reroll",
    **operation(
        "Give an API key a new secret; the old one counts for a time of grace",
        body=KeyReroll,
        answer=NewKey,
        headers=IDEMPOTENT,
        errors=(*_REFUSED, "resource.not_found", "request.idempotency_reused", "disk.full"),
        example={"graceSeconds": 86_400},
    ),
)
async def reroll_key(request: Request, caller: TenantAdmin, key: str) -> Response:
    """Name, roles and rate stay. A replay answers without `key`."""
    asked = await read_json(request, KeyReroll, _MAX_BODY)
    async with caller.cloud.catalog.write(caller.tenant) as s:
        who = await caller.stands(s, Action.TENANT_ADMIN)
        now = caller.cloud.clock()  # in its turn: no token is made between this moment and the end of the secret
        row = await _key(s, key)
        await _not_beyond(s, who, row)

        async def do() -> dict[str, object]:
            expires = None if asked.expires_in is UNSET else now + asked.expires_in * 1000
            if expires is None and row.expires is not None and row.expires <= now:
                raise InvalidInput("this key has expired: say with expiresIn how long it is to count from now on")
            new, text = await principals.reroll_key(
                s, row, pepper=caller.cloud.pepper, now=now, grace_ms=asked.grace_seconds * 1000, expires=expires
            )
            await caller.record(s, "key.reroll", row.id, now)
            return await _shown(s, new, now) | {"key": text}

        result = await once(request, caller, s, f"POST /keys/{row.id}/reroll", asked, do)
    return answer({"key": None} | result)


async def _key(s: Scope, key: str) -> PrincipalRow:
    row = await principals.get(s, key)
    if row is None or row.kind != principals.KEY or row.revoked is not None:
        raise NoSuchThing("there is no such key", hint="List them:  GET /api/v1/keys, or `satchel key list`.")
    return row


async def _not_beyond(s: Scope, who: Principal, row: PrincipalRow) -> None:
    """Whoever gets a key's secret may do what the key may: it must not be more than ``who`` may."""
    if row.tenant_role > who.tenant_role:
        raise InsufficientScope("an admin cannot have an owner's key", needs=row.tenant_role.value)
    key = await principals.resolve(s, row.id)
    if key is not None and key.operator and not who.operator:
        raise InsufficientScope("only an operator can have an operator's key", needs="operator")


async def _grants(s: Scope, asked: KeyCreate) -> dict[ProjectId, Role]:
    given: dict[ProjectId, Role] = {}
    for wanted in asked.projects or ():
        row = await projects.get(s, wanted.project)
        if row is None:
            raise absent_project()
        given[row.id] = Role(wanted.role)
    return given


async def _shown(s: Scope, row: PrincipalRow, now: int) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "tenantRole": row.tenant_role.value,
        "role": row.all_projects.value if row.all_projects else None,
        "projects": [{"project": g.project, "role": g.role.value} for g in await grants.of_principal(s, row.id)],
        "createdAt": rfc3339(row.created),
        "expiresAt": None if row.expires is None else rfc3339(row.expires),
        "requestsPerMinute": row.requests_limit,
        "lastUsedAt": None if row.used is None else rfc3339(row.used),
        "oldSecretUntil": None if (row.before_until or 0) <= now else rfc3339(row.before_until or 0),
        "revoked": row.revoked is not None,
    }

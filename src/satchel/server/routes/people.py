"""Members of a tenant, and grants on its projects."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from satchel.auth.passwords import check_password, hash_password
from satchel.auth.policy import Action
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import audit, grants, members, principals
from satchel.errors import AlreadyExists, InsufficientScope, NoSuchThing
from satchel.objects.ids import PrincipalId, new_id
from satchel.server.access import ProjectAdmin, TenantAdmin
from satchel.server.bodies import answer, read_json, rfc3339
from satchel.server.openapi import operation
from satchel.server.routes.projects import ABSENT, Cursor, PageLimit
from satchel.server.schemas import Done, Grant, GrantCreate, GrantPage, Member, MemberCreate, MemberPage

router = APIRouter(tags=["people"])
_MAX_BODY = 16 * 1024
_REFUSED = ("auth.insufficient_scope",)


@router.get("/members", **operation("The members of the tenant", answer=MemberPage, errors=_REFUSED))
async def list_members(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await principals.list_(s, principals.MEMBER, cursor or "", limit + 1)
    items = [_member(row) for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].id if len(rows) > limit else None})


@router.post(
    "/members",
    **operation(
        "Add a person to the tenant, with a first password",
        body=MemberCreate,
        answer=Member,
        status=201,
        errors=(*_REFUSED, "resource.exists", "quota.reached", "disk.full"),
    ),
)
async def add_member(request: Request, caller: TenantAdmin) -> Response:
    """A person has one e-mail address and one password on a server, and is member of one tenant."""
    asked = await read_json(request, MemberCreate, _MAX_BODY)
    role = TenantRole(asked.tenant_role)
    if role > caller.principal.tenant_role:
        raise InsufficientScope("a member cannot have more than who adds it", needs=role.value)
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.sign_in.place():
        password = await asyncio.to_thread(hash_password, check_password(asked.password))
    async with cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        await caller.stands(s, Action.TENANT_ADMIN)
        # Whoever set a person's password could sign in as that person wherever it is a member: so nobody
        # who exists already can be added to a second tenant.
        if await members.find_person(d, asked.email) is not None:
            raise AlreadyExists(
                "this address cannot be added", hint="Use an address that is not in use on this server."
            )
        who = await members.create_person(
            d, id=new_id("psn", cloud.random(16)), email=asked.email, name=asked.name, password=password, now=now
        )
        row = await members.add(s, id=PrincipalId(new_id("mem", cloud.random(16))), who=who, role=role, now=now)
        await audit.record(s, caller.principal, "member.add", row.id, "done", caller.exchange.id, now)
    return answer(_member(row), 201)


@router.delete(
    "/members/{member}",
    **operation(
        "End a membership, with its grants and sessions",
        answer=Done,
        errors=(*_REFUSED, "resource.not_found", "tenant.last_owner", "disk.full"),
    ),
)
async def remove_member(caller: TenantAdmin, member: str) -> Response:
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        row = await principals.get(s, member)
        if row is None or row.kind != principals.MEMBER:
            raise NoSuchThing("there is no such member")
        if row.tenant_role > caller.principal.tenant_role:
            raise InsufficientScope("an admin cannot end an owner", needs=row.tenant_role.value)
        await members.remove(s, row.id, now)
        await audit.record(s, caller.principal, "member.remove", row.id, "done", caller.exchange.id, now)
    caller.cloud.authenticator.void()
    return answer({"ok": True})


@router.get(
    "/projects/{p}/grants",
    **operation("Who has a role on the project by a grant of its own", answer=GrantPage, errors=(*ABSENT, *_REFUSED)),
)
async def list_grants(on: ProjectAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        rows = await grants.of_project(s, on.row.id, cursor or "", limit + 1)
    items = [{"principal": row.principal_id, "name": row.name, "role": row.role.value} for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].principal_id if len(rows) > limit else None})


@router.post(
    "/projects/{p}/grants",
    **operation(
        "Give a member or key a role on the project, in place of the one it has",
        body=GrantCreate,
        answer=Grant,
        errors=(*ABSENT, *_REFUSED, "resource.not_found", "disk.full"),
    ),
)
async def give_grant(request: Request, on: ProjectAdmin) -> Response:
    asked = await read_json(request, GrantCreate, _MAX_BODY)
    now = on.cloud.clock()
    async with on.cloud.catalog.write(on.caller.tenant) as s:
        await on.stands(s, Action.PROJECT_ADMIN)
        await grants.give(s, on.row.id, asked.principal, Role(asked.role), now)
        who = await principals.get(s, asked.principal)
        target = f"{on.row.id} {asked.principal} {asked.role}"
        await audit.record(s, on.caller.principal, "grant.give", target, "done", on.caller.exchange.id, now)
    on.cloud.authenticator.void()
    return answer({"principal": asked.principal, "name": who.name if who else "", "role": asked.role})


@router.delete(
    "/projects/{p}/grants/{principal}",
    **operation("Take a grant back", answer=Done, errors=(*ABSENT, *_REFUSED, "resource.not_found", "disk.full")),
)
async def take_grant(on: ProjectAdmin, principal: str) -> Response:
    now = on.cloud.clock()
    async with on.cloud.catalog.write(on.caller.tenant) as s:
        await on.stands(s, Action.PROJECT_ADMIN)
        if not await grants.take(s, on.row.id, principal):
            raise NoSuchThing("there is no such grant")
        target = f"{on.row.id} {principal}"
        await audit.record(s, on.caller.principal, "grant.take", target, "done", on.caller.exchange.id, now)
    on.cloud.authenticator.void()
    return answer({"ok": True})


def _member(row: principals.PrincipalRow) -> dict[str, object]:
    return {
        "id": row.id,
        "email": row.email or "",
        "name": row.name,
        "tenantRole": row.tenant_role.value,
        "createdAt": rfc3339(row.created),
    }

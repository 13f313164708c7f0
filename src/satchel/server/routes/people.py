"""Members of a tenant, and grants on its projects."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from satchel.auth.emails import normal_email
from satchel.auth.passwords import verify_password
from satchel.auth.policy import Action
from satchel.auth.roles import Principal, Role, TenantRole
from satchel.catalog import grants, members, principals
from satchel.catalog.scope import Scope
from satchel.context.part import rfc3339
from satchel.errors import AlreadyExists, InsufficientScope, InvalidInput, NoSuchThing, Refused
from satchel.objects.ids import PrincipalId, new_id
from satchel.server.access import ProjectAdmin, SignedIn, TenantAdmin
from satchel.server.bodies import answer, read_json
from satchel.server.openapi import operation
from satchel.server.passwords import hashed
from satchel.server.routes.projects import ABSENT, Cursor, PageLimit
from satchel.server.schemas import (
    Done,
    Grant,
    GrantCreate,
    GrantPage,
    Member,
    MemberCreate,
    MemberPage,
    MemberPatch,
    PasswordChange,
    PasswordReset,
)

router = APIRouter(tags=["people"])
_MAX_BODY = 16 * 1024
_REFUSED = ("auth.insufficient_scope",)


class MemberElsewhere(Refused):
    """Whoever sets a person's password can sign in as that person wherever it is a member."""

    code = "member.elsewhere"
    default_hint = "Let the person change it, or ask the operator of the server: satchel admin recover"


class NotAPerson(Refused):
    code = "member.not_a_person"
    default_hint = "Sign in as a person: satchel login URL --email ADDRESS"


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
    """For a person new to the server. One who has an account already joins by an invitation (POST /invitations)."""
    asked = await read_json(request, MemberCreate, _MAX_BODY)
    role = TenantRole(asked.tenant_role)
    cloud, now = caller.cloud, caller.cloud.clock()
    password = await hashed(cloud, asked.password, normal_email(asked.email))
    async with cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        if role > (await caller.stands(s, Action.TENANT_ADMIN)).tenant_role:
            raise InsufficientScope("a member cannot have more than who adds it", needs=role.value)
        # Whoever set a person's password could sign in as that person wherever it is a member: so nobody
        # who exists already can be added to a second tenant.
        if (known := await members.find_person(d, asked.email)) is not None:
            if any(each.tenant == caller.tenant for each in await members.memberships(d, known.id)):
                raise AlreadyExists(
                    "this person is a member already", hint="If this was sent twice, the first one did it."
                )
            raise AlreadyExists(
                "this address cannot be added", hint="Use an address that is not in use on this server."
            )
        who = await members.create_person(
            d, id=new_id("psn", cloud.random(16)), email=asked.email, name=asked.name, password=password, now=now
        )
        row = await members.add(s, id=PrincipalId(new_id("mem", cloud.random(16))), who=who, role=role, now=now)
        await caller.record(s, "member.add", f"{row.id} {role.value}", now)
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
    """The account of who is a member of no other tenant is deleted with it."""
    now = caller.cloud.clock()
    async with caller.cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        row = await _below(s, await caller.stands(s, Action.TENANT_ADMIN), member)
        person = await members.person_of(s, row.id)
        if await members.remove(s, row.id, now):
            await caller.record(s, "member.remove", row.id, now)
        if person is not None:
            await members.forget(d, person)
    return answer({"ok": True})


@router.patch(
    "/members/{member}",
    **operation(
        "Change what a member is in the tenant",
        body=MemberPatch,
        answer=Member,
        errors=(*_REFUSED, "resource.not_found", "tenant.last_owner", "disk.full"),
        example={"tenantRole": "admin"},
    ),
)
async def change_member(request: Request, caller: TenantAdmin, member: str) -> Response:
    """Nobody gives more than they have, and a tenant keeps an owner."""
    async with caller.cloud.catalog.read(caller.tenant) as s:
        await _below(s, caller.principal, member)
    asked = await read_json(request, MemberPatch, _MAX_BODY)
    role, now = TenantRole(asked.tenant_role), caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        who = await caller.stands(s, Action.TENANT_ADMIN)
        row = await _below(s, who, member)
        if role > who.tenant_role:
            raise InsufficientScope("nobody gives a role above their own", needs=role.value)
        if not await principals.set_tenant_role(s, row.id, role, now):
            raise _no_member()
        if row.tenant_role is not role:
            await caller.record(s, "member.role", f"{row.id} {role.value}", now)
    return answer(_member(row._replace(tenant_role=role)))


@router.post(
    "/members/{member}/password",
    **operation(
        "Set another password for a member, and end its sessions",
        body=PasswordReset,
        answer=Done,
        errors=(*_REFUSED, "resource.not_found", "member.elsewhere", "rate.limited", "disk.full"),
    ),
)
async def reset_password(request: Request, caller: TenantAdmin, member: str) -> Response:
    """For a person who is a member of this tenant alone: an admin of one tenant gets into no other."""
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.read(caller.tenant) as s:
        row = await _below(s, caller.principal, member)
    asked = await read_json(request, PasswordReset, _MAX_BODY)
    stored = await hashed(cloud, asked.password, row.email or "")
    async with cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        await _below(s, await caller.stands(s, Action.TENANT_ADMIN), member)
        person = await members.person_of(s, row.id)
        if person is None:
            raise _no_member()
        if len(await members.memberships(d, person)) > 1:
            raise MemberElsewhere("this person is a member of another tenant too")
        await members.set_password(d, person, stored)
        await members.end_sessions(d, person, now)
        await caller.record(s, "member.reset_password", row.id, now)
    return answer({"ok": True})


@router.post(
    "/auth/password",
    **operation(
        "Change one's own password, and end one's other sessions",
        body=PasswordChange,
        answer=Done,
        errors=("member.not_a_person", "rate.limited", "disk.full"),
    ),
)
async def change_password(request: Request, caller: SignedIn) -> Response:
    """The session that asks goes on; every other one of the person ends, in every tenant. Sent again it changes
    nothing."""
    asked = await read_json(request, PasswordChange, _MAX_BODY)
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.directory() as d:
        person_id = await members.person_of(d.enter(caller.tenant), caller.principal.id)
        person = None if person_id is None else await members.get_person(d, person_id)
    if person is None:
        raise NotAPerson("a key has no password")
    async with cloud.sign_in.attempt(person.email) as succeeded:
        if not await asyncio.to_thread(verify_password, person.password, asked.password):
            # Sent again after an answer that was lost: what was asked for is so.
            if await asyncio.to_thread(verify_password, person.password, asked.new_password):
                succeeded()
                return answer({"ok": True})
            cloud.denials.sign_in_refused(person.email, caller.exchange, request.scope)
            raise InvalidInput("the password given as the present one is not right", field="password")
        succeeded()
    stored = await hashed(cloud, asked.new_password, person.email)
    async with cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        await caller.stands(s, Action.TENANT_READ)
        await members.set_password(d, person.id, stored)
        await members.end_sessions(d, person.id, now, keep=caller.checked.session)
        await caller.record(s, "member.change_password", caller.principal.id, now)
    return answer({"ok": True})


@router.post(
    "/auth/leave",
    **operation(
        "Leave the tenant, with one's grants and sessions in it",
        answer=Done,
        errors=(*_REFUSED, "member.not_a_person", "tenant.last_owner", "disk.full"),
    ),
)
async def leave(caller: SignedIn) -> Response:
    """The last owner cannot leave. What the person wrote stays, under its name; the account of who is a member of no
    other tenant is deleted."""
    now = caller.cloud.clock()
    if caller.principal.kind != principals.MEMBER:
        raise NotAPerson("a key is no member: revoke it")
    async with caller.cloud.catalog.directory(write=True) as d:
        s = d.enter(caller.tenant)
        await caller.stands(s, Action.TENANT_LEAVE)
        await caller.record(s, "member.leave", caller.principal.id, now)
        person = await members.person_of(s, caller.principal.id)
        await members.remove(s, caller.principal.id, now)
        if person is not None:
            await members.forget(d, person)
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
        changed = await grants.give(s, on.row.id, asked.principal, Role(asked.role), now)
        who = await principals.get(s, asked.principal)
        if changed:
            await on.caller.record(s, "grant.give", f"{on.row.id} {asked.principal} {asked.role}", now)
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
        await on.caller.record(s, "grant.take", target, now)
    return answer({"ok": True})


async def _below(s: Scope, who: Principal, member: str) -> principals.PrincipalRow:
    """A member whom ``who`` may change. Raises ``NoSuchThing``, and ``InsufficientScope`` for one above it."""
    row = await principals.get(s, member)
    if row is None or row.kind != principals.MEMBER:
        raise _no_member()
    if row.tenant_role > who.tenant_role:
        raise InsufficientScope("an admin cannot change or end an owner", needs=row.tenant_role.value)
    return row


def _no_member() -> NoSuchThing:
    return NoSuchThing("there is no such member", hint="List them:  satchel tenant members")


def _member(row: principals.PrincipalRow) -> dict[str, object]:
    return {
        "id": row.id,
        "email": row.email or "",
        "name": row.name,
        "tenantRole": row.tenant_role.value,
        "createdAt": rfc3339(row.created),
    }

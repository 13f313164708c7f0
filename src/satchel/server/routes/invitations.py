"""Invitations to a project or to the tenant, and joining by one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import invitations, projects
from satchel.catalog.invitations import InvitationRow
from satchel.catalog.members import Place
from satchel.catalog.versions import ProjectArchived
from satchel.context.part import rfc3339
from satchel.errors import InsufficientScope, NoSuchThing, SignInNeeded
from satchel.objects.ids import ProjectId
from satchel.server import joining
from satchel.server.access import Caller, ProjectAdmin, TenantAdmin, cloud_of, exchange_of, known_parameters
from satchel.server.bodies import answer, read_json
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.routes.projects import ABSENT, IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import (
    Done,
    InvitationAsked,
    InvitationCreate,
    InvitationPage,
    InvitationTo,
    Joined,
    JoinRequest,
    NewInvitation,
    ShareCreate,
)
from satchel.server.signin import begin

router = APIRouter(tags=["people"])
_MAX_BODY = 16 * 1024
_REFUSED = ("auth.insufficient_scope",)
_MADE = ("invitation.too_many", "request.idempotency_reused", "disk.full")


@router.get(
    "/projects/{p}/invitations",
    **operation(
        "Invitations to the project, those that are over lately too", answer=InvitationPage, errors=(*ABSENT, *_REFUSED)
    ),
)
async def list_project_invitations(on: ProjectAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    return await _page(on.caller, on.row.id, cursor, limit)


@router.post(
    "/projects/{p}/invitations",
    **operation(
        "Make a link that lets whoever has it join the project; it is shown in this answer and never again",
        body=ShareCreate,
        answer=NewInvitation,
        status=201,
        headers=IDEMPOTENT,
        errors=(*ABSENT, *_REFUSED, *_MADE, "project.archived"),
        example={"role": "read", "expiresIn": 604_800, "uses": 5},
    ),
)
async def invite_to_project(request: Request, on: ProjectAdmin) -> Response:
    """Who joins becomes a member of the tenant with this role on the project, and with nothing else."""
    asked = await read_json(request, ShareCreate, _MAX_BODY)
    place = Place(TenantRole.MEMBER, on.row.id, Role(asked.role))
    return await _make(request, on.caller, place, asked, Action.PROJECT_ADMIN)


@router.delete(
    "/projects/{p}/invitations/{invitation}",
    **operation(
        "Revoke an invitation: nobody joins by it any more",
        answer=Done,
        errors=(*ABSENT, *_REFUSED, "resource.not_found", "disk.full"),
    ),
)
async def revoke_project_invitation(on: ProjectAdmin, invitation: str) -> Response:
    return await _revoke(on.caller, invitation, Action.PROJECT_ADMIN, on.row.id)


@router.get(
    "/invitations",
    **operation("Every invitation of the tenant, to projects too", answer=InvitationPage, errors=_REFUSED),
)
async def list_invitations(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    return await _page(caller, None, cursor, limit)


@router.post(
    "/invitations",
    **operation(
        "Make a link that lets whoever has it join the tenant; it is shown in this answer and never again",
        body=InvitationCreate,
        answer=NewInvitation,
        status=201,
        headers=IDEMPOTENT,
        errors=(*_REFUSED, *_MADE),
        example={"tenantRole": "member", "expiresIn": 604_800, "uses": 1},
    ),
)
async def invite_to_tenant(request: Request, caller: TenantAdmin) -> Response:
    asked = await read_json(request, InvitationCreate, _MAX_BODY)
    return await _make(request, caller, Place(TenantRole(asked.tenant_role)), asked, Action.TENANT_ADMIN)


@router.delete(
    "/invitations/{invitation}",
    **operation(
        "Revoke an invitation of the tenant, or one to a project",
        answer=Done,
        errors=(*_REFUSED, "resource.not_found", "disk.full"),
    ),
)
async def revoke_invitation(caller: TenantAdmin, invitation: str) -> Response:
    return await _revoke(caller, invitation, Action.TENANT_ADMIN, None)


@router.post(
    "/auth/invitation",
    **operation(
        "What an invitation is to, for whoever holds it",
        body=InvitationAsked,
        answer=InvitationTo,
        errors=("invitation.invalid", "tenant.suspended"),
        public=True,
    ),
)
async def show_invitation(request: Request) -> Response:
    """Also for one that is used up, since whoever used it may join again."""
    known_parameters(request)
    cloud = cloud_of(request)
    asked = await read_json(request, InvitationAsked, _MAX_BODY)
    found = await joining.check(cloud, asked.invitation)
    place = found.row.place
    return answer(
        {
            "tenant": found.tenant.slug,
            "tenantName": found.tenant.name,
            "project": found.project.slug if found.project else None,
            "role": place.role.value if place.role else None,
            "tenantRole": place.tenant_role.value,
            "expiresAt": rfc3339(found.row.expires),
        }
    )


@router.post(
    "/auth/join",
    **operation(
        "Join by an invitation: sign in, or make the account, and become a member",
        body=JoinRequest,
        answer=Joined,
        errors=("auth.invalid", "invitation.invalid", "tenant.suspended", "quota.reached", "rate.limited", "disk.full"),
        public=True,
    ),
)
async def join(request: Request) -> Response:
    """Sent again by the same person it changes nothing, and begins another session."""
    known_parameters(request)
    cloud, exchange = cloud_of(request), exchange_of(request)
    asked = await read_json(request, JoinRequest, _MAX_BODY)
    await joining.check(cloud, asked.invitation)  # before a password is looked at: without one nothing is guessed here
    try:
        who = await joining.prove(cloud, asked.email, asked.password, None if asked.name is UNSET else asked.name)
    except SignInNeeded:
        cloud.denials.sign_in_refused(asked.email, exchange, request.scope)
        raise
    invited, principal = await joining.join(cloud, asked.invitation, who, exchange)
    place = invited.row.place
    return answer(
        {
            **await begin(cloud, who, principal.tenant, principal.id, exchange),
            "tenant": invited.tenant.slug,
            "project": place.project,
            "role": place.role.value if place.role else None,
        }
    )


async def _page(caller: Caller, project: ProjectId | None, cursor: str | None, limit: int) -> Response:
    now = caller.cloud.clock()
    vain: dict[tuple[Place, str], bool] = {}
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await invitations.list_(s, project, cursor or "", limit + 1)
        for row in rows[:limit]:
            if row.state(now) == "open" and (row.place, row.created_by) not in vain:
                vain[row.place, row.created_by] = bool((await joining.in_vain(s, row, now))[0])
    items = [_shown(row, now, void=vain.get((row.place, row.created_by), False)) for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].id if len(rows) > limit else None})


async def _make(
    request: Request, caller: Caller, place: Place, asked: ShareCreate | InvitationCreate, action: Action
) -> Response:
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.write(caller.tenant) as s:
        if place.tenant_role > (await caller.stands(s, action, place.project)).tenant_role:
            raise InsufficientScope("an invitation cannot give more than its maker has", needs=place.tenant_role.value)
        to = None if place.project is None else await projects.get(s, place.project)
        if to is not None and to.archived is not None:
            raise ProjectArchived("the project is archived: nobody joins it")

        async def do() -> dict[str, object]:
            row, text = await invitations.create(
                s,
                pepper=cloud.pepper,
                place=place,
                created_by=caller.principal.id,
                now=now,
                expires=now + asked.expires_in * 1000,
                uses=asked.uses,
            )
            await caller.record(s, "invitation.create", f"{row.id} {place}", now)
            return _shown(row, now) | {"url": cloud.settings.url + joining.PATH + text}

        made = await once(request, caller, s, f"POST /invitations {place.project or ''}", asked, do)
    return answer({"url": None} | made, 201)


async def _revoke(caller: Caller, invitation: str, action: Action, project: ProjectId | None) -> Response:
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        who = await caller.stands(s, action, project)
        row = await invitations.get(s, invitation)
        if row is None or (project is not None and row.place.project != project):
            listed = "satchel tenant invite --list" if project is None else "satchel share --list"
            raise NoSuchThing("there is no such invitation", hint=f"List them:  {listed}")
        if row.place.tenant_role > who.tenant_role:
            raise InsufficientScope("an admin cannot end the invitation of an owner", needs=row.place.tenant_role.value)
        if await invitations.revoke(s, row.id, now):
            await caller.record(s, "invitation.revoke", row.id, now)
    return answer({"ok": True})


def _shown(row: InvitationRow, now: int, *, void: bool = False) -> dict[str, object]:
    """``void``: nobody joins by it while it is open, as its project is archived or its maker may not make it."""
    place, state = row.place, row.state(now)
    return {
        "id": row.id,
        "project": place.project,
        "role": place.role.value if place.role else None,
        "tenantRole": place.tenant_role.value,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created),
        "expiresAt": rfc3339(row.expires),
        "uses": row.uses,
        "usesLimit": row.uses_limit,
        "state": "void" if void and state == "open" else state,
    }

"""What a route may assume about its caller, as dependencies that run before anything of the request is read.

The order is fixed: credential (401), tenant (403), is there room (429), may it be seen (404), may it be done (403),
are the parameters known (422). Only then do body, preconditions and values matter, so that nothing can be learnt of
what the caller may not see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from satchel.auth.policy import Action, Decision, Verdict, decide, role_on
from satchel.auth.roles import Principal, Role
from satchel.catalog import projects
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.errors import InsufficientScope, InvalidInput, NoSuchProject, NoSuchThing
from satchel.objects.ids import ProjectId, TenantId
from satchel.server.credentials import Checked
from satchel.server.edge import Exchange

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in caller of one request."""

    cloud: Cloud
    checked: Checked
    exchange: Exchange

    @property
    def principal(self) -> Principal:
        return self.checked.principal

    @property
    def tenant(self) -> TenantId:
        return self.checked.principal.tenant

    async def stands(self, s: Scope, action: Action, project: ProjectId | None = None) -> None:
        """Judge once more inside the transaction of a write: revocation, grants, tenant."""
        require(decide(await self.cloud.authenticator.recheck(s, self.checked), action, project))


@dataclass(frozen=True, slots=True)
class OnProject:
    """A caller who may see a project."""

    caller: Caller
    row: ProjectRow
    role: Role

    @property
    def cloud(self) -> Cloud:
        return self.caller.cloud

    async def stands(self, s: Scope, action: Action) -> None:
        await self.caller.stands(s, action, self.row.id)


def require(decision: Decision, what: str = "project") -> None:
    """Raise what a decision other than ALLOW looks like from outside."""
    if decision.verdict is Verdict.INSUFFICIENT:
        raise InsufficientScope(f"this needs the role {decision.needs}", needs=decision.needs)
    if decision.verdict is Verdict.ABSENT:
        raise absent_project() if what == "project" else NoSuchThing("there is nothing at this address")


def absent_project() -> NoSuchProject:
    """The one answer for a project that does not exist, is another tenant's, or may not be read."""
    return NoSuchProject("there is no such project")


def exchange_of(request: Request) -> Exchange:
    return cast(Exchange, request.scope["satchel"])


def cloud_of(request: Request) -> Cloud:
    return cast("Cloud", request.app.state.cloud)


async def signed_in(request: Request) -> Caller:
    caller = await identified(request)
    known_parameters(request)
    return caller


async def identified(request: Request) -> Caller:
    """The caller, with its tenant's share of the server taken until the request ends."""
    cloud, exchange = cloud_of(request), exchange_of(request)
    checked = await cloud.authenticator.check(request.headers.get("authorization"))
    exchange.tenant, exchange.principal = checked.principal.tenant, checked.principal.id
    cloud.admission.enter(checked.principal.tenant, exchange)
    return Caller(cloud, checked, exchange)


async def tenant_admin(request: Request) -> Caller:
    caller = await identified(request)
    require(decide(caller.principal, Action.TENANT_ADMIN))
    known_parameters(request)
    return caller


async def operator(request: Request) -> Caller:
    caller = await identified(request)
    require(decide(caller.principal, Action.OPERATE), "address")
    known_parameters(request)
    return caller


async def project_creator(request: Request) -> Caller:
    caller = await identified(request)
    require(decide(caller.principal, Action.PROJECT_CREATE))
    known_parameters(request)
    return caller


async def project_reader(request: Request, p: str) -> OnProject:
    return await _on_project(request, p, Action.PROJECT_READ)


async def project_writer(request: Request, p: str) -> OnProject:
    return await _on_project(request, p, Action.PROJECT_WRITE)


async def content_writer(request: Request, p: str) -> OnProject:
    """A writer of content, told at once, before any of it is taken, when the store is known not to answer."""
    on = await project_writer(request, p)
    on.cloud.outage.require()
    return on


async def project_admin(request: Request, p: str) -> OnProject:
    return await _on_project(request, p, Action.PROJECT_ADMIN)


async def _on_project(request: Request, ref: str, action: Action) -> OnProject:
    caller = await identified(request)
    async with caller.cloud.catalog.read(caller.tenant) as s:
        row = await projects.get(s, ref)
    role = None if row is None else role_on(caller.principal, row.id)
    if row is None or role is None:
        raise absent_project()
    require(decide(caller.principal, action, row.id))
    known_parameters(request)
    return OnProject(caller, row, role)


def known_parameters(request: Request) -> None:
    """Refuse unknown query parameters by name. Raises ``InvalidInput``."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = _parameters.get(id(route))
    if known is None:
        known = _parameters[id(route)] = frozenset(_query_names(cast(APIRoute, route).dependant))
    for name in request.query_params:
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"there is no parameter {name[:60]!r} here; known: {allowed}")


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_names(part)


# By the identity of a route, which lives as long as the process.
_parameters: dict[int, frozenset[str]] = {}

SignedIn = Annotated[Caller, Depends(signed_in)]
TenantAdmin = Annotated[Caller, Depends(tenant_admin)]
Operator = Annotated[Caller, Depends(operator)]
ProjectCreator = Annotated[Caller, Depends(project_creator)]
Reader = Annotated[OnProject, Depends(project_reader)]
Writer = Annotated[OnProject, Depends(project_writer)]
ContentWriter = Annotated[OnProject, Depends(content_writer)]
ProjectAdmin = Annotated[OnProject, Depends(project_admin)]

"""What a route may assume about its caller, as dependencies that run before anything of the request is read.

The order is fixed: credential (401), tenant (403), is there room (429), may it be seen (404), may it be done (403),
are the parameters known (422). Only then do body, preconditions and values matter, so that nothing can be learnt of
what the caller may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import Scope as Asgi

from satchel.auth.policy import Action, Decision, Verdict, decide, role_on
from satchel.auth.roles import Principal, Role
from satchel.catalog import audit, projects, settings
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.catalog.settings import TenantSettings
from satchel.errors import (
    InsufficientScope,
    InvalidInput,
    NoSuchProject,
    NoSuchThing,
    SignInNeeded,
    TenantSuspended,
)
from satchel.objects.ids import ProjectId, TenantId
from satchel.server.credentials import Checked
from satchel.server.edge import Exchange

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


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

    async def stands(self, s: Scope, action: Action, project: ProjectId | None = None) -> Principal:
        """Judge once more inside the transaction of a write: revocation, grants, tenant. The caller as it is now."""
        who = await self.cloud.authenticator.recheck(s, self.checked)
        require(decide(who, action, project))
        return who

    async def record(self, s: Scope, action: str, target: str, now: int) -> None:
        """Write into the audit of the scope's tenant that the caller did it, in the transaction of the deed."""
        exchange = self.exchange
        await audit.record(s, self.principal, action, target, audit.DONE, exchange.id, now, address=exchange.address)


@dataclass(frozen=True, slots=True)
class OnProject:
    """A caller who may see a project."""

    caller: Caller
    row: ProjectRow
    role: Role
    settings: TenantSettings | None = None
    """Of the tenant, where its content is to be written."""

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


def repeatable(endpoint: Endpoint) -> Endpoint:
    """Decorator: the answer follows from caller, address and catalog alone, and may be given again (see ``recall``)."""
    _repeatable.add(endpoint)
    return endpoint


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
    checked = exchange.checked
    if checked is None:
        checked = await authenticated(cloud, exchange, request.headers.get("authorization"), request.scope)
        await cloud.let_in(checked, exchange)
        exchange.checked = checked
    if exchange.repeated and exchange.stamp is None and request.scope["route"].endpoint in _repeatable:
        exchange.stamp = await cloud.catalog.stamp()
    return Caller(cloud, checked, exchange)


async def authenticated(
    cloud: Cloud, exchange: Exchange, authorization: str | None, scope: Asgi, *, mcp: bool = False
) -> Checked:
    """Who sends the request, as the log and the audit are to know it. Raises as ``Authenticator.check``, and
    ``TooManyRequests`` where its address sends too many that do not count."""
    try:
        checked = await cloud.authenticator.check(authorization, mcp=mcp, exchange=exchange)
    except (SignInNeeded, TenantSuspended) as error:
        text = (authorization or "").partition(" ")[2].strip()
        cloud.denials.key_refused(text, error.code, exchange, scope)
        if exchange.credential:  # else the edge has met it
            cloud.meet_stranger(exchange)
        raise
    exchange.tenant, exchange.principal = checked.principal.tenant, checked.principal.id
    cloud.denials.watch(exchange, checked.principal, scope)
    return checked


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
    """A writer of content, told at once, before any of it is taken, when the store is known not to answer, or the
    tenant's content may not rest there."""
    on = await project_writer(request, p)
    on.cloud.outage.require()
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        return replace(on, settings=await settings.check_storage(s, on.cloud.settings.store))


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
    """Refuse unknown query parameters by name, and known ones given twice. Raises ``InvalidInput``."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = _parameters.get(id(route))
    if known is None:
        known = _parameters[id(route)] = dict(_query_names(cast(APIRoute, route).dependant))
    seen = set[str]()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"there is no parameter {name[:60]!r} here; known: {allowed}")
        if name in seen and not known[name]:
            raise InvalidInput(f"the parameter {name!r} is given twice", field=name)
        seen.add(name)


def _query_names(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """The parameters, and whether each may be given several times."""
    yield from ((field.alias, "list[" in str(field.field_info.annotation)) for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_names(part)


_repeatable: set[Callable[..., object]] = set()
# By the identity of a route, which lives as long as the process.
_parameters: dict[int, dict[str, bool]] = {}

SignedIn = Annotated[Caller, Depends(signed_in)]
TenantAdmin = Annotated[Caller, Depends(tenant_admin)]
Operator = Annotated[Caller, Depends(operator)]
ProjectCreator = Annotated[Caller, Depends(project_creator)]
Reader = Annotated[OnProject, Depends(project_reader)]
Writer = Annotated[OnProject, Depends(project_writer)]
ContentWriter = Annotated[OnProject, Depends(content_writer)]
ProjectAdmin = Annotated[OnProject, Depends(project_admin)]

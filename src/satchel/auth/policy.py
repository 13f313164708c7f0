"""The one place where "may they?" is answered.

A decision is a value. ``ABSENT`` and a thing that does not exist must look the same to the caller; ``INSUFFICIENT`` is
for what the caller may see and not change, and names the role that would do.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from satchel.auth.roles import Principal, Role, TenantRole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from satchel.objects.ids import ProjectId


class Action(Enum):
    """What somebody wants to do. The ``PROJECT_`` actions but ``PROJECT_CREATE`` concern one project."""

    PROJECT_READ = "project.read"
    PROJECT_WRITE = "project.write"
    PROJECT_ADMIN = "project.admin"
    """Rename, archive, and grant roles on it."""
    PROJECT_CREATE = "project.create"
    TENANT_READ = "tenant.read"
    """Its name and state, and who one is in it."""
    TENANT_LEAVE = "tenant.leave"
    """End one's own membership."""
    TENANT_ADMIN = "tenant.admin"
    """Keys, members, usage, audit, settings."""
    OPERATE = "operate"
    """Create, suspend, resume and delete tenants; set quotas."""


class Verdict(Enum):
    ALLOW = "allow"
    ABSENT = "absent"
    INSUFFICIENT = "insufficient"


class Decision(NamedTuple):
    verdict: Verdict
    needs: str = ""
    """The role that would do, where the verdict is ``INSUFFICIENT``."""

    @property
    def allowed(self) -> bool:
        return self.verdict is Verdict.ALLOW


ALLOW = Decision(Verdict.ALLOW)
ABSENT = Decision(Verdict.ABSENT)

_NEEDED: Mapping[Action, Role] = {
    Action.PROJECT_READ: Role.READ,
    Action.PROJECT_WRITE: Role.WRITE,
    Action.PROJECT_ADMIN: Role.ADMIN,
}


def role_on(principal: Principal, project: ProjectId) -> Role | None:
    """The role a principal has on a project after every cap, or ``None``: then the project looks absent to it."""
    roles = [role for role in (principal.all_projects, principal.grants.get(project)) if role is not None]
    if principal.tenant_role >= TenantRole.ADMIN:
        roles.append(Role.ADMIN)
    if not roles:
        return None
    best = max(roles)
    return best if principal.scope is None else min(best, principal.scope)


def reads_everything(principal: Principal) -> bool:
    """Whether every project of the tenant is readable, so that a list needs no filter by grants."""
    return principal.all_projects is not None or principal.tenant_role >= TenantRole.ADMIN


def writes_somewhere(principal: Principal) -> bool:
    """Whether there can be a project that the principal may write to, after every cap."""
    roles = [role for role in (principal.all_projects, *principal.grants.values()) if role is not None]
    able = principal.tenant_role >= TenantRole.ADMIN or max(roles, default=Role.READ) >= Role.WRITE
    return able and (principal.scope is None or principal.scope >= Role.WRITE)


def decide(principal: Principal, action: Action, project: ProjectId | None = None) -> Decision:
    """Whether ``principal`` may do ``action``, to ``project`` where the action concerns one.

    The project is taken to be of the principal's own tenant: it was found through the tenant's scope. Suspension and
    quotas are not judged here.
    """
    match action:
        case Action.PROJECT_READ | Action.PROJECT_WRITE | Action.PROJECT_ADMIN:
            if project is None:
                raise ValueError(f"{action.value} concerns one project")
            role = role_on(principal, project)
            if role is None:
                return ABSENT
            return ALLOW if role >= _NEEDED[action] else _insufficient(_NEEDED[action].value)
        case Action.PROJECT_CREATE:
            wide = principal.all_projects is not None and principal.all_projects >= Role.WRITE
            capped = principal.scope is not None and principal.scope < Role.WRITE
            able = (wide or principal.tenant_role >= TenantRole.ADMIN) and not capped
            return ALLOW if able else _insufficient("write on all projects")
        case Action.TENANT_READ:
            return ALLOW
        case Action.TENANT_LEAVE:
            return ALLOW if _uncapped(principal) else _insufficient(Role.ADMIN.value)
        case Action.TENANT_ADMIN:
            able = principal.tenant_role >= TenantRole.ADMIN and _uncapped(principal)
            return ALLOW if able else _insufficient("admin of the tenant")
        case Action.OPERATE:
            return ALLOW if principal.operator and _uncapped(principal) else ABSENT


def _uncapped(principal: Principal) -> bool:
    return principal.scope is None or principal.scope is Role.ADMIN


def _insufficient(needs: str) -> Decision:
    return Decision(Verdict.INSUFFICIENT, needs)

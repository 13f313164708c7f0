"""Roles of principals on single projects, the finest grain of access."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from satchel.auth.roles import Role
from satchel.catalog import principals
from satchel.catalog.schema import TENANT, access_grant, mine, principal
from satchel.catalog.scope import Record, Scope
from satchel.errors import NoSuchThing
from satchel.objects.ids import PrincipalId, ProjectId


class GrantRow(NamedTuple):
    project: ProjectId
    principal_id: PrincipalId
    name: str
    kind: str
    role: Role
    created: int


_ALL = (
    select(
        access_grant.c.project_id,
        access_grant.c.principal_id,
        principal.c.name,
        principal.c.kind,
        access_grant.c.role,
        access_grant.c.created,
    )
    .select_from(
        access_grant.join(principal, and_(mine(principal), principal.c.principal_id == access_grant.c.principal_id))
    )
    .where(mine(access_grant), principal.c.revoked.is_(None))
)
_OF_PROJECT = (
    _ALL.where(access_grant.c.project_id == bindparam("project"))
    .where(access_grant.c.principal_id > bindparam("after"))
    .order_by(access_grant.c.principal_id)
    .limit(bindparam("limit"))
)
_OF_PRINCIPAL = _ALL.where(access_grant.c.principal_id == bindparam("principal")).order_by(access_grant.c.project_id)
_INSERT = insert(access_grant).values(tenant_id=TENANT)
_THIS = (
    mine(access_grant),
    access_grant.c.project_id == bindparam("of_project"),
    access_grant.c.principal_id == bindparam("of_principal"),
)
_GET = select(access_grant.c.role).where(*_THIS)
_SET = update(access_grant).where(*_THIS).values(role=bindparam("to_role"))
_DROP = delete(access_grant).where(*_THIS)


async def give(s: Scope, project: ProjectId, principal_id: str, role: Role, now: int) -> bool:
    """Give a principal a role on a project, in place of one it has; False if it has that one already.

    The caller has found the project. Raises ``NoSuchThing`` for an unknown principal.
    """
    who = await principals.get(s, principal_id)
    if who is None or who.revoked is not None:
        raise NoSuchThing("there is no such member or key")
    this = {"of_project": project, "of_principal": principal_id}
    has = await s.row(_GET, this)
    if has is not None and has.role == role.value:
        return False
    s.announce()
    if has is None:
        values = {"project_id": project, "principal_id": principal_id, "role": role.value, "created": now}
        await s.execute(_INSERT, values)
    else:
        await s.execute(_SET, {**this, "to_role": role.value})
    return True


async def take(s: Scope, project: ProjectId, principal_id: str) -> bool:
    """Take a grant back; False if there was none."""
    s.announce()
    return await s.execute(_DROP, {"of_project": project, "of_principal": principal_id}) == 1


async def of_project(s: Scope, project: ProjectId, after: str = "", limit: int = 100) -> list[GrantRow]:
    """Who has a role on a project by a grant of its own, by principal id."""
    rows = await s.rows(_OF_PROJECT, {"project": project, "after": after, "limit": limit})
    return [_row(row) for row in rows]


async def of_principal(s: Scope, principal_id: str) -> list[GrantRow]:
    """The grants of one principal, by project id."""
    rows = await s.rows(_OF_PRINCIPAL, {"principal": principal_id})
    return [_row(row) for row in rows]


def _row(row: Record) -> GrantRow:
    project, principal_id, name, kind, role, created = row
    return GrantRow(project, principal_id, name, kind, Role(role), created)

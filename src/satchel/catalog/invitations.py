"""Invitations: a secret that lets whoever has it become a member, of the tenant alone or with a role on one project.

Only its keyed hash is kept. It counts until its time is over, its uses are used up, or it is revoked; each use is
counted in the transaction that brings somebody in.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from satchel.auth.keys import SECRET_BYTES, key_mac, make_invite
from satchel.auth.roles import Role, TenantRole
from satchel.catalog.members import Place
from satchel.catalog.schema import TENANT, invitation, mine
from satchel.catalog.scope import Record, Scope
from satchel.errors import LimitReached, NotFound
from satchel.objects.ids import ProjectId, new_id

MAX_OPEN = 1_000
"""Invitations of a tenant that count at a time."""
DAY_MS = 24 * 60 * 60 * 1000
KEPT_MS = 30 * DAY_MS
"""How long one that is over stays in the list."""


class InvitationOver(NotFound):
    """Unknown, or genuine and over; which of them is told to who has the genuine secret alone."""

    code = "invitation.invalid"
    default_hint = "Ask whoever sent it for a new one."


class InvitationsFull(LimitReached):
    code = "invitation.too_many"
    default_hint = "Revoke some that are not needed:  satchel share --list, satchel tenant invite --list"


class InvitationRow(NamedTuple):
    id: str
    place: Place
    created_by: str
    """Id of the principal that made it."""
    created: int
    expires: int
    uses_limit: int
    uses: int
    revoked: int | None

    def state(self, now: int) -> str:
        """``open`` while it counts, else why it does not."""
        if self.revoked is not None:
            return "revoked"
        if self.expires <= now:
            return "expired"
        return "open" if self.uses < self.uses_limit else "used up"


_COLUMNS = [
    invitation.c[name]
    for name in (
        *("invitation_id", "tenant_role", "project_id", "role", "created_by", "created", "expires", "uses_limit"),
        *("uses", "revoked", "mac"),
    )
]
_THIS = (mine(invitation), invitation.c.invitation_id == bindparam("of_invitation"))
_GET = select(*_COLUMNS).where(*_THIS)
_LIST = (
    select(*_COLUMNS)
    .where(mine(invitation), invitation.c.invitation_id > bindparam("after"))
    .order_by(invitation.c.invitation_id)
    .limit(bindparam("limit"))
)
_LIST_OF_PROJECT = _LIST.where(invitation.c.project_id == bindparam("project"))
_COUNTS = (
    invitation.c.revoked.is_(None),
    invitation.c.expires > bindparam("now"),
    invitation.c.uses < invitation.c.uses_limit,
)
_OPEN = select(func.count(invitation.c.invitation_id)).where(mine(invitation), *_COUNTS)
_INSERT = insert(invitation).values(tenant_id=TENANT)
_USE = update(invitation).where(*_THIS, *_COUNTS).values(uses=invitation.c.uses + 1)
_REVOKE = update(invitation).where(*_THIS, invitation.c.revoked.is_(None)).values(revoked=bindparam("at"))
_FORGET = delete(invitation).where(
    mine(invitation), or_(invitation.c.expires <= bindparam("before"), invitation.c.revoked <= bindparam("before"))
)


async def create(
    s: Scope, *, pepper: bytes, place: Place, created_by: str, now: int, expires: int, uses: int
) -> tuple[InvitationRow, str]:
    """Make an invitation (``inv_…``); returns it and its text, which is shown once and stored nowhere.

    Raises ``InvitationsFull``.
    """
    opened = await s.row(_OPEN, {"now": now})
    if opened is not None and opened[0] >= MAX_OPEN:
        raise InvitationsFull(f"the tenant has {MAX_OPEN:,} invitations that count, and no more at a time")
    row = InvitationRow(new_id("inv", s.random(16)), place, created_by, now, expires, uses, 0, None)
    text = make_invite(s.tenant, row.id, s.random(SECRET_BYTES))
    values = {
        "invitation_id": row.id,
        "mac": key_mac(pepper, text),
        "tenant_role": place.tenant_role.value,
        "project_id": place.project,
        "role": None if place.role is None else place.role.value,
        "created_by": created_by,
        "created": now,
        "expires": expires,
        "uses_limit": uses,
        "uses": 0,
    }
    await s.execute(_INSERT, values)
    return row, text


async def find(s: Scope, invitation_id: str, mac: bytes, now: int, *, used_up: bool = False) -> InvitationRow:
    """The invitation whose text has this keyed hash, if it counts; with ``used_up`` one without uses left too.

    Raises ``InvitationOver``.
    """
    row = await s.row(_GET, {"of_invitation": invitation_id})
    if row is None or not hmac.compare_digest(row.mac, mac):
        raise InvitationOver("there is no such invitation")
    found = _row(row)
    if found.revoked is not None:
        raise InvitationOver("the invitation was revoked")
    if found.expires <= now:
        raise InvitationOver("the invitation's time is over")
    if found.uses >= found.uses_limit and not used_up:
        raise InvitationOver("the invitation was used as often as it may be")
    return found


async def use(s: Scope, invitation_id: str, now: int) -> None:
    """Count one use. Raises ``InvitationOver`` where it counts no more: somebody else was faster."""
    if await s.execute(_USE, {"of_invitation": invitation_id, "now": now}) != 1:
        raise InvitationOver("the invitation was used as often as it may be")


async def get(s: Scope, invitation_id: str) -> InvitationRow | None:
    """An invitation, one that is over too, or None."""
    row = await s.row(_GET, {"of_invitation": invitation_id})
    return None if row is None else _row(row)


async def list_(s: Scope, project: ProjectId | None, after: str, limit: int) -> list[InvitationRow]:
    """Invitations to a project, or all of the tenant's, by id; those that are over lately too."""
    params = {"after": after, "limit": limit}
    if project is None:
        return [_row(row) for row in await s.rows(_LIST, params)]
    return [_row(row) for row in await s.rows(_LIST_OF_PROJECT, {**params, "project": project})]


async def revoke(s: Scope, invitation_id: str, now: int) -> bool:
    """Let an invitation count no more; False if it was revoked before."""
    return await s.execute(_REVOKE, {"of_invitation": invitation_id, "at": now}) == 1


async def expire(s: Scope, now: int) -> None:
    """Forget invitations that have been over for long."""
    await s.execute(_FORGET, {"before": now - KEPT_MS})


def _row(row: Record) -> InvitationRow:
    id_, tenant_role, project, role, created_by, created, expires, limit, uses, revoked, _mac = row
    place = Place(
        TenantRole(tenant_role),
        None if project is None else ProjectId(project),
        None if role is None else Role(role),
    )
    return InvitationRow(id_, place, created_by, created, expires, limit, uses, revoked)

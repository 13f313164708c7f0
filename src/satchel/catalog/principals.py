"""Who may act in a tenant: its members and its API keys, and what was granted to each."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import FromClause, Join, and_, bindparam, func, insert, or_, select, update

from satchel.auth.keys import SECRET_BYTES, key_mac, make_key
from satchel.auth.roles import Principal, Role, TenantRole
from satchel.catalog import quotas, sessions
from satchel.catalog.schema import TENANT, access_grant, mine, operator, principal
from satchel.catalog.scope import Record, Scope
from satchel.errors import Conflict
from satchel.objects.ids import PrincipalId, ProjectId, new_id

USED_WITHIN_MS = 60 * 60 * 1000
"""How exactly it is known when a key was last used: to the hour."""
MEMBER = "member"
KEY = "key"


class LastOwner(Conflict):
    code = "tenant.last_owner"
    default_hint = "Make another member or key an owner of the tenant first."


class PrincipalRow(NamedTuple):
    """A member or a key as an admin sees it."""

    id: PrincipalId
    kind: str
    name: str
    tenant_role: TenantRole
    all_projects: Role | None
    cap: Role | None
    email: str | None
    created_by: str | None
    created: int
    expires: int | None
    revoked: int | None
    requests_limit: int | None = None
    """Requests a minute; None says nothing of its own."""
    before_until: int | None = None
    """How long the secret counts that was replaced last."""
    used: int | None = None
    """When it was last used, rounded down to ``USED_WITHIN_MS``; None: never, or not in its first half minute."""


_ROW_COLUMNS = [principal.c.principal_id, *(principal.c[name] for name in PrincipalRow._fields[1:])]
_THIS = principal.c.principal_id == bindparam("principal")
RESOLVED = (
    principal.c.name,
    principal.c.kind,
    principal.c.tenant_role,
    principal.c.all_projects,
    principal.c.cap,
    principal.c.expires,
    principal.c.requests_limit,
    operator.c.principal_id.label("operates"),
    access_grant.c.project_id,
    access_grant.c.role,
)
"""What ``principal_of`` reads, from what ``resolving`` joins."""


def resolving(start: FromClause) -> Join:
    """``start``, which holds principals, with what says whether each is an operator and what was granted to it."""
    return start.outerjoin(
        operator, and_(mine(operator), operator.c.principal_id == principal.c.principal_id)
    ).outerjoin(access_grant, and_(mine(access_grant), access_grant.c.principal_id == principal.c.principal_id))


_RESOLVE = (
    select(*RESOLVED).select_from(resolving(principal)).where(mine(principal), _THIS, principal.c.revoked.is_(None))
)
_HOLDER = select(principal.c.name, principal.c.kind, principal.c.mac, principal.c.mac_before).where(
    mine(principal), _THIS
)
_GET = select(*_ROW_COLUMNS).where(mine(principal), _THIS)
_LIST = (
    select(*_ROW_COLUMNS)
    .where(mine(principal), principal.c.kind == bindparam("kind"), principal.c.principal_id > bindparam("after"))
    .order_by(principal.c.principal_id)
    .limit(bindparam("limit"))
)
_LIST_STANDING = _LIST.where(principal.c.revoked.is_(None))
_INSERT = insert(principal).values(tenant_id=TENANT)
_INSERT_GRANT = insert(access_grant).values(tenant_id=TENANT)
_REVOKE = (
    update(principal)
    .where(mine(principal), principal.c.principal_id == bindparam("of_principal"), principal.c.revoked.is_(None))
    .values(revoked=bindparam("at"))
)
_REPLACE = (
    update(principal)
    .where(mine(principal), principal.c.principal_id == bindparam("of_principal"), principal.c.revoked.is_(None))
    .values(mac=bindparam("new"), mac_before=None, before_until=bindparam("until"), expires=bindparam("ends"))
)
_REROLL = _REPLACE.values(mac_before=principal.c.mac)
_NOTE_USED = (
    update(principal)
    .where(mine(principal), principal.c.principal_id == bindparam("of_principal"))
    .where(or_(principal.c.used.is_(None), principal.c.used < bindparam("at")))
    .values(used=bindparam("at"))
)
_NEVER = 2**62
_OTHER_OWNERS = select(func.count(principal.c.principal_id)).where(
    mine(principal),
    principal.c.tenant_role == TenantRole.OWNER.value,
    principal.c.principal_id != bindparam("principal"),
    principal.c.revoked.is_(None),
    or_(
        principal.c.expires.is_(None),
        and_(principal.c.expires > bindparam("now"), principal.c.expires >= bindparam("ends")),
    ),
)
_SET_ROLE = (
    update(principal)
    .where(mine(principal), principal.c.principal_id == bindparam("of_principal"), principal.c.revoked.is_(None))
    .values(tenant_role=bindparam("to_role"))
)


async def resolve(s: Scope, principal_id: str, now: int | None = None) -> Principal | None:
    """Who this is and what was granted to it, in one read; None for one unknown or revoked, or expired at ``now``.

    Without ``now`` expiry is not judged: a token's was, when its request began.
    """
    rows = await s.rows(_RESOLVE, {"principal": principal_id})
    if not rows or (now is not None and _expired(rows[0].expires, now)):
        return None
    return principal_of(s, principal_id, rows)


async def holder(s: Scope, key_id: str, mac: bytes) -> Principal | None:
    """Whose the API key with this keyed hash is or was, replaced, revoked and expired ones too; it gives no right to
    anything."""
    row = await s.row(_HOLDER, {"principal": key_id})
    known = () if row is None else (row.mac, row.mac_before)
    if row is None or not any(one is not None and hmac.compare_digest(one, mac) for one in known):
        return None
    return Principal(s.tenant, PrincipalId(key_id), row.name, row.kind)


async def issue_key(
    s: Scope,
    *,
    pepper: bytes,
    name: str,
    now: int,
    tenant_role: TenantRole = TenantRole.MEMBER,
    all_projects: Role | None = None,
    grants: Mapping[ProjectId, Role] | None = None,
    cap: Role | None = None,
    created_by: str | None = None,
    expires: int | None = None,
    requests: int | None = None,
) -> tuple[PrincipalRow, str]:
    """Make an API key; returns its row and its text, which is shown once and stored nowhere.

    The caller has checked that the projects exist. Raises ``QuotaReached``.
    """
    await quotas.check_count(s, "keys", now)
    key_id = PrincipalId(new_id("key", s.random(16)))
    text = make_key(s.tenant, key_id, s.random(SECRET_BYTES))
    row = PrincipalRow(
        key_id, KEY, name, tenant_role, all_projects, cap, None, created_by, now, expires, None, requests
    )
    await add(s, row, mac=key_mac(pepper, text))
    columns = ("project_id", "principal_id", "role", "created")
    values = [(project, key_id, role.value, now) for project, role in (grants or {}).items()]
    await s.execute_many(_INSERT_GRANT, columns, values)
    return row, text


async def reroll_key(
    s: Scope, row: PrincipalRow, *, pepper: bytes, now: int, grace_ms: int, expires: int | None = None
) -> tuple[PrincipalRow, str]:
    """Give an API key a new secret; returns its row and its new text, which is shown once and stored nowhere.

    The secret before counts for ``grace_ms`` more, but never longer than it would have; the one before that counts no
    more, and with it every token of the key, since none says by which secret it was made. ``expires`` is a new end for
    the key, which otherwise keeps its own.
    """
    text = make_key(s.tenant, row.id, s.random(SECRET_BYTES))
    third = row.before_until is not None and row.before_until > now
    until = now + grace_ms if row.expires is None else min(now + grace_ms, row.expires)
    row = row._replace(expires=expires or row.expires, before_until=until if until > now else None)
    given = {"of_principal": row.id, "new": key_mac(pepper, text), "until": row.before_until, "ends": row.expires}
    s.announce()
    await s.execute(_REROLL if row.before_until is not None else _REPLACE, given)
    if third or row.before_until is None:  # those of one with a time of grace end with it
        await sessions.revoke_tokens_of(s, row.id, now)
    return row, text


async def note_used(s: Scope, key_id: str, at: int) -> None:
    """Write down that an API key was used; ``at`` is coarse, and an earlier time changes nothing."""
    await s.execute(_NOTE_USED, {"of_principal": key_id, "at": at})


async def add(s: Scope, row: PrincipalRow, *, mac: bytes | None = None, person_id: str | None = None) -> None:
    """Insert a principal as it is; `issue_key` and `members.add` are the ways to call."""
    values = row._asdict()
    del values["id"]
    values |= {
        "principal_id": row.id,
        "tenant_role": row.tenant_role.value,
        "all_projects": None if row.all_projects is None else row.all_projects.value,
        "cap": None if row.cap is None else row.cap.value,
        "mac": mac,
        "person_id": person_id,
    }
    await s.execute(_INSERT, values)


async def get(s: Scope, principal_id: str) -> PrincipalRow | None:
    """A member or key, revoked ones too, or None."""
    row = await s.row(_GET, {"principal": principal_id})
    return None if row is None else _row(row)


async def list_(s: Scope, kind: str, after: str = "", limit: int = 100, *, revoked: bool = False) -> list[PrincipalRow]:
    """Principals of ``kind`` (``member`` or ``key``) after the id ``after``, by id; with ``revoked`` those too."""
    rows = await s.rows(_LIST if revoked else _LIST_STANDING, {"kind": kind, "after": after, "limit": limit})
    return [_row(row) for row in rows]


async def revoke(s: Scope, principal_id: str, now: int) -> bool:
    """End a principal and its sessions; False if there is none that still counts.

    Raises ``LastOwner`` when the tenant would be left without an owner.
    """
    await _keep_an_owner(s, principal_id, now)
    s.announce()
    await sessions.revoke_all(s, principal_id, now)
    return await s.execute(_REVOKE, {"of_principal": principal_id, "at": now}) == 1


async def set_tenant_role(s: Scope, principal_id: str, role: TenantRole, now: int) -> bool:
    """Change what a principal is in the tenant; False if there is none that still counts. Raises ``LastOwner``."""
    if role is not TenantRole.OWNER:
        await _keep_an_owner(s, principal_id, now)
    s.announce()
    return await s.execute(_SET_ROLE, {"of_principal": principal_id, "to_role": role.value}) == 1


async def _keep_an_owner(s: Scope, principal_id: str, now: int) -> None:
    """Raises ``LastOwner`` unless there is another who is one for at least as long."""
    row = await get(s, principal_id)
    if row is None or row.tenant_role is not TenantRole.OWNER or row.revoked is not None:
        return
    others = await s.row(_OTHER_OWNERS, {"principal": principal_id, "now": now, "ends": row.expires or _NEVER})
    if others is None or others[0] == 0:
        raise LastOwner("this is the last owner of the tenant, but for keys that end sooner")


def _expired(expires: int | None, now: int) -> bool:
    return expires is not None and expires <= now


def _role(text: str | None) -> Role | None:
    return None if text is None else Role(text)


def _row(row: Record) -> PrincipalRow:
    raw = PrincipalRow._make(row)
    return raw._replace(tenant_role=TenantRole(row[3]), all_projects=_role(row[4]), cap=_role(row[5]))


def principal_of(s: Scope, principal_id: str, rows: Sequence[Record]) -> Principal:
    """A principal from its rows, one for each grant, of at least the columns ``RESOLVED``."""
    first = rows[0]
    return Principal(
        tenant=s.tenant,
        id=PrincipalId(principal_id),
        name=first.name,
        kind=first.kind,
        tenant_role=TenantRole(first.tenant_role),
        grants={ProjectId(row.project_id): Role(row.role) for row in rows if row.project_id is not None},
        all_projects=_role(first.all_projects),
        scope=_role(first.cap),
        operator=first.operates is not None,
        expires=first.expires,
        requests=first.requests_limit,
    )

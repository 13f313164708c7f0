"""What OAuth keeps: clients that registered themselves, authorization codes, and logins begun on a device.

Codes belong to the tenant they were given for. A client belongs to nobody, and a device login to nobody until a person
has approved it: both are in the directory. Of codes and device codes only keyed hashes are stored.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, update

from satchel.auth.roles import Role
from satchel.catalog.schema import TENANT, device_login, mine, oauth_client, oauth_code, refresh_family
from satchel.catalog.scope import Directory, Record, Scope
from satchel.objects.ids import PrincipalId, TenantId

CODE_LIFETIME_MS = 60 * 1000
CODE_KEPT_MS = 24 * 60 * 60 * 1000
"""How long a code is remembered after its time, so that one that comes again is known for what it is."""
DEVICE_LIFETIME_MS = 10 * 60 * 1000
DEVICE_INTERVAL_MS = 5 * 1000
PENDING, APPROVED, DENIED, USED = "pending", "approved", "denied", "used"


class ClientRow(NamedTuple):
    """A client that registered itself."""

    id: str
    name: str
    redirects: tuple[str, ...]
    created: int
    used: int | None
    """When somebody last allowed it something, to the day."""


class CodeRow(NamedTuple):
    """What a code was given for."""

    id: str
    principal_id: PrincipalId
    client_id: str
    redirect: str
    challenge: str
    scope: Role
    audience: str
    expires: int
    used: int | None = None
    """When it was taken before, None for a code that comes for the first time."""
    family: str | None = None
    """The session that was begun with it."""


class DeviceRow(NamedTuple):
    """A login begun on a device."""

    client_id: str
    scope: Role
    audience: str
    expires: int
    interval_ms: int
    """The least time between two questions of the device."""
    polled: int | None
    state: str
    tenant: str | None
    principal_id: str | None


_CLIENT_COLUMNS = [oauth_client.c.client_id, *(oauth_client.c[name] for name in ClientRow._fields[1:])]
_ADD_CLIENT = insert(oauth_client)
_CLIENT = select(*_CLIENT_COLUMNS).where(oauth_client.c.client_id == bindparam("of_client"))
_COUNT_CLIENTS = select(func.count(oauth_client.c.client_id))
_TOUCH_CLIENT = (
    update(oauth_client)
    .where(oauth_client.c.client_id == bindparam("of_client"))
    .where(or_(oauth_client.c.used.is_(None), oauth_client.c.used < bindparam("before")))
    .values(used=bindparam("at"))
)
_EXPIRE_CLIENTS = delete(oauth_client).where(
    or_(
        and_(oauth_client.c.used.is_(None), oauth_client.c.created < bindparam("unused_since")),
        oauth_client.c.used < bindparam("idle_since"),
    )
)
_OLDEST_UNUSED = (
    select(oauth_client.c.client_id)
    .where(oauth_client.c.used.is_(None), oauth_client.c.created < bindparam("before"))
    .order_by(oauth_client.c.created)
    .limit(1)
)
_DROP_CLIENT = delete(oauth_client).where(oauth_client.c.client_id == bindparam("of_client"))

_THIS_CODE = and_(mine(oauth_code), oauth_code.c.code_id == bindparam("of_code"))
_ADD_CODE = insert(oauth_code).values(tenant_id=TENANT)
_EXPIRE_CODES = delete(oauth_code).where(mine(oauth_code), oauth_code.c.expires < bindparam("before"))
_CODE = (
    select(
        oauth_code.c.code_id,
        oauth_code.c.principal_id,
        oauth_code.c.client_id,
        oauth_code.c.redirect,
        oauth_code.c.challenge,
        oauth_code.c.scope,
        oauth_code.c.resource,
        oauth_code.c.expires,
        oauth_code.c.used,
        oauth_code.c.family_id,
    )
    .where(_THIS_CODE, oauth_code.c.mac == bindparam("of_mac"))
    .with_for_update()
)
_USE_CODE = update(oauth_code).where(_THIS_CODE).values(used=bindparam("at"))
_USE_CODES = (
    update(oauth_code)
    .where(mine(oauth_code), oauth_code.c.principal_id == bindparam("of_principal"), oauth_code.c.used.is_(None))
    .values(used=bindparam("at"))
)
_TIE_CODE = update(oauth_code).where(_THIS_CODE).values(family_id=bindparam("to_family"))

_SESSIONS = (
    select(
        refresh_family.c.family_id,
        refresh_family.c.client_id,
        refresh_family.c.scope,
        refresh_family.c.audience,
        refresh_family.c.created,
        refresh_family.c.expires,
    )
    .where(
        mine(refresh_family),
        refresh_family.c.principal_id == bindparam("principal"),
        refresh_family.c.revoked.is_(None),
        refresh_family.c.expires > bindparam("now"),
    )
    .order_by(refresh_family.c.created.desc(), refresh_family.c.family_id)
    .limit(bindparam("limit"))
)

_DEVICE_COLUMNS = [
    device_login.c.client_id,
    device_login.c.scope,
    device_login.c.resource,
    device_login.c.expires,
    device_login.c.interval_ms,
    device_login.c.polled,
    device_login.c.state,
    device_login.c.tenant_id,
    device_login.c.principal_id,
]
_ADD_DEVICE = insert(device_login)
_EXPIRE_DEVICES = delete(device_login).where(device_login.c.expires < bindparam("before"))
_COUNT_DEVICES = select(func.count(device_login.c.device_mac))
_BY_USER_CODE = select(*_DEVICE_COLUMNS).where(
    device_login.c.user_mac == bindparam("of_user"),
    device_login.c.state == PENDING,
    device_login.c.expires > bindparam("now"),
)
_BY_DEVICE_CODE = select(*_DEVICE_COLUMNS).where(device_login.c.device_mac == bindparam("of_device")).with_for_update()
_DECIDE = (
    update(device_login)
    .where(
        device_login.c.user_mac == bindparam("of_user"),
        device_login.c.state == PENDING,
        device_login.c.expires > bindparam("now"),
    )
    .values(state=bindparam("to_state"), tenant_id=bindparam("to_tenant"), principal_id=bindparam("to_principal"))
)
_DENY_APPROVED = (
    update(device_login)
    .where(
        device_login.c.tenant_id == bindparam("of_tenant"),
        device_login.c.principal_id == bindparam("of_principal"),
        device_login.c.state == APPROVED,
    )
    .values(state=DENIED)
)
_POLLED = (
    update(device_login)
    .where(device_login.c.device_mac == bindparam("of_device"))
    .values(polled=bindparam("at"), interval_ms=bindparam("to_interval"), state=bindparam("to_state"))
)


# Clients -------------------------------------------------------------------------------------------------------------


async def add_client(d: Directory, row: ClientRow, *, most: int, spare_ms: int) -> bool:
    """Keep a new client; False where there are ``most`` already, none of which may make room.

    The oldest that nobody ever allowed anything makes room, once it is older than ``spare_ms``.
    """
    counted = await d.row(_COUNT_CLIENTS)
    if counted is not None and counted[0] >= most:
        oldest = await d.row(_OLDEST_UNUSED, {"before": row.created - spare_ms})
        if oldest is None:
            return False
        await d.execute(_DROP_CLIENT, {"of_client": oldest[0]})
    values = {"client_id": row.id, "name": row.name, "redirects": json.dumps(row.redirects), "created": row.created}
    await d.execute(_ADD_CLIENT, values)
    return True


async def client(d: Directory, id: str) -> ClientRow | None:  # noqa: A002
    """A client that registered itself, or None."""
    row = await d.row(_CLIENT, {"of_client": id})
    return None if row is None else ClientRow._make(row)._replace(redirects=tuple(json.loads(row.redirects)))


async def touch_client(d: Directory, id: str, now: int, day_ms: int) -> None:  # noqa: A002
    """Note that somebody allowed a client something."""
    await d.execute(_TOUCH_CLIENT, {"of_client": id, "before": now - day_ms, "at": now})


async def expire_clients(d: Directory, *, unused_since: int, idle_since: int) -> int:
    """Forget clients that nobody allowed anything, and those not used for long; returns how many."""
    return await d.execute(_EXPIRE_CLIENTS, {"unused_since": unused_since, "idle_since": idle_since})


# Codes ---------------------------------------------------------------------------------------------------------------


async def add_code(s: Scope, row: CodeRow, mac: bytes, now: int) -> None:
    """Keep a new code, and forget those long past their time."""
    await s.execute(_EXPIRE_CODES, {"before": now - CODE_KEPT_MS})
    values = {
        "code_id": row.id,
        "mac": mac,
        "principal_id": row.principal_id,
        "client_id": row.client_id,
        "redirect": row.redirect,
        "challenge": row.challenge,
        "scope": row.scope.value,
        "resource": row.audience,
        "expires": row.expires,
    }
    await s.execute(_ADD_CODE, values)


async def take_code(s: Scope, code_id: str, mac: bytes, now: int) -> CodeRow | None:
    """The code with this keyed hash, taken by this; None for none. ``used`` says whether it had been taken before."""
    row = await s.row(_CODE, {"of_code": code_id, "of_mac": mac})
    if row is None:
        return None
    if row.used is None:
        await s.execute(_USE_CODE, {"of_code": code_id, "at": now})
    return CodeRow._make(row)._replace(scope=Role(row.scope))


async def tie_code(s: Scope, code_id: str, family: str) -> None:
    """Note which session was begun with a code, to end it if the code comes again."""
    await s.execute(_TIE_CODE, {"of_code": code_id, "to_family": family})


class SessionRow(NamedTuple):
    """A session that goes on, as the person sees it whose it is."""

    family: str
    client_id: str | None
    """None for Satchel's own commands."""
    scope: Role | None
    audience: str | None
    created: int
    expires: int


async def sessions_of(s: Scope, principal_id: str, now: int, limit: int) -> list[SessionRow]:
    """The sessions of a principal that go on, newest first."""
    rows = await s.rows(_SESSIONS, {"principal": principal_id, "now": now, "limit": limit})
    return [SessionRow._make(row)._replace(scope=None if row.scope is None else Role(row.scope)) for row in rows]


# Devices -------------------------------------------------------------------------------------------------------------


async def start_device(
    d: Directory,
    *,
    device_mac: bytes,
    user_mac: bytes,
    client_id: str,
    scope: Role,
    audience: str,
    now: int,
    most: int,
) -> bool:
    """Begin a login, and forget those that are over; False where ``most`` are under way."""
    await d.execute(_EXPIRE_DEVICES, {"before": now - DEVICE_LIFETIME_MS})
    counted = await d.row(_COUNT_DEVICES)
    if counted is not None and counted[0] >= most:
        return False
    values = {
        "device_mac": device_mac,
        "user_mac": user_mac,
        "client_id": client_id,
        "scope": scope.value,
        "resource": audience,
        "created": now,
        "expires": now + DEVICE_LIFETIME_MS,
        "interval_ms": DEVICE_INTERVAL_MS,
        "state": PENDING,
    }
    await d.execute(_ADD_DEVICE, values)
    return True


async def device_of(d: Directory, user_mac: bytes, now: int) -> DeviceRow | None:
    """The login that waits under a user code, or None."""
    row = await d.row(_BY_USER_CODE, {"of_user": user_mac, "now": now})
    return None if row is None else _device(row)


async def decide_device(
    d: Directory, user_mac: bytes, now: int, *, tenant: str | None = None, principal_id: str | None = None
) -> bool:
    """Approve a login for a member, or deny it where none is named; False if it does not wait any more."""
    state = DENIED if principal_id is None else APPROVED
    values = {"to_state": state, "to_tenant": tenant, "to_principal": principal_id}
    return await d.execute(_DECIDE, {"of_user": user_mac, "now": now, **values}) == 1


async def poll_device(d: Directory, device_mac: bytes, now: int) -> tuple[DeviceRow, bool] | None:
    """What a device is told, and whether it asked too soon; an approved login can be taken once."""
    row = await d.row(_BY_DEVICE_CODE, {"of_device": device_mac})
    if row is None:
        return None
    found = _device(row)
    # Of a clock that was put back nobody is to wait until it is there again.
    soon = found.polled is not None and 0 <= now - found.polled < found.interval_ms
    interval = found.interval_ms + DEVICE_INTERVAL_MS if soon else found.interval_ms
    state = USED if found.state == APPROVED and not soon else found.state
    await d.execute(_POLLED, {"of_device": device_mac, "at": now, "to_interval": interval, "to_state": state})
    return found, soon


async def void(d: Directory, tenant: TenantId, principal_id: str, now: int) -> None:
    """Let no session begin by what a member allowed before: codes not redeemed, and logins of devices not taken."""
    await d.execute(_DENY_APPROVED, {"of_tenant": tenant, "of_principal": principal_id})
    await d.enter(tenant).execute(_USE_CODES, {"of_principal": principal_id, "at": now})


def _device(row: Record) -> DeviceRow:
    return DeviceRow._make(row)._replace(scope=Role(row.scope))

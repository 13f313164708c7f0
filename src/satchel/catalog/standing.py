"""Whether a credential counts, and for whom: everything that decides it, in one read.

Principal, grants, the operator's mark, the tenant's state and limit, the revocation of a token and of its session come
back together, so that a check that finds nothing remembered costs one query. A key that nobody has, a wrong secret and
a revoked key go the same way: the same query, the same two comparisons, the same words.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import and_, bindparam, select

from satchel.auth.roles import Principal
from satchel.catalog import sessions, tenants
from satchel.catalog.principals import RESOLVED, principal_of, resolving
from satchel.catalog.schema import mine, principal, refresh_family, revoked_token, tenant
from satchel.catalog.scope import Record, Scope
from satchel.errors import CredentialExpired, CredentialInvalid, NoSuchThing

_COLUMNS = (
    principal.c.mac,
    principal.c.mac_before,
    principal.c.before_until,
    principal.c.used,
    tenant.c.state,
    tenant.c.delete_at,
    tenant.c.requests_limit.label("tenant_requests"),
)
_KEY = (
    select(*RESOLVED, *_COLUMNS)
    .select_from(resolving(principal.join(tenant, mine(tenant))))
    .where(mine(principal), principal.c.principal_id == bindparam("principal"), principal.c.revoked.is_(None))
)
_TOKEN = (
    select(
        *RESOLVED,
        *_COLUMNS,
        revoked_token.c.jti,
        revoked_token.c.expires.label("revoked_until"),
        refresh_family.c.family_id,
        refresh_family.c.revoked,
    )
    .select_from(
        resolving(principal.join(tenant, mine(tenant)))
        # A row of the token itself, and one of its key, for all that were made with a secret of before.
        .outerjoin(
            revoked_token,
            and_(mine(revoked_token), revoked_token.c.jti.in_((bindparam("jti"), bindparam("key")))),
        )
        .outerjoin(refresh_family, and_(mine(refresh_family), refresh_family.c.family_id == bindparam("family")))
    )
    .where(mine(principal), principal.c.principal_id == bindparam("principal"), principal.c.revoked.is_(None))
)


class Standing(NamedTuple):
    """Somebody who counts."""

    principal: Principal
    requests: int
    """Requests a minute of its tenant; below 1: as many as come."""
    used: int | None
    """When it was last noted to be used (`uses`)."""


async def of_key(s: Scope, key_id: str, mac: bytes, now: int) -> Standing:
    """Who comes with the API key whose text has this keyed hash (``auth.keys.key_mac``).

    A secret that was replaced counts until its time of grace is over; the principal's ``expires`` says when the secret
    ends that was shown. Raises ``CredentialExpired`` for a genuine one past its time, ``TenantSuspended`` for a genuine
    one of a tenant that may not act, and ``CredentialInvalid``, always with the same message, for everything else.
    """
    rows = await s.rows(_KEY, {"principal": key_id})
    expires = _secret_ends(rows[0] if rows else None, mac, now)
    found = _standing(s, key_id, rows)
    return found._replace(principal=replace(found.principal, expires=expires))


async def of_token(s: Scope, principal_id: str, jti: str, family: str | None = None, issued: int = 0) -> Standing:
    """Who comes with a genuine access token, ``issued`` then; its expiry was judged when its request began.

    Raises ``CredentialInvalid`` for one revoked, alone, with its session or with the secret of a key that it was made
    by, and for a principal that does not count any more, and ``TenantSuspended``.
    """
    given = {"principal": principal_id, "jti": jti, "key": principal_id, "family": family}
    rows = await s.rows(_TOKEN, given)
    if not rows:
        raise CredentialInvalid("the credential does not count here")
    ended = family is not None and (rows[0].family_id is None or rows[0].revoked is not None)
    if ended or any(sessions.is_revoked(row.jti, row.revoked_until, jti, issued) for row in rows):
        raise CredentialInvalid("the credential was revoked")
    return _standing(s, principal_id, rows)


def _secret_ends(row: Record | None, mac: bytes, now: int) -> int | None:
    """When the secret with this keyed hash ceases to count; None: never. The same work whatever is wrong with it."""
    current, before = (None, None) if row is None else (row.mac, row.mac_before)
    nothing = bytes(len(mac))
    is_current = hmac.compare_digest(current or nothing, mac) and current is not None
    is_before = hmac.compare_digest(before or nothing, mac) and before is not None
    if row is None or not (is_current or is_before):
        raise CredentialInvalid("the API key is not valid here")
    ends: int | None = row.expires
    if is_current:
        if ends is not None and ends <= now:
            raise CredentialExpired("the API key has expired", hint="Ask an admin of the tenant for a new key.")
        return ends
    if row.before_until <= now:
        raise CredentialExpired(
            "this secret of the API key was replaced, and its time of grace is over",
            hint="Use the new secret, which an admin of the tenant got from `satchel key reroll`.",
        )
    return int(row.before_until) if ends is None else min(ends, row.before_until)


def _standing(s: Scope, principal_id: str, rows: Sequence[Record]) -> Standing:
    first = rows[0]
    try:
        tenants.require_active(first.state, first.delete_at)
    except NoSuchThing as error:
        raise CredentialInvalid("the credential does not count here") from error
    return Standing(principal_of(s, principal_id, rows), first.tenant_requests, first.used)

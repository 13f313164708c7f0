"""What outlives one request of a signed-in caller: refresh families, revoked tokens, and the keys that sign.

A family is one sign-in of a person on one device. Each refresh token is good once and brings the next; one that comes
a second time was copied, so its whole family ends. Only keyed hashes of refresh tokens are stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from satchel.catalog.schema import (
    TENANT,
    mine,
    principal,
    refresh_family,
    refresh_token,
    revoked_token,
    signing_key,
)
from satchel.catalog.scope import Catalog, Directory, Scope
from satchel.errors import CredentialExpired, CredentialInvalid
from satchel.objects.ids import PrincipalId, TenantId

FAMILY_LIFETIME_MS = 30 * 24 * 60 * 60 * 1000
"""A person signs in anew after thirty days, however often the session was refreshed."""


class SigningKeyRow(NamedTuple):
    kid: str
    public_jwk: dict[str, str]
    sealed: bytes
    """The private key, sealed by whoever stored it."""
    created: int
    retired: int | None
    """Since when it signs no more; it still verifies the tokens it signed."""


_INSERT_FAMILY = insert(refresh_family).values(tenant_id=TENANT)
_INSERT_TOKEN = insert(refresh_token).values(tenant_id=TENANT)
_TOKEN = (
    select(
        refresh_family.c.principal_id,
        refresh_family.c.expires,
        refresh_family.c.revoked,
        refresh_token.c.used,
        principal.c.revoked.label("principal_revoked"),
    )
    .select_from(
        refresh_token.join(
            refresh_family, and_(mine(refresh_family), refresh_family.c.family_id == refresh_token.c.family_id)
        ).join(principal, and_(mine(principal), principal.c.principal_id == refresh_family.c.principal_id))
    )
    .where(mine(refresh_token), refresh_token.c.family_id == bindparam("family"))
    .where(refresh_token.c.mac == bindparam("mac"))
    .with_for_update()
)
_USE_TOKEN = (
    update(refresh_token)
    .where(mine(refresh_token), refresh_token.c.family_id == bindparam("of_family"))
    .where(refresh_token.c.mac == bindparam("of_mac"))
    .values(used=bindparam("at"))
)
_REVOKE_FAMILY = (
    update(refresh_family)
    .where(mine(refresh_family), refresh_family.c.family_id == bindparam("of_family"))
    .where(refresh_family.c.revoked.is_(None))
    .values(revoked=bindparam("at"))
)
_INSERT_REVOKED = insert(revoked_token).values(tenant_id=TENANT)
_REVOKED = select(revoked_token.c.jti).where(mine(revoked_token), revoked_token.c.jti == bindparam("jti"))
_FAMILY_STATE = select(refresh_family.c.revoked).where(
    mine(refresh_family), refresh_family.c.family_id == bindparam("family")
)
_EXPIRE_REVOKED = delete(revoked_token).where(mine(revoked_token), revoked_token.c.expires <= bindparam("now"))
_EXPIRED_FAMILIES = select(refresh_family.c.family_id).where(
    mine(refresh_family), refresh_family.c.expires <= bindparam("now")
)
_EXPIRE_TOKENS = delete(refresh_token).where(mine(refresh_token), refresh_token.c.family_id.in_(_EXPIRED_FAMILIES))
_EXPIRE_FAMILIES = delete(refresh_family).where(mine(refresh_family), refresh_family.c.expires <= bindparam("now"))
_INSERT_KEY = insert(signing_key)
_KEYS = select(
    signing_key.c.kid, signing_key.c.public_jwk, signing_key.c.sealed, signing_key.c.created, signing_key.c.retired
).order_by(signing_key.c.created, signing_key.c.kid)
_RETIRE_KEY = (
    update(signing_key)
    .where(signing_key.c.kid == bindparam("of_kid"), signing_key.c.retired.is_(None))
    .values(retired=bindparam("at"))
)


async def start(s: Scope, *, family: str, principal_id: PrincipalId, mac: bytes, now: int) -> int:
    """Begin a family (``fam_…``) with the keyed hash of its first refresh token; returns when it ends."""
    expires = now + FAMILY_LIFETIME_MS
    values = {"family_id": family, "principal_id": principal_id, "created": now, "expires": expires}
    await s.execute(_INSERT_FAMILY, values)
    await s.execute(_INSERT_TOKEN, {"family_id": family, "mac": mac, "created": now})
    return expires


async def rotate(catalog: Catalog, tenant: TenantId, family: str, mac: bytes, next_mac: bytes, now: int) -> PrincipalId:
    """Exchange a refresh token for the next of its family; returns whose session it is.

    Raises ``CredentialInvalid`` for a token unknown, revoked or used before, and ``CredentialExpired`` for a family
    past its time. A token used before ends its family, which must not be rolled back with the refusal: therefore this
    opens a scope of its own.
    """
    async with catalog.write(tenant) as s:
        row = await s.row(_TOKEN, {"family": family, "mac": mac})
        good = row is not None and row.revoked is None and row.principal_revoked is None
        fresh = row is not None and row.used is None and row.expires > now
        if good and fresh:
            await s.execute(_USE_TOKEN, {"of_family": family, "of_mac": mac, "at": now})
            await s.execute(_INSERT_TOKEN, {"family_id": family, "mac": next_mac, "created": now})
        elif good and row is not None and row.used is not None:
            await revoke(s, family, now)
    if row is None or not good or row.used is not None:
        raise CredentialInvalid("the refresh token is not valid here")
    if not fresh:
        raise CredentialExpired("the session has ended", hint="Sign in again with `satchel login URL`.")
    return PrincipalId(row.principal_id)


async def revoke(s: Scope, family: str, now: int) -> bool:
    """End a family; False if there is none that still counts."""
    return await s.execute(_REVOKE_FAMILY, {"of_family": family, "at": now}) == 1


async def revoke_token(s: Scope, jti: str, expires: int) -> None:
    """Make an access token count no more before it expires by itself."""
    if await s.row(_REVOKED, {"jti": jti}) is None:
        await s.execute(_INSERT_REVOKED, {"jti": jti, "expires": expires})


async def is_revoked(s: Scope, jti: str, family: str | None = None) -> bool:
    """Whether an access token, or the session it came from, was revoked."""
    if await s.row(_REVOKED, {"jti": jti}) is not None:
        return True
    if family is None:
        return False
    row = await s.row(_FAMILY_STATE, {"family": family})
    return row is None or row.revoked is not None


async def expire(s: Scope, now: int) -> None:
    """Forget families and revoked tokens that are past their time."""
    await s.execute(_EXPIRE_TOKENS, {"now": now})
    await s.execute(_EXPIRE_FAMILIES, {"now": now})
    await s.execute(_EXPIRE_REVOKED, {"now": now})


async def add_signing_key(d: Directory, *, kid: str, public_jwk: Mapping[str, str], sealed: bytes, now: int) -> None:
    """Store a signing key; its private part comes sealed (``auth.tokens.SigningKey.seal``)."""
    shown = json.dumps(dict(public_jwk), sort_keys=True)
    await d.execute(_INSERT_KEY, {"kid": kid, "public_jwk": shown, "sealed": sealed, "created": now})


async def signing_keys(d: Directory) -> list[SigningKeyRow]:
    """All signing keys, oldest first; the newest not retired signs."""
    return [
        SigningKeyRow(row.kid, json.loads(row.public_jwk), row.sealed, row.created, row.retired)
        for row in await d.rows(_KEYS)
    ]


async def retire_signing_key(d: Directory, kid: str, now: int) -> bool:
    """Let a key sign no more; False if there is none that signs."""
    return await d.execute(_RETIRE_KEY, {"of_kid": kid, "at": now}) == 1

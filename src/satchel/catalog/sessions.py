"""What outlives one request of a signed-in caller: refresh families, and tokens that were revoked.

A family is one sign-in of a person on one device, or one consent given to an OAuth client, which it then names with the
cap on roles and the audience that were granted. Its refresh tokens are numbered: each brings the next, which is derived
from the family and its number, so that whoever asks again after a lost answer gets the same one, until that one is
first used. A token older than that was copied, and its whole family ends. Only keyed hashes of refresh tokens are
stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from satchel.auth.keys import RefreshParts, derive_refresh, key_mac, parse_refresh
from satchel.auth.roles import Role
from satchel.auth.tokens import TOKEN_LIFETIME_MS
from satchel.catalog.schema import (
    TENANT,
    mine,
    principal,
    refresh_family,
    refresh_token,
    revoked_token,
)
from satchel.catalog.scope import Catalog, Record, Scope
from satchel.errors import CredentialExpired, CredentialInvalid
from satchel.objects.ids import PrincipalId


class Family(NamedTuple):
    """A session, with all that the access tokens made for it depend on."""

    id: str
    """``fam_…``."""
    principal_id: PrincipalId
    expires: int
    """When the session ends whatever happens, in milliseconds UTC."""
    generation: int = 0
    """The number of the newest refresh token."""
    client_id: str | None = None
    """The OAuth client it was granted to; None for Satchel's own commands."""
    scope: Role | None = None
    """A cap on every role, beyond the principal's own."""
    audience: str | None = None
    """The resource its access tokens are for; None for the whole server."""


Note = Callable[[Scope, PrincipalId, str], Awaitable[None]]
"""Told, inside a transaction, whose session something came to, and what it came to."""

DONE = "done"
REPEATED = "session.repeated"
"""A token was given out once more, to somebody who may not have got it the first time."""
COPIED = "session.copied"
"""A token came that was used long before; the family ended."""

_INSERT_FAMILY = insert(refresh_family).values(tenant_id=TENANT)
_INSERT_TOKEN = insert(refresh_token).values(tenant_id=TENANT)
_TOKEN = (
    select(
        refresh_family.c.principal_id,
        refresh_family.c.expires,
        refresh_family.c.revoked,
        refresh_family.c.generation,
        refresh_family.c.client_id,
        refresh_family.c.scope,
        refresh_family.c.audience,
        refresh_token.c.used,
        refresh_token.c.generation.label("of"),
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
_ADVANCE = (
    update(refresh_family)
    .where(mine(refresh_family), refresh_family.c.family_id == bindparam("of_family"))
    .values(generation=bindparam("to_generation"))
)
_REVOKE_ALL = (
    update(refresh_family)
    .where(mine(refresh_family), refresh_family.c.principal_id == bindparam("of_principal"))
    .where(refresh_family.c.revoked.is_(None), refresh_family.c.family_id != bindparam("kept"))
    .values(revoked=bindparam("at"))
)
_REVOKE_FAMILY = (
    update(refresh_family)
    .where(mine(refresh_family), refresh_family.c.family_id == bindparam("of_family"))
    .where(refresh_family.c.revoked.is_(None))
    .values(revoked=bindparam("at"))
)
_INSERT_REVOKED = insert(revoked_token).values(tenant_id=TENANT)
_REVOKED = select(revoked_token.c.jti).where(mine(revoked_token), revoked_token.c.jti == bindparam("jti"))
_DROP_REVOKED = delete(revoked_token).where(mine(revoked_token), revoked_token.c.jti == bindparam("jti"))
_EXPIRE_REVOKED = delete(revoked_token).where(mine(revoked_token), revoked_token.c.expires <= bindparam("now"))
_EXPIRED_FAMILIES = select(refresh_family.c.family_id).where(
    mine(refresh_family), refresh_family.c.expires <= bindparam("now")
)
_EXPIRE_TOKENS = delete(refresh_token).where(mine(refresh_token), refresh_token.c.family_id.in_(_EXPIRED_FAMILIES))
_EXPIRE_FAMILIES = delete(refresh_family).where(mine(refresh_family), refresh_family.c.expires <= bindparam("now"))


async def start(
    s: Scope,
    *,
    pepper: bytes,
    family: str,
    principal_id: PrincipalId,
    now: int,
    lifetime_ms: int,
    client_id: str | None = None,
    scope: Role | None = None,
    audience: str | None = None,
) -> tuple[Family, str]:
    """Begin a session (``fam_…``); returns it, and the text of its first refresh token, which is stored nowhere."""
    begun = Family(family, principal_id, now + lifetime_ms, 0, client_id, scope, audience)
    values = begun._asdict()
    del values["id"]
    values |= {"family_id": family, "created": now, "scope": None if scope is None else scope.value}
    await s.execute(_INSERT_FAMILY, values)
    return begun, await _add_token(s, pepper, family, 0, now)


async def rotate(
    catalog: Catalog, text: str, *, pepper: bytes, now: int, client_id: str | None = None, note: Note | None = None
) -> tuple[Family, str]:
    """Exchange a refresh token for the next of its session; returns the session and that token's text.

    ``client_id`` is who asks: a session of an OAuth client is that client's alone, and others are nobody's but ours.
    ``note`` is told inside the transaction whose it is and what came of it.

    Raises ``CredentialInvalid`` for a token malformed, unknown, revoked, another client's or copied, and
    ``CredentialExpired`` for a session past its time. A copied token ends its family, which must not be rolled back
    with the refusal: therefore this opens a scope of its own.
    """
    parts, mac = parse_refresh(text), key_mac(pepper, text)
    async with catalog.write(parts.tenant) as s:
        row = await _find(s, parts, mac, client_id)
        if row.expires <= now:
            raise CredentialExpired("the session has ended", hint="Sign in again with `satchel login URL`.")
        newest, came = row.generation, _outcome(row)
        if came == DONE:
            newest += 1
            await s.execute(_USE_TOKEN, {"of_family": parts.family, "of_mac": mac, "at": now})
            await s.execute(_ADVANCE, {"of_family": parts.family, "to_generation": newest})
            await _add_token(s, pepper, parts.family, newest, now)
        elif came == COPIED:
            await revoke(s, parts.family, now)
        if note is not None:
            await note(s, row.principal_id, came)
    if came == COPIED:
        raise _invalid()
    return _family(parts.family, row, newest), derive_refresh(pepper, parts.tenant, parts.family, newest)


async def end(
    catalog: Catalog, text: str, *, pepper: bytes, now: int, client_id: str | None = None, note: Note | None = None
) -> None:
    """End the session of a refresh token, whether that token was used or not. ``client_id`` as for ``rotate``.

    Raises ``CredentialInvalid`` for a token that is none of a session that counts.
    """
    parts = parse_refresh(text)
    async with catalog.write(parts.tenant) as s:
        row = await _find(s, parts, key_mac(pepper, text), client_id)
        await revoke(s, parts.family, now)
        if note is not None:
            await note(s, row.principal_id, DONE)


async def _find(s: Scope, parts: RefreshParts, mac: bytes, client_id: str | None) -> Record:
    """A genuine token of a session that was not ended, asked for by whom it belongs to."""
    row = await s.row(_TOKEN, {"family": parts.family, "mac": mac})
    if row is None or row.revoked is not None or row.principal_revoked is not None or row.client_id != client_id:
        raise _invalid()
    return row


def _outcome(row: Record) -> str:
    """What a token comes to: the newest brings the next, the one before it the newest once more."""
    if row.used is None:
        return DONE
    return REPEATED if row.of == row.generation - 1 else COPIED


async def _add_token(s: Scope, pepper: bytes, family: str, generation: int, now: int) -> str:
    text = derive_refresh(pepper, s.tenant, family, generation)
    values = {"family_id": family, "mac": key_mac(pepper, text), "created": now, "generation": generation}
    await s.execute(_INSERT_TOKEN, values)
    return text


def _family(family: str, row: Record, generation: int) -> Family:
    scope = None if row.scope is None else Role(row.scope)
    return Family(family, row.principal_id, row.expires, generation, row.client_id, scope, row.audience)


def _invalid() -> CredentialInvalid:
    return CredentialInvalid("the refresh token is not valid here")


async def revoke_all(s: Scope, principal_id: str, now: int, *, keep: str | None = None) -> None:
    """End every session of a principal but ``keep``."""
    s.announce()
    await s.execute(_REVOKE_ALL, {"of_principal": principal_id, "at": now, "kept": keep or ""})


async def revoke(s: Scope, family: str, now: int) -> bool:
    """End a family; False if there is none that still counts."""
    s.announce()
    return await s.execute(_REVOKE_FAMILY, {"of_family": family, "at": now}) == 1


async def revoke_token(s: Scope, jti: str, expires: int) -> None:
    """Make an access token count no more before it expires by itself."""
    if await s.row(_REVOKED, {"jti": jti}) is None:
        s.announce()
        await s.execute(_INSERT_REVOKED, {"jti": jti, "expires": expires})


async def revoke_tokens_of(s: Scope, key_id: str, now: int) -> None:
    """Make all access tokens count no more that were made with an API key up to now: its secret is another."""
    s.announce()
    await s.execute(_DROP_REVOKED, {"jti": key_id})
    await s.execute(_INSERT_REVOKED, {"jti": key_id, "expires": now + TOKEN_LIFETIME_MS})


def is_revoked(row: str | None, until: int | None, jti: str, issued: int) -> bool:
    """Whether a row of ``revoked_token``, if it is one, is of the token ``jti``, or of its key and made after it was.

    Times in tokens are whole seconds: one made in the same second as the row does not count.
    """
    return row is not None and (row == jti or (until is not None and issued <= until - TOKEN_LIFETIME_MS))


async def expire(s: Scope, now: int) -> None:
    """Forget families and revoked tokens that are past their time."""
    await s.execute(_EXPIRE_TOKENS, {"now": now})
    await s.execute(_EXPIRE_FAMILIES, {"now": now})
    await s.execute(_EXPIRE_REVOKED, {"now": now})

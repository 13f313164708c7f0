"""From the Authorization header to a principal: checked in full once, then remembered for seconds.

The memory is keyed by a hash of the credential and emptied by every change of principals, grants or tenants made
through this process (``void``), so that a revocation counts at once here; a write looks again inside its own
transaction (``recheck``), whichever process revoked.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from joserfc.jwk import ECKey

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Principal, Role
from satchel.auth.tokens import Claims, SigningKey, looks_like_token, verify
from satchel.catalog import principals, sessions, tenants
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import CredentialExpired, CredentialInvalid, CredentialMissing, NoSuchThing

MAX_REMEMBERED = 10_000
_FOREVER = 2**62


class Checked(NamedTuple):
    """A credential that counts."""

    principal: Principal
    expires: int
    """When the credential ends, in milliseconds UTC."""
    jti: str | None = None
    session: str | None = None
    scope: Role | None = None
    """The cap a token brings, beyond its principal's own."""


class TokenKeys(NamedTuple):
    """What signs access tokens and what verifies them, by ``kid``."""

    signing: SigningKey
    verifying: dict[str, ECKey]
    public: list[dict[str, str]]
    url: str
    """Issuer and audience: the address of this server."""


class Authenticator:
    """One for a process; for tasks of one event loop."""

    def __init__(
        self, catalog: Catalog, pepper: bytes, tokens: TokenKeys, *, clock: Callable[[], int], cache_ms: int
    ) -> None:
        self.tokens = tokens
        self._catalog, self._pepper = catalog, pepper
        self._clock, self._cache_ms = clock, cache_ms
        self._remembered: OrderedDict[bytes, tuple[Checked, int]] = OrderedDict()
        self._generation = 0

    async def check(self, authorization: str | None) -> Checked:
        """Who sends this header.

        Raises ``CredentialMissing``, ``CredentialInvalid``, ``CredentialExpired`` or ``TenantSuspended``.
        """
        if not authorization:
            raise CredentialMissing("this needs a credential")
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise CredentialInvalid("the Authorization header is not `Bearer` and a credential")
        name = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        now = self._clock()
        found = self._remembered.get(name)
        if found is not None and 0 <= now - found[1] < self._cache_ms:  # a clock put back makes no check last longer
            if found[0].expires <= now:
                raise CredentialExpired("the credential has expired")
            return found[0]
        generation = self._generation
        checked = await self.check_text(text)
        if generation == self._generation:
            self._remember(name, checked, now)
        return checked

    async def check_text(self, text: str) -> Checked:
        """The same for the credential itself, looked up anew."""
        now = self._clock()
        if looks_like_token(text):
            url = self.tokens.url
            claims = verify(text, self.tokens.verifying, issuer=url, audience=url, now=now)
            async with self._catalog.read(claims.tenant) as s:
                principal = await self._of_token(s, claims.principal, claims.jti, claims.session, claims.scope)
            return _of_claims(principal, claims)
        parts = parse_key(text)
        async with self._catalog.read(parts.tenant) as s:
            principal = await principals.authenticate_key(s, parts.key_id, key_mac(self._pepper, text), now)
            await _active(s)
        return Checked(principal, principal.expires or _FOREVER)

    async def recheck(self, s: Scope, checked: Checked) -> Principal:
        """The principal as it is now, inside the transaction of a write. Raises as ``check``."""
        return await self._of_token(s, checked.principal.id, checked.jti, checked.session, checked.scope)

    def void(self) -> None:
        """Forget every check: principals, grants or tenants have changed."""
        self._generation += 1
        self._remembered.clear()

    def _remember(self, name: bytes, checked: Checked, now: int) -> None:
        self._remembered[name] = (checked, now)
        self._remembered.move_to_end(name)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _of_token(
        self, s: Scope, principal_id: str, jti: str | None, session: str | None, scope: Role | None
    ) -> Principal:
        if jti is not None and await sessions.is_revoked(s, jti, session):
            raise CredentialInvalid("the credential was revoked")
        principal = await principals.resolve(s, principal_id)
        if principal is None:
            raise CredentialInvalid("the credential does not count here")
        await _active(s)
        return _capped(principal, scope)


async def _active(s: Scope) -> None:
    try:
        await tenants.check_active(s)
    except NoSuchThing as error:
        raise CredentialInvalid("the credential does not count here") from error


def _capped(principal: Principal, scope: Role | None) -> Principal:
    if scope is None:
        return principal
    return replace(principal, scope=scope if principal.scope is None else min(scope, principal.scope))


def _of_claims(principal: Principal, claims: Claims) -> Checked:
    return Checked(principal, claims.expires, claims.jti, claims.session, claims.scope)

"""From the Authorization header to a principal: checked in full once, then remembered for seconds.

The memory is keyed by the header as it came, in this process alone, as answers are that may be given again (`recall`).
What it holds of a tenant is void once principals, grants, sessions or the state of that tenant change, at once where
the change is made through this process, within a second where it is made elsewhere: nothing remembered counts while the
channel of changes is silent (`watching`). A write looks again inside its own transaction (``recheck``), whoever changed
what.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from satchel.auth.federation import claimed
from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Principal, Role, author_kind, narrower
from satchel.auth.tokens import Claims, claimed_key, looks_like_token, verify
from satchel.catalog import standing
from satchel.catalog.scope import Catalog, CatalogUnavailable, Scope
from satchel.catalog.standing import Standing
from satchel.errors import CredentialInvalid, CredentialMissing
from satchel.objects.ids import TenantId, is_random_id
from satchel.server.tokenkeys import TokenKeyring, TokenKeys
from satchel.server.uses import Uses
from satchel.server.watching import Watch

if TYPE_CHECKING:
    from satchel.server.edge import Exchange

MAX_REMEMBERED = 10_000
LOOK_SECONDS = 5.0
"""Longest time a credential is looked up; then the catalog counts as away."""
_FOREVER = 2**62
MCP_PATH = "/mcp"
"""Of the server's address, the resource that a token may be limited to."""


class Checked(NamedTuple):
    """A credential that counts."""

    principal: Principal
    expires: int
    """When the credential ends, in milliseconds UTC."""
    mac: bytes | None = None
    """The keyed hash of an API key; None for a token."""
    jti: str | None = None
    session: str | None = None
    scope: Role | None = None
    """The cap a token brings, beyond its principal's own."""
    requests: int = -1
    """Requests a minute of its tenant; below 1: as many as come."""
    mcp_only: bool = False
    """Whether it counts at the MCP endpoint alone: a token's audience."""
    client: str | None = None
    """The OAuth client a token was made for."""
    issued: int = _FOREVER
    """When a token of ours was made, in milliseconds UTC."""

    @property
    def person(self) -> bool:
        """Whether a person speaks for themselves: by a session of a sign-in here, not by a key, nor through a client
        or an agent that they let in, nor by a token of a provider, which does not say what holds it."""
        own = self.session is not None and self.client is None and not self.mcp_only
        return own and author_kind(self.principal.id) == "person"


class Foreign(NamedTuple):
    """An issuer whose access tokens count here."""

    issuer: str
    check: Callable[[str, Exchange | None], Awaitable[Checked]]
    """Who comes with a token, in which request: that may change what a member is."""


class _Remembered(NamedTuple):
    checked: Checked
    since: int
    """When it was checked, milliseconds UTC."""
    until: int
    """When it has to be looked up anew: its own end, or that of what may be remembered."""
    moment: int
    """How many changes had been heard of when the check began."""
    tenant: TenantId


class Authenticator:
    """One for a process; for tasks of one event loop."""

    def __init__(
        self,
        catalog: Catalog,
        pepper: bytes,
        keyring: TokenKeyring,
        watch: Watch,
        *,
        clock: Callable[[], int],
        cache_ms: int,
        uses: Uses,
    ) -> None:
        self._catalog, self._pepper, self._watch = catalog, pepper, watch
        self.keyring = keyring
        self._clock, self._cache_ms, self._uses = clock, cache_ms, uses
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._moment = self._all_void = 0
        self.hits = self.misses = 0
        """Credentials that were remembered, and that had to be looked up."""
        self.foreign: Foreign | None = None
        """Whose access tokens count beside our own."""
        self._void: dict[TenantId, int] = {}
        """The moment before which nothing counts that is remembered of a tenant."""
        watch.subscribe(self.void)
        keyring.follow(watch)

    @property
    def tokens(self) -> TokenKeys:
        """What signs and verifies access tokens."""
        return self.keyring.keys

    async def check(self, authorization: str | None, *, mcp: bool = False, exchange: Exchange | None = None) -> Checked:
        """Who sends this header; ``mcp`` says that it is the MCP endpoint that was sent it.

        Raises ``CredentialMissing``, ``CredentialInvalid``, ``CredentialExpired``, ``TenantSuspended`` or
        ``CatalogUnavailable``.
        """
        if not authorization:
            raise CredentialMissing("this needs a credential")
        # The whole header is what is remembered: a request whose credential is known does nothing else with it.
        now = self._clock()
        found, known = None, self._remembered.get(authorization)
        if known is not None:  # in one piece and few steps: nearly every request goes this way
            checked, since, until, moment, tenant = known
            # A clock put back makes nothing last longer.
            heard = since <= now < until and (self._watch.heard() or await self._watch.fresh())
            if heard and moment >= self._void.get(tenant, self._all_void):
                found = checked
                self.hits += 1
        if found is None:
            self.misses += 1
            found = await self._looked_up(authorization, now, exchange)
        if found.mcp_only and not mcp:
            raise CredentialInvalid("the token is for the MCP endpoint alone")
        return found

    async def _looked_up(self, authorization: str, now: int, exchange: Exchange | None) -> Checked:
        moment, text = self._moment, _bearer(authorization)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                checked = await self.check_text(text, exchange)
        except TimeoutError as error:
            raise CatalogUnavailable("the catalog does not answer") from error
        until = min(now + self._cache_ms, checked.expires)
        self._remember(authorization, _Remembered(checked, now, until, moment, checked.principal.tenant))
        return checked

    async def check_text(self, text: str, exchange: Exchange | None = None) -> Checked:
        """The same for the credential itself, looked up anew."""
        now = self._clock()
        if self.foreign is not None and looks_like_token(text) and claimed(text)[0] == self.foreign.issuer:
            return await self.foreign.check(text, exchange)
        if looks_like_token(text):
            await self._learn_key(text)
            url = self.tokens.url
            claims = verify(text, self.tokens.verifying, issuer=url, audience=url, also=(url + MCP_PATH,), now=now)
            if not is_random_id(claims.tenant, "ten"):
                raise CredentialInvalid("the token is not one this server issued")
            async with self._catalog.read(claims.tenant) as s:
                found = await standing.of_token(s, claims.principal, claims.jti, claims.session, claims.issued)
            checked = _of_claims(found, claims)
        else:
            parts, mac = parse_key(text), key_mac(self._pepper, text)
            async with self._catalog.read(parts.tenant) as s:
                found = await standing.of_key(s, parts.key_id, mac, now)
            checked = Checked(found.principal, found.principal.expires or _FOREVER, mac, requests=found.requests)
        self._uses.note(checked.principal, found.used, now)
        return checked

    async def recheck(self, s: Scope, checked: Checked) -> Principal:
        """The principal as it is now, inside the transaction of a write. Raises as ``check``."""
        who = checked.principal.id
        if checked.mac is not None:
            # The key's end was judged when the request began; what is judged here is what somebody did meanwhile.
            return (await standing.of_key(s, who, checked.mac, 0)).principal
        found = await standing.of_token(s, who, checked.jti or "", checked.session, checked.issued)
        return _capped(found.principal, checked.scope)

    def void(self, tenant: TenantId | None = None) -> None:
        """Forget every check of a tenant, or all: principals, grants, sessions or its state have changed."""
        self._moment += 1
        if tenant is None or len(self._void) >= MAX_REMEMBERED:
            self._remembered.clear()
            self._void.clear()
            self._all_void = self._moment
        else:
            self._void[tenant] = self._moment

    def _remember(self, name: str, one: _Remembered) -> None:
        self._remembered[name] = one
        self._remembered.move_to_end(name)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _learn_key(self, token: str) -> None:
        """Another node may have made the key that signed a token. A kid that nobody knows is refused by ``verify``."""
        kid = claimed_key(token)
        if kid is not None:
            await self.keyring.learn(kid)


def _capped(principal: Principal, scope: Role | None) -> Principal:
    return principal if scope is None else replace(principal, scope=narrower(principal.scope, scope))


def _of_claims(found: Standing, claims: Claims) -> Checked:
    return Checked(
        _capped(found.principal, claims.scope),
        claims.expires,
        jti=claims.jti,
        session=claims.session,
        scope=claims.scope,
        requests=found.requests,
        mcp_only=claims.audience.endswith(MCP_PATH),
        client=claims.client,
        issued=claims.issued,
    )


def _bearer(authorization: str) -> str:
    scheme, _, text = authorization.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise CredentialInvalid("the Authorization header is not `Bearer` and a credential")
    return text

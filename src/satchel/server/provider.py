"""An external provider of OpenID Connect: where it is, its keys, and the exchange of a code.

All is fetched through the guarded fetch. What it said last is good for a day while it is away, except that a key it was
never seen with is not waited for. A new key is looked for when a token names one that is not known, every few seconds
at most.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from satchel.auth.federation import PublicKey, Rule, claimed, read_keys, read_rules, verify
from satchel.config.server import ServerSettings
from satchel.errors import ConfigInvalid, CredentialInvalid, Refused, SatchelError, Unavailable
from satchel.server.addresses import networks
from satchel.server.fetch import Fetcher, FetchFailed
from satchel.server.fetchurl import HTTPS_PORT, LOOPBACK, FetchRefused, Reach, target

KEEP_SECONDS = 86_400.0
LOOK_SECONDS = 300.0
"""How often the provider is asked anew for what it says of itself."""
NEW_KEY_SECONDS = 5.0
WELL_KNOWN = "/.well-known/openid-configuration"


class ProviderAway(Unavailable):
    code = "oidc.unavailable"
    default_hint = "Try again in a minute; whoever runs the server finds the reason in its log."


class ProviderRefused(Refused):
    code = "oidc.refused"
    default_hint = "Begin the sign-in anew. If it fails again, tell whoever runs the server."


class Discovery(NamedTuple):
    authorization: str
    token: str
    jwks: str


class Provider:
    """The one provider of an installation; for tasks of one event loop."""

    def __init__(
        self, settings: ServerSettings, *, fetcher: Fetcher | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ``ConfigInvalid`` for settings that cannot work. ``clock`` gives seconds."""
        self.issuer, self.client_id = settings.oidc_issuer, settings.oidc_client_id
        self.audience, self.name = settings.oidc_audience, settings.oidc_name
        self.trusts_email = settings.oidc_trust_email
        self.rules: tuple[Rule, ...] = read_rules(settings.oidc_rules)
        self._secret, self._clock = settings.oidc_client_secret, clock
        self._reach = _reach(settings)
        self._fetcher = fetcher or Fetcher(self._reach)
        self._discovery: tuple[float, Discovery] | None = None
        self._keys: tuple[float, tuple[PublicKey, ...]] | None = None
        self._looked = -LOOK_SECONDS
        self._looking = asyncio.Lock()
        if self.audience and not self.rules:
            raise ConfigInvalid(
                "SATCHEL_OIDC_AUDIENCE needs SATCHEL_OIDC_RULES",
                hint="Its tokens say nothing of tenants: say which claim means which, such as *=acme:member.",
            )

    async def discovery(self) -> Discovery:
        """Where the provider is. Raises ``ProviderAway`` and ``ProviderRefused``."""
        if self._discovery is None or self._clock() - self._discovery[0] > LOOK_SECONDS:
            try:
                said = await self._fetcher.document(self.issuer.rstrip("/") + WELL_KNOWN)
                self._discovery = (self._clock(), self._checked(said))
            except (FetchFailed, FetchRefused) as error:
                if self._discovery is None or self._clock() - self._discovery[0] > KEEP_SECONDS:
                    raise ProviderAway(f"the identity provider cannot be asked: {error.message}") from error
        return self._discovery[1]

    async def verified(self, token: str, audience: str, now: int) -> dict[str, Any]:
        """The claims of a genuine token of the provider.

        Raises ``CredentialInvalid``, ``CredentialExpired``, and ``ProviderAway`` where its keys were never got.
        """
        _, kid = claimed(token)
        keys = await self._public_keys()
        if kid is not None and all(key.kid != kid for key in keys):
            keys = await self._public_keys(anew=True)
        return verify(token, keys, issuer=self.issuer, audience=audience, now=now)

    async def exchange(self, code: str, verifier: str, redirect: str, now: int) -> dict[str, Any]:
        """The claims of the ID token that a code is exchanged for.

        Raises ``ProviderRefused`` where the provider does not take the code or its answer cannot be used, and
        ``ProviderAway``.
        """
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
            "client_id": self.client_id,
        }
        headers = {}
        if self._secret:
            pair = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
        try:
            status, said = await self._fetcher.form((await self.discovery()).token, fields, headers)
        except (FetchFailed, FetchRefused) as error:
            raise ProviderAway(f"the identity provider cannot be asked: {error.message}") from error
        if status >= 500:
            raise ProviderAway(f"the identity provider answered with the status {status}")
        token = said.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise ProviderRefused("the identity provider did not take the sign-in back")
        try:
            return await self.verified(token, self.client_id, now)
        except CredentialInvalid as error:
            raise ProviderRefused("the identity provider's answer is not one to trust") from error

    async def _public_keys(self, *, anew: bool = False) -> tuple[PublicKey, ...]:
        now = self._clock()
        stale = self._keys is None or now - self._keys[0] > LOOK_SECONDS
        if (stale or anew) and now - self._looked >= NEW_KEY_SECONDS:
            self._looked = now
            async with self._looking:
                await self._look(now, anew=anew)
        elif self._keys is None or anew:
            async with self._looking:  # who asks while they are being fetched is answered by what comes
                pass
        if self._keys is None:
            raise ProviderAway("the identity provider's keys cannot be got at this moment")
        return self._keys[1]

    async def _look(self, now: float, *, anew: bool) -> None:
        """Fetch the keys; those that are known go on where they cannot be got."""
        try:
            said = await self._fetcher.document((await self.discovery()).jwks, fresh=anew)
            keys = read_keys(said)
            if not keys:
                raise FetchFailed("the identity provider shows no key that can be used")
            self._keys = (now, keys)
        except SatchelError as error:
            if not isinstance(error, FetchFailed | FetchRefused | ProviderAway | ProviderRefused):
                raise
            if self._keys is None or now - self._keys[0] > KEEP_SECONDS:
                self._keys = None
                raise ProviderAway(f"the identity provider's keys cannot be got: {error.message}") from error

    def _checked(self, said: dict[str, Any]) -> Discovery:
        if said.get("issuer") != self.issuer:
            raise FetchFailed("what it says of itself names another issuer")
        found = [said.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        texts = [text for text in found if isinstance(text, str)]
        if len(texts) != len(found):
            raise FetchFailed("what it says of itself lacks an address")
        for text in texts:
            target(text, self._reach)
        return Discovery._make(texts)


def provider_of(settings: ServerSettings) -> Provider | None:
    """The provider that the settings name, if they name one. Raises ``ConfigInvalid``."""
    if settings.oidc_issuer and not (settings.oidc_client_id or settings.oidc_audience):
        raise ConfigInvalid(
            "SATCHEL_OIDC_ISSUER needs SATCHEL_OIDC_CLIENT_ID or SATCHEL_OIDC_AUDIENCE",
            hint="A client id lets people sign in by it; an audience lets its access tokens count here.",
        )
    if not settings.oidc_issuer:
        for name in ("client_id", "client_secret", "audience", "rules", "networks", "trust_email"):
            if getattr(settings, f"oidc_{name}"):
                raise ConfigInvalid(
                    f"SATCHEL_OIDC_{name.upper()} is set, and SATCHEL_OIDC_ISSUER is not",
                    hint="Name the provider in SATCHEL_OIDC_ISSUER, or unset what belongs to it.",
                )
        return None
    return Provider(settings)


def _reach(settings: ServerSettings) -> Reach:
    own = (*networks(settings.oidc_networks), *(LOOPBACK if settings.fetch_loopback else ()))
    try:
        port = urlsplit(settings.oidc_issuer).port
    except ValueError as error:
        raise ConfigInvalid("SATCHEL_OIDC_ISSUER is not a URL") from error
    reach = Reach(own, tuple({HTTPS_PORT, port or HTTPS_PORT}))
    try:
        target(settings.oidc_issuer, reach)
    except FetchRefused as error:
        raise ConfigInvalid(f"SATCHEL_OIDC_ISSUER: {error.message}") from error
    return reach

"""Access tokens of the external provider, in place of our own: who comes with one.

The tenant comes from the token alone, by the operator's rules, and there has to be exactly one. Words of its `scope`
that are roles here (`read`, `write`, `admin`, with or without `satchel:` before) cap what it may do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from satchel.auth.roles import Role, narrower
from satchel.catalog import standing
from satchel.errors import CredentialInvalid
from satchel.server.credentials import Checked
from satchel.server.federated import NoPlace, known_here

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud
    from satchel.server.edge import Exchange
    from satchel.server.provider import Provider


async def accepted(cloud: Cloud, provider: Provider, token: str, exchange: Exchange | None) -> Checked:
    """Who comes with a token of the provider, in which request.

    Raises ``CredentialInvalid``, ``CredentialExpired``, ``NoPlace``, ``TenantSuspended`` and ``ProviderAway``.
    """
    claims = await provider.verified(token, provider.audience, cloud.clock())
    if "nonce" in claims:
        raise CredentialInvalid("this is the provider's answer to a sign-in, not an access token")
    _, places = await known_here(cloud, provider, claims, exchange)
    if len(places) != 1:
        raise NoPlace("the token names several tenants, and a request is made in one")
    async with cloud.catalog.read(places[0].tenant) as s:
        found = await standing.of_token(s, places[0].principal_id, "")
    cap = cap_of(claims)
    who = replace(found.principal, scope=narrower(found.principal.scope, cap))
    return Checked(who, int(claims["exp"] * 1000), scope=cap, requests=found.requests)


def cap_of(claims: Mapping[str, Any]) -> Role | None:
    """The cap that a token's scope brings: the highest role it names, None where it names none."""
    said = claims.get("scope", claims.get("scp", ""))
    words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    roles = {role.value: role for role in Role}
    named = [roles[word] for each in words if (word := str(each).removeprefix("satchel:")) in roles]
    return max(named) if named else None

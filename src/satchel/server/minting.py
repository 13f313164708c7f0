"""The answer that brings tokens: an access token, and with a session the refresh token that follows.

Every way of signing in ends here, so that a token's life, cap and audience are decided in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from satchel.auth.roles import Principal, narrower
from satchel.auth.tokens import issue
from satchel.catalog.sessions import Family
from satchel.objects.ids import new_id

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

SHORTEST_MS = 1_000
"""A token of a key that is about to end holds this long at the least: times in it are whole seconds."""


def tokens_for(
    cloud: Cloud, who: Principal, *, family: Family | None = None, refresh: str | None = None, ends: int | None = None
) -> dict[str, object]:
    """Tokens for ``who``, as REST gives them: of the session ``family`` with its refresh token, or of neither.

    An access token never outlives the key (``ends``, milliseconds UTC) or the session it was made from.
    """
    keys, now = cloud.authenticator.tokens, cloud.clock()
    ends = family.expires if family is not None else ends
    lifetime = cloud.settings.token_seconds * 1000
    if ends is not None:
        lifetime = max(SHORTEST_MS, min(lifetime, ends - now))
    text = issue(
        keys.signing,
        issuer=keys.url,
        audience=(family and family.audience) or keys.url,
        tenant=who.tenant,
        principal=who.id,
        jti=new_id("tok", cloud.random(16)),
        now=now,
        lifetime_ms=lifetime,
        scope=narrower(who.scope, None if family is None else family.scope),
        session=None if family is None else family.id,
        client=None if family is None else family.client_id,
    )
    made: dict[str, object] = {"accessToken": text, "tokenType": "Bearer", "expiresIn": lifetime // 1000}
    if refresh is not None:
        made["refreshToken"] = refresh
    return made

"""The keys that sign access tokens: made at the first start, kept in the catalog, sealed by the installation."""

from __future__ import annotations

from collections.abc import Callable

from satchel.auth.tokens import generate_signing_key, load_public_key, load_signing_key
from satchel.catalog import sessions
from satchel.catalog.scope import Catalog
from satchel.objects.ids import TenantId, new_id
from satchel.objects.seal import SALT_BYTES, Binding, open_sealed, seal
from satchel.server.credentials import TokenKeys
from satchel.store.keyring import Installation

_BINDING = Binding(TenantId(""), "", "signing-key")
_EPOCH = 0


async def open_token_keys(
    catalog: Catalog, installation: Installation, *, url: str, clock: Callable[[], int], random: Callable[[int], bytes]
) -> TokenKeys:
    """The keys of this server, the first one made now if there is none. Raises ``WrongKey`` in another installation."""
    secret = installation.derive("signing keys")
    async with catalog.directory(write=True) as d:
        if not any(row.retired is None for row in await sessions.signing_keys(d)):
            fresh = generate_signing_key(new_id("sig", random(16)))
            sealed = seal(secret, _BINDING, fresh.kid, fresh.private_bytes(), epoch=_EPOCH, salt=random(SALT_BYTES))
            await sessions.add_signing_key(d, kid=fresh.kid, public_jwk=fresh.public_jwk(), sealed=sealed, now=clock())
        rows = await sessions.signing_keys(d)
    newest = [row for row in rows if row.retired is None][-1]
    private = open_sealed(lambda _epoch: secret, _BINDING, newest.kid, newest.sealed)
    return TokenKeys(
        signing=load_signing_key(newest.kid, private),
        verifying={row.kid: load_public_key(row.public_jwk) for row in rows},
        public=[row.public_jwk for row in rows],
        url=url,
    )

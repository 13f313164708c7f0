"""Changing the key that signs access tokens, by command or by the schedule of a running server.

There is always one key that signs and one that waits: it is published from the day it is made, so that whoever keeps a
copy of `/.well-known/jwks.json` knows it before the first token comes that it signed. A change lets the waiting one
sign, keeps the one before for as long as a token of it can count, and makes the next. All of it is one transaction of
the catalog, and every node hears of it within a second (`catalog.changes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from satchel.auth.tokens import LEEWAY_MS, TOKEN_LIFETIME_MS, SigningKey, generate_signing_key, load_signing_key
from satchel.catalog import changes, signing
from satchel.catalog.scope import Catalog, Directory
from satchel.catalog.signing import SigningKeyRow
from satchel.errors import Refused
from satchel.objects.ids import TenantId, new_id
from satchel.objects.seal import SALT_BYTES, Binding, open_sealed, seal
from satchel.store.keyring import Installation

_BINDING = Binding(TenantId(""), "", "signing-key")
_EPOCH = 0
PUBLISHED_MS = 10 * 60 * 1000
"""How long a key is published before it signs: twice as long as a copy of the published keys may be kept."""
KEPT_MS = 2 * (TOKEN_LIFETIME_MS + LEEWAY_MS)
"""How long a key verifies after it signed for the last time: the longest life of a token, and as long again for a node
that heard of the change late."""


class KeyUnpublished(Refused):
    code = "key.unpublished"
    default_hint = (
        "Wait until then. If the key that signs may have leaked:  satchel admin key rotate-signing --drop-old"
    )


@dataclass(frozen=True, slots=True)
class SigningReport:
    """What a change did; names of keys, which tell nothing about them."""

    old: str | None
    new: str
    waiting: str
    """What signs after the next change."""
    dropped: int
    """Keys that verify no more."""


class SigningKeys:
    """The signing keys of an installation in its catalog."""

    def __init__(
        self, catalog: Catalog, own: Installation, *, clock: Callable[[], int], random: Callable[[int], bytes]
    ) -> None:
        self._catalog, self._clock, self._random = catalog, clock, random
        self._secret = own.derive("signing keys")

    def opened(self, row: SigningKeyRow) -> SigningKey:
        """The private key of a row. Raises ``WrongKey`` for one of another installation."""
        return load_signing_key(row.kid, open_sealed(lambda _epoch: self._secret, _BINDING, row.kid, row.sealed))

    async def found(self) -> list[SigningKeyRow]:
        """Every key, once there is one that signs and one that waits: those that are missing are made.

        Nodes that start at the same time queue here, and all but the first find its keys.
        """
        async with self._catalog.directory(write=True) as d:
            rows = await signing.all_(d)
            if signing.signing(rows) is None:
                next_ = signing.waiting(rows)
                await signing.begin(d, next_.kid if next_ else await self._make(d), self._clock())
                rows = await signing.all_(d)
            if signing.waiting(rows) is None:
                await self._make(d)
            return await signing.all_(d)

    async def rotate(self, *, older_than_ms: int | None = None, drop_old: bool = False) -> SigningReport | None:
        """Let the waiting key sign and make the next; None where the one that signs is not ``older_than_ms`` old.

        With ``drop_old`` neither the one that signs nor the one that waits is trusted any more: both are made anew, and
        every token that was signed before is refused from now on. Raises ``KeyUnpublished`` while the waiting key was
        not published for long enough.
        """
        await self.found()
        async with self._catalog.directory(write=True) as d:
            now, rows = self._clock(), await signing.all_(d)
            old, next_ = signing.signing(rows), signing.waiting(rows)
            if old is None or next_ is None:
                return None  # another process dropped them in this moment, and made its own
            if older_than_ms is not None and (old.signs_from or 0) + older_than_ms > now:
                return None
            if drop_old:
                new = await self._make(d)
            else:
                _check_published(next_, now)
                new = next_.kid
            await signing.begin(d, new, now)
            waits = await self._make(d)
            dropped = await signing.drop_others(d, [new, waits]) if drop_old else await signing.drop(d, now - KEPT_MS)
            await changes.everybody(d)
        return SigningReport(old.kid, new, waits, dropped)

    async def drop(self) -> int:
        """Forget the keys that no token can need any more; returns how many."""
        async with self._catalog.directory(write=True) as d:
            dropped = await signing.drop(d, self._clock() - KEPT_MS)
            if dropped:
                await changes.everybody(d)
        return dropped

    async def _make(self, d: Directory) -> str:
        fresh = generate_signing_key(new_id("sig", self._random(16)))
        salt = self._random(SALT_BYTES)
        sealed = seal(self._secret, _BINDING, fresh.kid, fresh.private_bytes(), epoch=_EPOCH, salt=salt)
        await signing.add(d, kid=fresh.kid, public_jwk=fresh.public_jwk(), sealed=sealed, now=self._clock())
        return fresh.kid


def _check_published(row: SigningKeyRow, now: int) -> None:
    left = row.created + PUBLISHED_MS - now
    if left > 0:
        raise KeyUnpublished(
            f"the next key was published a moment ago: {-(-left // 1000)} s from now everybody knows it",
            retry_after=-(-left // 1000),
        )

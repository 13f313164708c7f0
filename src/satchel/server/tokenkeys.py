"""The keys that sign access tokens, as this node knows them; a change made elsewhere is known within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from joserfc.jwk import ECKey

from satchel.auth.tokens import SigningKey, load_public_key
from satchel.catalog import signing
from satchel.catalog.scope import Catalog
from satchel.catalog.signing import SigningKeyRow
from satchel.objects.ids import TenantId
from satchel.server.watching import Watch
from satchel.store.keyring import Installation
from satchel.upkeep.signing import SigningKeys, SigningReport

READ_SECONDS = 1.0
"""How often an unknown name makes a node read the keys again, whoever sends it."""


class TokenKeys(NamedTuple):
    """What signs access tokens and what verifies them, by ``kid``."""

    signing: SigningKey
    verifying: dict[str, ECKey]
    public: list[dict[str, str]]
    url: str
    """Issuer and audience: the address of this server."""


class TokenKeyring:
    """One for a process; for tasks of one event loop."""

    def __init__(self, catalog: Catalog, installation: Installation, *, url: str) -> None:
        self._catalog, self._installation, self._url = catalog, installation, url
        self._keys: TokenKeys | None = None
        self._source: SigningKeys
        self._reading = asyncio.Lock()
        self._read_at = -READ_SECONDS
        self.changed = asyncio.Event()
        """Set while what is known here may be of before a change."""

    @property
    def keys(self) -> TokenKeys:
        """The keys, once ``open`` has been called."""
        assert self._keys is not None
        return self._keys

    async def open(self, *, clock: Callable[[], int], random: Callable[[int], bytes]) -> None:
        """Read the keys, and make the first ones if there are none. Raises ``WrongKey`` in another installation."""
        self._source = SigningKeys(self._catalog, self._installation, clock=clock, random=random)
        self._keys = self._opened(await self._source.found())

    def follow(self, watch: Watch) -> None:
        """Read the keys again when everybody is told that something changed."""
        watch.subscribe(self._heard)

    def _heard(self, tenant: TenantId | None) -> None:
        if tenant is None:
            self.changed.set()

    async def learn(self, kid: str) -> bool:
        """Whether a key of this name counts, after another look where that is not sure: for an unknown name one a
        second at most."""
        if kid not in self.keys.verifying or self.changed.is_set():
            async with self._reading:  # whoever comes meanwhile waits for the same look
                due = kid not in self.keys.verifying and time.monotonic() - self._read_at >= READ_SECONDS
                if due or self.changed.is_set():
                    await self._read()
        return kid in self.keys.verifying

    async def read(self) -> None:
        """Read the keys again."""
        async with self._reading:
            await self._read()

    async def rotate(self, *, older_than_ms: int | None = None) -> SigningReport | None:
        """As ``SigningKeys.rotate``, and known here at once."""
        report = await self._source.rotate(older_than_ms=older_than_ms)
        await self.read()
        return report

    async def drop(self) -> None:
        """Forget the keys that no token can need any more."""
        await self._source.drop()

    async def _read(self) -> None:
        self.changed.clear()
        try:
            async with self._catalog.directory() as d:
                rows = await signing.all_(d)
            if signing.signing(rows) is not None:
                self._keys = self._opened(rows)
        except BaseException:
            self.changed.set()
            raise
        self._read_at = time.monotonic()

    def _opened(self, rows: Sequence[SigningKeyRow]) -> TokenKeys:
        now = signing.signing(rows)
        assert now is not None
        known = self._keys
        return TokenKeys(
            signing=known.signing if known and known.signing.kid == now.kid else self._source.opened(now),
            verifying={row.kid: load_public_key(row.public_jwk) for row in rows},
            public=[row.public_jwk for row in rows],
            url=self._url,
        )

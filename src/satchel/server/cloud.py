"""A running server's parts, put together once: catalog, store, keys, receiver, readers, and each tenant's share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from satchel.catalog.scope import Catalog
from satchel.config.server import ServerSettings
from satchel.errors import SatchelError, TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server.credentials import Authenticator
from satchel.server.edge import Exchange
from satchel.server.indexes import IndexCache
from satchel.server.logs import log
from satchel.server.readers import Readers
from satchel.server.signin import SignInGate
from satchel.server.tokenkeys import open_token_keys
from satchel.store.cache import CachedStore
from satchel.store.keyring import Keyring
from satchel.store.objectstore import ObjectStore
from satchel.store.outage import OutageStore
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store
from satchel.sync.receive import Limits, Receiver
from satchel.upkeep.about import Notices

CHECK_SECONDS = 5.0
"""Longest wait for a dependency's answer to a health check."""


def now_ms() -> int:
    """The clock: milliseconds UTC."""
    return time.time_ns() // 1_000_000


class Admission:
    """How many requests of each tenant are being served: one tenant cannot take every place."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._serving: dict[TenantId, int] = {}

    def enter(self, tenant: TenantId, exchange: Exchange) -> None:
        """Take a place until the exchange ends. Raises ``TooManyRequests``."""
        serving = self.serving(tenant)
        if serving >= self._limit:
            raise TooManyRequests(f"{serving} requests of this tenant are being served", retry_after=1)
        self._serving[tenant] = serving + 1
        exchange.at_end.append(lambda: self._leave(tenant))

    def serving(self, tenant: TenantId) -> int:
        """How many requests of a tenant are being served now."""
        return self._serving.get(tenant, 0)

    def _leave(self, tenant: TenantId) -> None:
        left = self._serving[tenant] - 1
        if left:
            self._serving[tenant] = left
        else:
            del self._serving[tenant]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Everything a route may use."""

    settings: ServerSettings
    catalog: Catalog
    store: ObjectStore
    """With what is kept of it on this disk."""
    outage: OutageStore
    """The same without: whether it answers."""
    cached: CachedStore | None
    """What keeps it on this disk, where something does."""
    root: RootKey
    """As the server was started with it; the keyring alone follows when it is changed."""
    keyring: Keyring
    vault: Vault
    receiver: Receiver
    notices: Notices
    authenticator: Authenticator
    admission: Admission
    readers: Readers
    indexes: IndexCache
    pepper: bytes
    clock: Callable[[], int]
    random: Callable[[int], bytes]
    started: int
    sign_in: SignInGate

    async def dependencies(self) -> dict[str, bool]:
        """Which of the things this server stands on answer."""
        checks = {"catalog": self.catalog.check(), "store": self.store.check()}
        results = await asyncio.gather(*(_answers(check) for check in checks.values()))
        return dict(zip(checks, results, strict=True))

    async def forget(self, tenant: TenantId) -> None:
        """Delete what this server keeps of a tenant to be faster."""
        self.indexes.forget(tenant)
        if self.cached is not None:
            await self.cached.forget(f"tenants/{tenant}/")


async def _answers(check: object) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check  # type: ignore[misc]
    except (SatchelError, TimeoutError, OSError):
        return False
    return True


@asynccontextmanager
async def open_cloud(
    settings: ServerSettings, *, clock: Callable[[], int] = now_ms, random: Callable[[int], bytes] = os.urandom
) -> AsyncIterator[Cloud]:
    """Everything opened, for as long as the block lasts. The first start (``serve.prepare``) has been made.

    Raises ``StartRefused``, ``WrongKey``, ``StoreUnavailable``, ``CatalogUnavailable``.
    """
    root = RootKey.load(settings.root_key_path)
    outage = OutageStore(
        open_store(settings.store, settings.store_wait_seconds),
        wait_seconds=settings.store_wait_seconds,
        tell=_tell_store,
    )
    cached = _cached(settings, outage)
    store = cached or outage
    keyring = Keyring(outage, root, clock=clock, random=random)
    installation = await keyring.installation()
    catalog = await Catalog.open(settings.catalog, random=random)
    try:
        pepper = installation.pepper
        vault = Vault(store, keyring, random=random, doubt=cached.doubt if cached else None)
        tokens = await open_token_keys(catalog, installation, url=settings.url, clock=clock, random=random)
        indexes = IndexCache(settings.data / "cache" / "index", settings.index_cache_bytes, random=random)
        readers = Readers(
            catalog, vault, keyring, indexes, threads=settings.reader_threads, degraded=lambda: outage.down
        )
        cloud = Cloud(
            settings=settings,
            catalog=catalog,
            store=store,
            outage=outage,
            cached=cached,
            root=root,
            keyring=keyring,
            vault=vault,
            receiver=Receiver(catalog, vault, clock=clock, random=random, limits=Limits(settings.max_file_bytes)),
            notices=Notices(catalog, store, keyring, random=random),
            authenticator=Authenticator(
                catalog, pepper, tokens, clock=clock, cache_ms=settings.credential_cache_seconds * 1000
            ),
            admission=Admission(settings.tenant_concurrency),
            readers=readers,
            indexes=indexes,
            pepper=pepper,
            clock=clock,
            random=random,
            started=clock(),
            sign_in=SignInGate(pepper, clock),
        )
        try:
            yield cloud
        finally:
            readers.close()
            indexes.close()
    finally:
        await outage.close()
        await catalog.close()


def _cached(settings: ServerSettings, store: ObjectStore) -> CachedStore | None:
    """What keeps sealed bytes of a store elsewhere on this disk; a store that is on this disk needs none."""
    if not settings.store_cache_bytes or settings.store.startswith(("file:", "memory:")):
        return None
    return CachedStore(store, settings.data / "cache" / "store", settings.store_cache_bytes)


def _tell_store(down: bool) -> None:
    if down:
        log.warning("the store does not answer")
    else:
        log.info("the store answers again")

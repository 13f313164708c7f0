"""A running server's parts, put together once: catalog, store, keys, receiver, readers, and each tenant's share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from satchel.catalog.scope import Catalog
from satchel.config.server import ServerSettings
from satchel.errors import SatchelError, TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server import foreign, turns
from satchel.server.checkpoints import Checkpointer
from satchel.server.credentials import Authenticator, Checked, Foreign
from satchel.server.denials import Denials
from satchel.server.edge import Exchange
from satchel.server.fetch import Fetcher
from satchel.server.fetchurl import LOOPBACK, Reach
from satchel.server.guesses import Guesses
from satchel.server.hosts import Hosts
from satchel.server.indexes import IndexCache
from satchel.server.listening import Listeners
from satchel.server.logs import log
from satchel.server.meters import Meters
from satchel.server.openfiles import indexes_at_most
from satchel.server.provider import Provider, provider_of
from satchel.server.rates import Rates
from satchel.server.readers import Readers
from satchel.server.signin import SignInGate
from satchel.server.tokenkeys import TokenKeyring
from satchel.server.turns import Admission
from satchel.server.uses import Uses
from satchel.server.watching import Watch
from satchel.store.cache import CachedStore
from satchel.store.checkpoints import Checkpoints
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


def _steady_ms() -> int:
    """Milliseconds for what only this process counts: nobody puts them right."""
    return time.monotonic_ns() // 1_000_000


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
    watch: Watch
    """Whether what is remembered of tenants still counts."""
    authenticator: Authenticator
    uses: Uses
    denials: Denials
    rates: Rates
    admission: Admission
    listeners: Listeners
    readers: Readers
    indexes: IndexCache
    pepper: bytes
    clock: Callable[[], int]
    random: Callable[[int], bytes]
    started: int
    sign_in: SignInGate
    provider: Provider | None
    """The external provider of identities, where there is one."""
    fetcher: Fetcher
    """Gets documents from addresses that clients name."""
    hosts: Hosts
    beginnings: Rates
    """What addresses begin without a credential: registrations of clients, logins of devices."""
    guesses: Guesses
    """Wrong user codes of devices, by person."""
    meters: Meters
    """What is counted of all this."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the server was told to stop: it still answers, and asks to be sent nothing more."""
    exporting: set[TenantId] = field(default_factory=set)
    """Tenants whose export this node is sending."""

    async def let_in(self, checked: Checked, exchange: Exchange) -> None:
        """Let a request in once it is its tenant's turn, until the exchange ends. Raises ``TooManyRequests``."""
        who = checked.principal
        own = self.settings.key_requests if who.requests is None else who.requests
        verdict = self.rates.spend(who.tenant, checked.requests, who.id, own)
        exchange.headers += verdict.headers
        try:
            verdict.enforce()
            await self.admission.enter(who.tenant, exchange)
        except TooManyRequests:
            await self.admission.refuse(who.tenant)
            raise

    def meet_stranger(self, exchange: Exchange) -> None:
        """Count a request of nobody we know against its address. Raises ``TooManyRequests``."""
        verdict = self.rates.stranger(exchange.address, self.settings.address_requests)
        exchange.headers += verdict.headers
        verdict.enforce()

    async def dependencies(self) -> dict[str, bool]:
        """Which of the things this server stands on answer."""
        checks = {"catalog": self.catalog.check(), "store": self.store.check()}
        results = await asyncio.gather(*(_answers(check) for check in checks.values()))
        return dict(zip(checks, results, strict=True))

    async def forget(self, tenant: TenantId) -> None:
        """Delete what this server keeps of a tenant to be faster."""
        self.readers.forget_tenant(tenant)
        self.receiver.forget_tenant(tenant)
        self.keyring.forget(tenant)
        await asyncio.to_thread(self.indexes.forget, tenant)
        if self.cached is not None:
            await self.cached.forget(f"tenants/{tenant}/")

    def held(self) -> set[TenantId]:
        """The tenants of whom this server keeps something to be faster."""
        kept = set() if self.cached is None else {TenantId(name) for name in self.cached.tenants()}
        return kept | self.indexes.tenants() | self.keyring.tenants()


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
    provider = provider_of(settings)
    meters = Meters(settings.metrics_tenants)
    root = RootKey.load(settings.root_key_path)
    outage = OutageStore(
        open_store(settings.store, settings.store_wait_seconds),
        wait_seconds=settings.store_wait_seconds,
        tell=_tell_store,
        aside=turns.aside,
        note=meters.note_store,
    )
    cached = _cached(settings, outage)
    store = cached or outage
    keyring = Keyring(outage, root, clock=clock, random=random)
    installation = await keyring.installation()
    catalog = await Catalog.open(settings.catalog, random=random, connections=settings.database_connections)
    catalog.note = meters.note_database
    try:
        pepper = installation.pepper
        vault = Vault(store, keyring, random=random, doubt=cached.doubt if cached else None)
        tokens = TokenKeyring(catalog, installation, url=settings.url)
        await tokens.open(clock=clock, random=random)
        watch = Watch(catalog)
        uses = Uses(catalog)
        indexes = IndexCache(
            settings.data / "cache" / "index",
            settings.index_cache_bytes,
            random=random,
            max_open=indexes_at_most(settings.connections),
            yields=cached.halve if cached else lambda: None,
        )
        checkpoints = Checkpointer(
            catalog,
            Checkpoints(store, keyring, random=random),
            keyring,
            indexes,
            from_bytes=settings.index_checkpoint_bytes,
            random=random,
        )
        readers = Readers(
            catalog, vault, keyring, indexes, checkpoints, threads=settings.reader_threads, degraded=lambda: outage.down
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
            watch=watch,
            authenticator=Authenticator(
                catalog,
                pepper,
                tokens,
                watch,
                clock=clock,
                cache_ms=settings.credential_cache_seconds * 1000,
                uses=uses,
            ),
            uses=uses,
            denials=Denials(catalog, pepper, clock),
            rates=Rates(clock, random(8).hex()),
            admission=Admission(settings.tenant_concurrency),
            listeners=Listeners(catalog, most=settings.tenant_listeners, clock=clock),
            readers=readers,
            indexes=indexes,
            pepper=pepper,
            clock=clock,
            random=random,
            started=clock(),
            sign_in=SignInGate(pepper, _steady_ms),
            provider=provider,
            fetcher=Fetcher(Reach(networks=LOOPBACK if settings.fetch_loopback else ())),
            hosts=Hosts(settings),
            beginnings=Rates(_steady_ms, ""),
            guesses=Guesses(_steady_ms),
            meters=meters,
        )
        cloud.receiver.on_commit = cloud.listeners.committed
        if provider is not None and provider.audience:
            cloud.authenticator.foreign = Foreign(provider.issuer, partial(foreign.accepted, cloud, provider))
        try:
            yield cloud
        finally:
            cloud.listeners.close()
            await watch.close()
            checkpoints.close()
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


def _tell_store(why: str | None) -> None:
    if why is not None:
        log.warning("the store does not answer", reason=why)
    else:
        log.info("the store answers again")

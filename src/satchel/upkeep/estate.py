"""An installation opened for upkeep: its catalog, its store and its keys, beside a running server or without one."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from satchel.catalog import installation, tenants
from satchel.catalog.scope import Catalog
from satchel.catalog.tenants import TenantRow
from satchel.errors import NoSuchThing, StartRefused, WrongKey
from satchel.store.keyring import Keyring
from satchel.store.objectstore import ObjectStore
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store

PAGE = 100

Progress = Callable[[int, int], None]
"""Called with what is done and the total, in units that the work names."""


def now_ms() -> int:
    """The clock: milliseconds UTC."""
    return time.time_ns() // 1_000_000


def silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Estate:
    """Everything upkeep may use. ``clock`` gives milliseconds UTC, ``random`` that many random bytes."""

    catalog: Catalog
    store: ObjectStore
    root: RootKey
    keyring: Keyring
    vault: Vault
    clock: Callable[[], int]
    random: Callable[[int], bytes]

    async def tenants(self, *, shredded: bool = False) -> list[TenantRow]:
        """Every tenant that is not shredded, or every one that is, by slug."""
        found: list[TenantRow] = []
        async with self.catalog.directory() as d:
            while page := await tenants.list_(d, found[-1].slug if found else "", PAGE):
                found += page
        return [row for row in found if (row.state == tenants.SHREDDED) == shredded]

    async def tenant(self, ref: str) -> TenantRow:
        """The tenant of that slug or id. Raises ``NoSuchThing``."""
        async with self.catalog.directory() as d:
            row = await tenants.find(d, ref)
        if row is None:
            raise NoSuchThing(f"there is no tenant {ref}", hint="See `satchel tenant list`.")
        return row


@asynccontextmanager
async def open_estate(
    catalog_url: str,
    store_url: str,
    root_key: Path,
    *,
    clock: Callable[[], int] = now_ms,
    random: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Estate]:
    """The installation at these addresses, for as long as the block lasts.

    Raises ``StartRefused``, also for a wrong root key, ``StoreUnavailable``, ``CatalogUnavailable``. Makes nothing and
    migrates nothing: an installation that was never started is refused.
    """
    root = RootKey.load(root_key)
    store = open_store(store_url)
    keyring = Keyring(store, root, clock=clock, random=random)
    try:
        own = await keyring.installation()
    except WrongKey as error:
        raise StartRefused(
            f"the root key {root_key} (id {root.id}) is not the one this data was written with",
            hint="Put the right key in its place; root.key. and an id is one from before a change.",
        ) from error
    catalog = await Catalog.open(catalog_url, random=random)
    try:
        async with catalog.directory(write=True) as d:
            if await tenants.list_(d, limit=1):  # into one that is empty a backup may be restored: leave it so
                await installation.bind(d, own.id)
        yield Estate(catalog, store, root, keyring, Vault(store, keyring, random=random), clock, random)
    finally:
        await catalog.close()

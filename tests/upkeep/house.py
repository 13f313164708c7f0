"""An installation on disk with a tenant and projects, filled the way the server fills it, for tests of upkeep."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from satchel.catalog import projects, versions
from satchel.catalog.bootstrap import found_tenant
from satchel.catalog.scope import Scope
from satchel.objects.ids import Lineage, PrincipalId, ProjectId, TenantId, new_id, object_id
from satchel.store.checkpoints import Checkpoint, Checkpoints, pieces_of
from satchel.store.keyring import Keyring
from satchel.store.packs import Place
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store
from satchel.sync.peer import Committed
from satchel.sync.receive import Caller, Receiver
from satchel.upkeep.checkpoints import standing
from satchel.upkeep.estate import Estate, open_estate
from tests import engines

NOW = 1_800_000_000_000
PEPPER = hashlib.sha256(b"pepper").digest()


class Clock:
    """Milliseconds that pass only when told, and one with each look."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 1
        return self.now


@dataclass
class House:
    """An open installation and what a server does to it."""

    folder: Path
    clock: Clock
    estate: Estate
    receiver: Receiver

    async def tenant(self, slug: str = "acme") -> TenantId:
        """A new tenant with keys of its own."""
        async with self.estate.catalog.directory(write=True) as d:
            founded = await found_tenant(d, slug=slug, name=slug.title(), pepper=PEPPER, now=self.clock())
            await self.estate.keyring.create(founded.tenant.id)
        return founded.tenant.id

    async def project(self, tenant: TenantId, slug: str = "notes") -> ProjectId:
        made = ProjectId(new_id("prj", os.urandom(16)))
        async with self.estate.catalog.write(tenant) as s:
            lineage = Lineage(new_id("lin", os.urandom(16)))
            await projects.create(s, id=made, slug=slug, description="", now=self.clock(), lineage=lineage)
        return made

    async def put(self, tenant: TenantId, project: ProjectId, path: str, data: bytes | None) -> Committed:
        """One commit that writes (or with ``None`` deletes) one artifact."""
        there = (await self.tree(tenant, project)).get(path)
        condition = "*absent" if there is None else object_id(there)
        return await self.receiver.write(self.caller(tenant), project, path, data, None, condition, None)

    async def tree(self, tenant: TenantId, project: ProjectId, at: int | None = None) -> dict[str, bytes]:
        """Every artifact of a version, read back and checked."""
        async with self.estate.catalog.read(tenant) as s:
            if at is None and (await versions.head(s, project)).version == 0:
                return {}
            rows = await versions.tree(s, project, at)
            places = await versions.places(s, project, {row.object for row in rows})
        read = self.estate.vault.read_objects(tenant, project, [Place(*row) for row in places])
        found = {name: data async for name, data in read}
        return {row.path: found[row.object] for row in rows}

    async def checkpoint(self, tenant: TenantId, project: ProjectId, text: bytes = b"words") -> str:
        """Put a checkpoint of the project's head, whose file holds ``text``; the name below which it lies."""
        now = await standing(self.estate.catalog, self.estate.keyring, tenant, project)
        row, name = now.project, new_id("idx", os.urandom(16))
        file = self.folder / name
        file.write_bytes(text)
        size, file_id = len(text), os.urandom(16).hex()
        made = Checkpoint(1, row.lineage, row.version, row.digest, file_id, size, pieces_of(size), now.purged)
        kept = Checkpoints(self.estate.store, self.estate.keyring, random=os.urandom)
        await kept.put(tenant, project, name, made, file, await self.estate.keyring.current(tenant))
        file.unlink()
        return f"tenants/{tenant}/projects/{project}/indexes/{name}/"

    async def names(self) -> set[str]:
        """Everything in the store."""
        return {stored.name async for stored in self.estate.store.list("")}

    def caller(self, tenant: TenantId) -> Caller:
        async def stands(_s: Scope) -> None:
            pass

        return Caller(tenant, PrincipalId("mem_0000000000000000000000000a"), "Ann", "req", stands)


@asynccontextmanager
async def open_house(folder: Path, clock: Clock | None = None, catalog: str | None = None) -> AsyncIterator[House]:
    """The installation in ``folder``, made on the first call; open it again and it is all still there.

    With ``catalog``, the address of a migrated one, that is used.
    """
    clock = clock or Clock()
    url, key = catalog or await engines.migrated(folder), folder / "root.key"
    if not key.exists():
        RootKey.create(key)
    store = (folder / "store").as_uri()
    await Keyring(open_store(store), RootKey.load(key), clock=clock, random=os.urandom).found()
    async with open_estate(url, store, key, clock=clock) as estate:
        yield House(folder, clock, estate, Receiver(estate.catalog, estate.vault, clock=clock, random=os.urandom))


async def fill(house: House, tenant: TenantId, project: ProjectId, files: Mapping[str, bytes]) -> None:
    """One commit for each file."""
    for path, data in files.items():
        await house.put(tenant, project, path, data)

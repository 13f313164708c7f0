"""What the tests of backup, restore and rebuild share: an installation that is lost, and what it held before."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from satchel.catalog import projects, recover, versions
from satchel.catalog.projects import ProjectRow, RelationRow
from satchel.catalog.quotas import Limits
from satchel.catalog.versions import EntryRow, VersionRow
from satchel.objects.ids import ProjectId, TenantId
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store
from satchel.upkeep.backup import BackupReport, Keeping, make_backup
from satchel.upkeep.rebuild import RebuildReport, rebuild_catalog
from satchel.upkeep.restore import RestoreReport, restore
from satchel.upkeep.verify import verify
from tests.upkeep.house import Clock, House, open_house

DAY = 24 * 60 * 60 * 1000
KEEPING = Keeping(30 * DAY, 7 * DAY)


class State(NamedTuple):
    """Everything a project is to its people, at every version."""

    row: ProjectRow
    relations: list[RelationRow]
    versions: list[VersionRow]
    trees: list[list[EntryRow]]
    contents: list[dict[str, bytes]]


async def state(house: House, tenant: TenantId, project: ProjectId, upto: int | None = None) -> State:
    """All of a project; with ``upto`` without what came after that version."""
    async with house.estate.catalog.read(tenant) as s:
        row = await projects.get(s, project)
        assert row is not None
        last = row.version if upto is None else upto
        numbers = range(1, last + 1)
        return State(
            row,
            await projects.relations(s, project),
            [await versions.version(s, project, n) for n in numbers],
            [await versions.tree(s, project, n) for n in numbers],
            [await house.tree(tenant, project, n) for n in numbers],
        )


class Ruin:
    """An installation whose catalog is about to be lost, with a store for backups beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.backups: ObjectStore = open_store((folder / "backups").as_uri())

    @asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        async with open_house(self.folder, self.clock) as house:
            yield house

    async def backup(self, house: House, *, objects: bool = False, keeping: Keeping = KEEPING) -> BackupReport:
        return await make_backup(house.estate, self.backups, self.folder, keeping, objects=objects)

    def lose_catalog(self) -> None:
        for part in self.folder.glob("catalog.db*"):
            part.unlink()

    @property
    def store(self) -> ObjectStore:
        return open_store((self.folder / "store").as_uri())

    async def restore(self, backup: str, catalog: Path | None = None, **options: Any) -> RestoreReport:
        to = catalog or self.catalog
        return await restore(backup, self.backups, self.store, self.root, to, **{**self._ways, **options})

    async def rebuild(self, **options: Any) -> RebuildReport:
        options = {"replace": False, **self._ways, **options}
        return await rebuild_catalog(self.store, self.root, self.catalog, **options)

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.db"

    @property
    def root(self) -> RootKey:
        return RootKey.load(self.folder / "root.key")

    @property
    def _ways(self) -> dict[str, Any]:
        return {"limits": Limits(), "clock": self.clock, "random": os.urandom}


async def check_sound(house: House) -> None:
    """Everything in the catalog and the store reads back and fits together."""
    report = await verify(house.estate, full=True)
    assert [(problem.kind, problem.name, problem.why) for problem in report.problems] == []


async def head_name(house: House, tenant: TenantId, project: ProjectId, version: int) -> str:
    """Where the store confirms a version."""
    async with house.estate.catalog.read(tenant) as s:
        row = await versions.version(s, project, version)
    return f"tenants/{tenant}/projects/{project}/heads/{row.lineage}/{version}"


async def record_name(house: House, tenant: TenantId, project: ProjectId, version: int) -> str:
    """Where the store keeps the record of a version."""
    async with house.estate.catalog.read(tenant) as s:
        row = await versions.version(s, project, version)
    return f"tenants/{tenant}/projects/{project}/records/{row.record}"


async def flip(store: ObjectStore, name: str) -> None:
    """Change one bit in the middle of a stored object."""
    data = bytearray(await store.get(name))
    data[len(data) // 2] ^= 1
    await store.put(name, bytes(data))


async def pack_names(house: House, tenant: TenantId, project: ProjectId) -> list[str]:
    async with house.estate.catalog.read(tenant) as s:
        return [f"tenants/{tenant}/projects/{project}/packs/{row.name}" for row in await recover.packs(s, project)]

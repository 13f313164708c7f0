"""What lies in a project's part of the bucket and is needed by nothing: leavings of crashes, and history too old.

*Leavings* are packs that no row names and records that no version and no head names. A push puts both before it tells
the catalog, so only those older than two days count, by the store's own clock: this machine's may be wrong.

Of *checkpoints* of the index the one that counts stays (`satchel.upkeep.checkpoints`).

*History* below the floor is kept from the newest record with a full listing at or below it, since a rebuild starts
there. Before older records go, the tables of packs they brought, and that are still in use, are written down again.
Heads and records go oldest first, so that a crash leaves an unbroken newer part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.catalog import dying, versions
from satchel.catalog.versions import VersionRow
from satchel.errors import StoreMissing
from satchel.objects.ids import Lineage, ProjectId, TenantId
from satchel.objects.record import FULL_LISTING_EVERY, PackTable, decode_record
from satchel.store.checkpoints import Checkpoints, Found
from satchel.store.generations import is_number
from satchel.store.objectstore import StoredObject
from satchel.sync.failpoints import reach
from satchel.upkeep.checkpoints import leavings, standing
from satchel.upkeep.clock import store_time
from satchel.upkeep.estate import Estate
from satchel.upkeep.lease import Lease
from satchel.upkeep.repack import TABLES_AT_ONCE

ORPHAN_MS = 2 * 24 * 60 * 60 * 1000
"""No request lives as long (``sync_total_seconds`` is at most a day)."""
MAX_TABLES = 64
"""Objects of tables a project may have before they are merged."""
RECORDS_AT_ONCE = 64
PAGE = 1_000


class Swept(NamedTuple):
    """Items and bytes of each."""

    orphans: tuple[int, int]
    history: tuple[int, int]


NOTHING = Swept((0, 0), (0, 0))


def first_kept(floor: int) -> int:
    """The oldest version whose record and head are kept, given the oldest that can be read; 0: all are."""
    return floor - floor % FULL_LISTING_EVERY


async def orphan_age(estate: Estate) -> int:
    """Objects last written before this, by the store's clock, belong to no request under way."""
    now = await store_time(estate.store, estate.random)
    return 0 if now is None else now - ORPHAN_MS  # 0: nothing is old enough this time


async def sweep(
    estate: Estate, tenant: TenantId, project: ProjectId, floor: int, old: int, lease: Lease | None
) -> Swept:
    """Sweep one project; without a lease only say what would go. ``old`` is from ``orphan_age``."""
    run = _Sweep(estate, tenant, project, old, lease)
    await run.look()
    history = await run.history(floor)
    orphans = [*await run.packs(), *await run.records(), *await run.tables()]
    indexes = await run.checkpoints()
    items, size = _sum(orphans)
    return Swept((items + len(indexes), size + sum(found.size for found in indexes)), _sum(history))


@dataclass(slots=True)
class _Sweep:
    estate: Estate
    tenant: TenantId
    project: ProjectId
    old: int
    lease: Lease | None
    versions: dict[str, VersionRow] = field(default_factory=dict)
    """By record."""
    stored: dict[str, list[StoredObject]] = field(default_factory=dict)
    """What the bucket holds of each kind. Read before the rows, so that what was committed since counts as named."""
    rows: dict[str, int] = field(default_factory=dict)
    """Packs of the catalog."""
    elsewhere: set[str] = field(default_factory=set)
    """Records and packs of commits that a head confirms and the catalog does not know, as after a restore."""

    @property
    def _folder(self) -> str:
        return f"tenants/{self.tenant}/projects/{self.project}"

    async def look(self) -> None:
        estate, tenant, project = self.estate, self.tenant, self.project
        for kind in ("packs", "records", "heads", "tables"):
            self.stored[kind] = [stored async for stored in estate.vault.names(tenant, project, kind)]
        async with estate.catalog.read(tenant) as s:
            before: int | None = None
            while page := await versions.versions(s, project, before, PAGE):
                self.versions.update((row.record, row) for row in page)
                before = page[-1].version
            self.rows = await dying.names(s, project)
        known = {f"{row.lineage}/{row.version}" for row in self.versions.values()}
        for head in self.stored["heads"]:
            if head.name not in known:
                await self._unknown(head.name)

    async def _unknown(self, name: str) -> None:
        """A head of another line of history: whatever its record brought was acknowledged once, and is kept."""
        lineage, _, version = name.partition("/")
        if not is_number(version):
            return  # not a head: nothing of ours is so called
        record = await self.estate.vault.confirmed_head(self.tenant, self.project, Lineage(lineage), int(version))
        if record is None:
            return
        self.elsewhere.add(record)
        if record not in self.versions:
            try:
                encoded = await self.estate.vault.get_record(self.tenant, self.project, record)
            except StoreMissing:
                return
            self.elsewhere.update(pack.name for pack in decode_record(encoded).packs)

    # History ----------------------------------------------------------------------------------------------------------

    async def history(self, floor: int) -> list[StoredObject]:
        """Remove records and heads older than what a rebuild starts from; returns them."""
        start = first_kept(floor)
        line = sorted((row for row in self.versions.values() if row.version <= start), key=lambda row: row.version)
        if not start or not line or line[-1].version != start or not await self._has_listing(line[-1]):
            return []
        heads = {stored.name: stored for stored in self.stored["heads"]}
        records = {stored.name: stored for stored in self.stored["records"]}
        gone: list[StoredObject] = []
        for first in range(0, len(line) - 1, RECORDS_AT_ONCE):
            some = line[first : min(first + RECORDS_AT_ONCE, len(line) - 1)]
            if self.lease is not None:
                await self._keep_tables(row.record for row in some if row.record in records)
            for row in some:
                head, record = heads.get(f"{row.lineage}/{row.version}"), records.get(row.record)
                gone += [stored for stored in (head, record) if stored is not None]
                if self.lease is None:
                    continue
                if head is not None:
                    await self._delete("heads", head)
                    reach("sweep.after_head")
                if record is not None:
                    await self._delete("records", record)
                    reach("sweep.after_record")
        return gone

    async def _has_listing(self, row: VersionRow) -> bool:
        try:
            encoded = await self.estate.vault.get_record(self.tenant, self.project, row.record)
        except StoreMissing:
            return False
        return decode_record(encoded).listing is not None

    async def _keep_tables(self, records: Iterable[str]) -> None:
        """Write down again what lies in the packs that these records brought and that still are."""
        assert self.lease is not None
        await self.lease.renew()
        kept: list[PackTable] = []
        for name in records:
            record = decode_record(await self.estate.vault.get_record(self.tenant, self.project, name))
            kept += [table for table in record.packs if table.name in self.rows]
        await self._put_tables(kept)

    # Leavings ---------------------------------------------------------------------------------------------------------

    async def packs(self) -> list[StoredObject]:
        """Packs of pushes that never reached their commit.

        None where a pack of the catalog is missing: after an old catalog was put back, its content may be in packs that
        only tables name, and ``satchel admin restore`` has to find them.
        """
        if await self._lacking():
            return []
        return await self._remove("packs", lambda name: name in self.rows or name in self.elsewhere)

    async def _lacking(self) -> bool:
        there = {stored.name for stored in self.stored["packs"]}
        async with self.estate.catalog.read(self.tenant) as s:
            rows = await dying.names(s, self.project)  # again: a pack may have been deleted since
        for name in rows.keys() - there:
            try:  # put after the listing, or not listed yet
                await self.estate.store.get(f"{self._folder}/packs/{name}", offset=0, length=1)
            except StoreMissing:
                return True
        return False

    async def records(self) -> list[StoredObject]:
        """Records of commits that lost or were cut off."""
        return await self._remove("records", lambda name: name in self.versions or name in self.elsewhere)

    async def tables(self) -> list[StoredObject]:
        """Tables all of whose packs are gone; and where there are many, one in place of them all."""
        there = self.rows.keys() | {stored.name for stored in self.stored["packs"]}
        gone: list[StoredObject] = []
        kept: dict[str, PackTable] = {}
        merged: list[StoredObject] = []
        for stored in self.stored["tables"]:
            tables = await self.estate.vault.get_tables(self.tenant, self.project, stored.name)
            young = stored.modified >= self.old  # what it tells of may not have been looked at
            alive = [table for table in tables if young or table.name in there]
            if alive or young:
                kept.update((table.name, table) for table in alive)
                merged.append(stored)
            else:
                gone.append(stored)
        if self.lease is not None:
            if len(merged) > MAX_TABLES:
                await self._put_tables(list(kept.values()))
                gone += merged
            for stored in gone:
                await self._delete("tables", stored)
        elif len(merged) > MAX_TABLES:
            gone += merged
        return gone

    async def checkpoints(self) -> list[Found]:
        """Checkpoints that do not count, and what is left of those that were cut off."""
        estate = self.estate
        kept = Checkpoints(estate.store, estate.keyring, random=estate.random)
        found = await kept.all(self.tenant, self.project)
        if not found:
            return []
        now = await standing(estate.catalog, estate.keyring, self.tenant, self.project)
        gone = leavings(found, now, self.old)
        if self.lease is not None:
            await kept.delete(self.tenant, self.project, gone)
        return gone

    async def _put_tables(self, tables: Sequence[PackTable]) -> None:
        for start in range(0, len(tables), TABLES_AT_ONCE):
            await self.estate.vault.put_tables(self.tenant, self.project, tables[start : start + TABLES_AT_ONCE])
            reach("sweep.after_tables")

    async def _remove(self, kind: str, named: Callable[[str], bool]) -> list[StoredObject]:
        gone = [stored for stored in self.stored[kind] if stored.modified < self.old and not named(stored.name)]
        left = set(self.stored[kind]).difference(gone)
        self.stored[kind] = [stored for stored in self.stored[kind] if stored in left]
        if self.lease is not None:
            for stored in gone:
                await self._delete(kind, stored)
        return gone

    async def _delete(self, kind: str, stored: StoredObject) -> None:
        await self.estate.vault.delete(self.tenant, self.project, kind, stored.name)


def _sum(stored: Sequence[StoredObject]) -> tuple[int, int]:
    return len(stored), sum(each.size for each in stored)

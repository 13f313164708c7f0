"""Mending what a check found: from a copy of the store, or by keeping what is sound and asking clients for the rest.

With a copy, the bytes under the same name there are checked as ours are, and only if they are sound do they take the
place of ours, which were looked at once more; a pack that the copy cannot mend stays as it is. Without one, the sound
frames of a damaged pack are put into a new pack, and what is lost is noted: a client that still has it sends it with
its next sync.

    the new pack in the store  ·  a table of it  ·  the catalog's transaction

A repair that is killed has changed nothing or all of one thing; run again, it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from satchel.catalog import damage, inspection, packs, quotas, versions
from satchel.catalog.inspection import PackState
from satchel.catalog.packs import LIVE, PENDING, PlaceRow
from satchel.errors import Damaged, FrameRefused, StoreMissing
from satchel.objects.ids import ObjectId, ProjectId, TenantId, new_id
from satchel.objects.record import FrameAt, PackTable, decode_record, decode_tables
from satchel.objects.seal import EPOCH_BYTES, Binding, epoch_of, open_sealed
from satchel.store import checkpoints
from satchel.store.checkpoints import Checkpoints
from satchel.store.keyring import EpochUnknown
from satchel.store.objectstore import ObjectStore
from satchel.store.packs import HeadClash
from satchel.store.places import Place, places_of
from satchel.upkeep.about import refresh_about
from satchel.upkeep.contents import lost_objects, pack_path, table_of
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import Problem, VerifyReport
from satchel.upkeep.lease import Lease, upkeep_lease
from satchel.upkeep.opened import KeyOf, open_pack

COPIES_BELOW = ("", "objects/")
"""Where a copy lies in its store: under the same name, or below this, where a backup keeps objects."""
_FROM_BACKUP = "restore it from a copy of the store, or from a backup"
_NOT_IN_COPY = "the copy has no sound one; without --from, --repair keeps what is sound and asks clients for the rest"
_KEYS = "restore the keys from a backup (satchel admin restore)"
_CATALOG = "restore the catalog from a backup (satchel admin restore), or rebuild it (satchel admin rebuild-catalog)"


@dataclass(slots=True)
class Repaired:
    """What a repair did."""

    restored: int = 0
    """Stored objects put back from the copy."""
    moved: int = 0
    """Objects that were still sound in a damaged pack, now in a new one."""
    lost: int = 0
    """Objects noted as lost, to be asked of clients."""
    rewritten: int = 0
    """Heads, tables, names and counts of use written anew from what the catalog knows."""
    dropped: int = 0
    """Checkpoints of indexes deleted, which nothing depends on."""
    left: list[str] = field(default_factory=list)
    """What this cannot mend, and what can."""

    def told(self) -> dict[str, object]:
        """For a program."""
        names = ("restored", "moved", "lost", "rewritten", "dropped")
        return {**{name: getattr(self, name) for name in names}, "left": self.left}

    def lines(self) -> list[str]:
        """For a person."""
        said = [
            (self.restored, "put back from the copy"),
            (self.moved, "still sound in a damaged pack, moved to a new one"),
            (self.lost, "lost here, and asked of the clients: who still has it sends it with the next sync"),
            (self.rewritten, "written anew: heads, tables, names or what is counted as used"),
            (self.dropped, "dropped: checkpoints of search indexes, which are made again"),
        ]
        done = (f"{count:,} {'object' if count == 1 else 'objects'} {text}" for count, text in said if count)
        return [*done, *(f"Left: {text}" for text in self.left)]


async def repair(estate: Estate, report: VerifyReport, copy: ObjectStore | None = None) -> Repaired:
    """Mend the problems of a report, under the upkeep lease of each tenant.

    Raises ``UpkeepBusy`` if another work is under way, and what the stores raise.
    """
    done = Repaired()
    by_tenant: dict[TenantId, list[Problem]] = {}
    for problem in report.problems:
        if problem.tenant_id is None:
            done.left.append(f"{problem}: {_CATALOG}")
        else:
            by_tenant.setdefault(problem.tenant_id, []).append(problem)
    for tenant, problems in by_tenant.items():
        async with upkeep_lease(estate, tenant, "repair") as lease:
            one = _Repair(estate, lease, tenant, copy, done)
            for problem in sorted(problems, key=lambda problem: problem.kind != "keyring"):  # nothing opens without
                await lease.renew()
                await one.mend(problem)
    return done


class _Repair:
    """The repair of one tenant."""

    def __init__(
        self, estate: Estate, lease: Lease, tenant: TenantId, copy: ObjectStore | None, done: Repaired
    ) -> None:
        self.estate, self.lease, self.tenant, self.copy, self.done = estate, lease, tenant, copy, done

    async def mend(self, problem: Problem) -> None:
        if problem.kind in ("catalog", "version", "audit"):
            self.done.left.append(f"{problem}: {_CATALOG}")
            return
        if problem.kind == "keyring":
            await self._keyring(problem)
            return
        if problem.kind == checkpoints.KIND and problem.project_id is not None:
            await self._checkpoint(problem.project_id, problem.name)
            return
        if problem.kind == "usage":
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                await quotas.recount(s)
            self.done.rewritten += 1
            return
        if problem.kind != "object":
            if await self._sound(self.estate.store, problem.name, problem) is not None:
                return  # somebody mended it
            if await self._from_copy(problem):
                self.done.restored += 1
                return
        if problem.kind == "pack" and self.copy is not None:
            # Perhaps the wrong copy was named: once the pack is given up, the right one no longer helps.
            self.done.left.append(f"{problem}: {_NOT_IN_COPY}")
        elif not await self._without(problem):
            self.done.left.append(f"{problem}: {_FROM_BACKUP}")

    async def _without(self, problem: Problem) -> bool:
        """Mend what needs no copy; whether it could be."""
        if problem.kind == "about":
            self.done.rewritten += await refresh_about(self.estate, self.tenant)
            return True
        if problem.project_id is None:
            return False
        if problem.kind == "pack":
            return await self._salvage(problem.project_id, problem.name.rpartition("/")[2])
        if problem.kind == "object":
            return await self._note(problem.project_id, problem.objects)
        if problem.kind == "head":
            return await self._head(problem.project_id, problem.name)
        return problem.kind == "table" and await self._table(problem.project_id, problem.name)

    async def _checkpoint(self, project: ProjectId, name: str) -> None:
        """Delete a checkpoint of an index: a node puts another."""
        estate, own = self.estate, name.split("/")[-2]
        kept = Checkpoints(estate.store, estate.keyring, random=estate.random)
        gone = [found for found in await kept.all(self.tenant, project) if found.name == own]
        await kept.delete(self.tenant, project, gone)
        self.done.dropped += len(gone)

    # From a copy ------------------------------------------------------------------------------------------------------

    async def _from_copy(self, problem: Problem) -> bool:
        for below in COPIES_BELOW if self.copy is not None else ():
            assert self.copy is not None
            data = await self._sound(self.copy, below + problem.name, problem)
            if data is not None:
                await self.estate.store.put(problem.name, data)
                return True
        return False

    async def _sound(self, store: ObjectStore, name: str, problem: Problem) -> bytes | None:
        """The bytes under a name, if they are what the problem's object should be."""
        try:
            data = await store.get(name)
            key_of = await self.estate.keyring.key_of(self.tenant, anew=True)
            if problem.kind == "pack":
                return data if problem.project_id and await self._sound_pack(problem, data, key_of) else None
            await asyncio.to_thread(self._open, problem, data, key_of)
        except Damaged:
            return None
        return data

    def _open(self, problem: Problem, data: bytes, key_of: KeyOf) -> None:
        """Raise ``Damaged`` unless ``data`` opens as what it should be."""
        own = problem.name.rpartition("/")[2]
        if problem.kind == "head":
            own = "/".join(problem.name.split("/")[-2:])
        elif problem.kind == "about":
            own = "about"
        binding = Binding(self.tenant, problem.project_id or "", problem.kind)
        plaintext = open_sealed(key_of, binding, own, data)
        if problem.kind == "record":
            decode_record(plaintext)
        elif problem.kind == "table":
            decode_tables(plaintext)

    async def _sound_pack(self, problem: Problem, data: bytes, key_of: KeyOf) -> bool:
        assert problem.project_id is not None
        pack, table = await self._pack(problem.project_id, problem.name.rpartition("/")[2])
        if pack is None or table is None or len(data) != pack.size:
            return False
        binding = Binding(self.tenant, problem.project_id, "frame")
        return not (await asyncio.to_thread(open_pack, data, table, key_of, binding)).broken

    async def _keyring(self, problem: Problem) -> None:
        """Put back the generation that counts, if the copy has that very one."""
        prefix = f"{problem.name}/"
        own = [stored.name async for stored in self.estate.store.list(prefix)]
        for below in COPIES_BELOW if self.copy is not None else ():
            assert self.copy is not None
            names = [stored.name.removeprefix(below) async for stored in self.copy.list(below + prefix)]
            newest = max([*own, *names], key=_number, default="")
            if newest not in names:
                continue
            data = await self.copy.get(below + newest)
            ours = await self.estate.store.get(newest) if newest in own else None
            await self.estate.store.put(newest, data)
            try:
                await self.estate.keyring.key_of(self.tenant, anew=True)
            except Damaged:  # no better than what there was, and one that is not there hides none of another copy
                await (self.estate.store.delete(newest) if ours is None else self.estate.store.put(newest, ours))
                continue
            self.done.restored += 1
            return
        self.done.left.append(f"{problem}: {_KEYS}")

    # Without ----------------------------------------------------------------------------------------------------------

    async def _pack(self, project: ProjectId, name: str) -> tuple[PackState | None, PackTable | None]:
        async with self.estate.catalog.read(self.tenant) as s:
            pack = await inspection.pack_state(s, project, name)
            rows = await inspection.places_in(s, project, name)
        try:
            return pack, None if pack is None else table_of(pack, rows)
        except FrameRefused:
            return pack, None

    async def _salvage(self, project: ProjectId, name: str, lying: Collection[ObjectId] = ()) -> bool:
        """Move what a damaged pack still holds to a new one, and note what is lost, ``lying`` long objects among it."""
        pack, table = await self._pack(project, name)
        if pack is None or pack.state not in (LIVE, PENDING):
            return True
        if pack.state == PENDING:
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                await packs.forget_packs(s, project, [name])  # no commit relies on it: its sender sends it again
            return True
        if table is None:
            return False
        data = await _bytes(self.estate.store, pack_path(self.tenant, project, name))
        key_of = await self.estate.keyring.key_of(self.tenant, anew=True)
        epoch = _without_key(data, table, key_of)
        if epoch is not None:
            self.done.left.append(f"pack {name}: there is no key of epoch {epoch}, {_KEYS}")
            return True
        opened = await asyncio.to_thread(open_pack, data, table, key_of, Binding(self.tenant, project, "frame"))
        broken = {*opened.broken, *(n for n, frame in enumerate(table.frames) if frame.table[0].object in lying)}
        if not broken and len(data) == pack.size:
            return True
        kept = [frame for index, frame in enumerate(table.frames) if index not in broken]
        lost = lost_objects(table, broken)
        await self._replace(project, pack, kept, data, lost)
        self.done.moved += len({slot.object for frame in kept for slot in frame.table} - set(lost))
        return True

    async def _replace(
        self, project: ProjectId, old: PackState, kept: Sequence[FrameAt], data: bytes, lost: Sequence[ObjectId]
    ) -> None:
        """Sealed frames name no pack: they go over as they are."""
        fresh = _packed(new_id("pak", self.estate.random(16)), kept)
        async with self.estate.catalog.read(self.tenant) as s:
            rows = await inspection.places_in(s, project, old.name)
        sizes = {row.object: row.size for row in rows}
        if kept:
            pieces = [data[frame.offset : frame.offset + frame.length] for frame in kept]
            await self.estate.store.put(pack_path(self.tenant, project, fresh.name), b"".join(pieces), create=True)
            await self.estate.vault.put_tables(self.tenant, project, [fresh])
        async with self.estate.catalog.write(self.tenant) as s:
            await self.lease.stands(s)
            if not await packs.lock_live(s, project, [old.name]):
                return  # somebody else replaced it: what was put is garbage
            now = self.estate.clock()
            await packs.mark_dying(s, project, [old.name], now)
            if kept:
                places = [PlaceRow(*place) for place in places_of(fresh, sizes)]
                await packs.add_pack(s, project, fresh.name, fresh.size, places, now, now=now)
                await packs.rely_on(s, project, [], [fresh.name])
            self.done.lost += await damage.note(s, project, lost, now)

    async def _note(self, project: ProjectId, objects: Sequence[ObjectId]) -> bool:
        """Note an object that no pack holds; one whose stored bytes lie is taken out of the packs that hold it.

        Of a long one that lies in several packs each frame may be sound, and the whole another than its name says.
        """
        async with self.estate.catalog.read(self.tenant) as s:
            places = await packs.places(s, project, objects)
        lying = list[ObjectId]()
        if places:
            try:
                await self.estate.vault.read_object(self.tenant, project, [Place(*row) for row in places])
            except Damaged:
                lying = [row.object for row in places if row.parts > 1]
        for name in sorted({row.pack for row in places}):
            if not await self._salvage(project, name, lying):
                return False
        async with self.estate.catalog.write(self.tenant) as s:
            await self.lease.stands(s)
            self.done.lost += await damage.note(s, project, objects, self.estate.clock())
        return True

    async def _head(self, project: ProjectId, name: str) -> bool:
        """Confirm a version anew, if its record is sound."""
        version = int(name.rpartition("/")[2])
        vault = self.estate.vault
        async with self.estate.catalog.read(self.tenant) as s:
            row = await versions.version(s, project, version)
        try:
            record = decode_record(await vault.get_record(self.tenant, project, row.record))
        except Damaged:
            return False
        if (record.lineage, record.version, record.digest) != (row.lineage, row.version, row.digest):
            return False
        try:
            await vault.confirm_head(self.tenant, project, row.lineage, version, row.record)
        except HeadClash:
            return False  # two records claim the version: a person decides
        except Damaged:
            await self.estate.store.delete(name)
            await vault.confirm_head(self.tenant, project, row.lineage, version, row.record)
        self.done.rewritten += 1
        return True

    async def _table(self, project: ProjectId, name: str) -> bool:
        """Say anew where everything lies, and drop the table that does not open."""
        tables: list[PackTable] = []
        after = ""
        while True:
            async with self.estate.catalog.read(self.tenant) as s:
                page = await inspection.packs_after(s, project, after)
            for pack in page:
                if pack.state == LIVE:
                    _, table = await self._pack(project, pack.name)
                    if table is None:
                        return False
                    tables.append(table)
            if not page:
                break
            after = page[-1].name
        for start in range(0, len(tables), inspection.PAGE):
            await self.estate.vault.put_tables(self.tenant, project, tables[start : start + inspection.PAGE])
        await self.estate.store.delete(name)
        self.done.rewritten += 1
        return True


async def _bytes(store: ObjectStore, name: str) -> bytes:
    try:
        return await store.get(name)
    except StoreMissing:
        return b""


def _without_key(data: bytes, table: PackTable, key_of: KeyOf) -> int | None:
    """The epoch that all frames of a pack say they are sealed in, if its key is missing: then none of them is damaged.

    Such a pack has to stay: it can be read again once the newer keyring is back.
    """
    try:
        epochs = {epoch_of(data[frame.offset : frame.offset + EPOCH_BYTES]) for frame in table.frames}
    except Damaged:
        return None
    epoch = epochs.pop()
    try:
        key_of(epoch)
    except EpochUnknown:
        return None if epochs else epoch
    return None


def _packed(name: str, frames: Sequence[FrameAt]) -> PackTable:
    """The table of a pack that holds these frames one after another."""
    at, placed = 0, []
    for frame in frames:
        placed.append(frame._replace(offset=at))
        at += frame.length
    return PackTable(name, at, tuple(placed))


def _number(name: str) -> int:
    last = name.rpartition("/")[2]
    return int(last) if last.isdecimal() else 0

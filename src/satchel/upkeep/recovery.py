"""Bringing one project of a catalog that nobody serves from to the newest state that the bucket proves.

The catalog's rows are where the walk starts: those of a restored backup, or none at all. A version that the bucket
confirms as another record was never acknowledged (a database that had lost commits took it): it is taken back first.
What the bucket confirms beyond is applied. The lineage stays if nothing was taken back, the walk came to its end with
nothing missing, and no record lies beyond that end. Then every commit that anybody was told of is here, and clients go
on as if nothing had happened. Otherwise a new lineage begins at what could be recovered: clients then compare anew,
delete nothing, and bring back what they have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from satchel.catalog import damage, inspection, packs, projects, purges, recover, retention, versions
from satchel.catalog.packs import PENDING, PackRow
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.catalog.versions import VersionRow
from satchel.documents import MANIFEST_PATH
from satchel.documents.document import DESCRIBE_BYTES, describe
from satchel.documents.kinds import kind_of_path
from satchel.documents.manifest import parse_manifest
from satchel.errors import Damaged, NoSuchVersion, SatchelError, StoreMissing
from satchel.objects.ids import Lineage, ObjectId, ProjectId, TenantId, new_id
from satchel.objects.listing import digest as listing_digest
from satchel.objects.record import FULL_LISTING_EVERY, PackTable
from satchel.store.about import Abouts, ProjectAbout
from satchel.store.packs import Place
from satchel.sync.intake import MAX_MANIFEST_BYTES
from satchel.upkeep.chain import Point, Unconfirmed, Walk
from satchel.upkeep.contents import table_of
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.replay import EntryRow, Replay, shelve, sized, sizes_in

AT_ONCE = 2_000
"""Objects whose places are looked up at once."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of one project."""

    tenant: TenantId
    project: ProjectId
    slug: str
    applied: int
    """Versions taken from the bucket, up to ``version``."""
    version: int
    lineage: Lineage
    new_lineage: bool
    why: str
    """Why the lineage is new; empty where it is not."""
    unconfirmed: tuple[Unconfirmed, ...]
    """Records that no head confirms. They were not applied."""
    floor: int
    """The oldest version that can be read in full; 0 or 1 if all can."""
    missing: int
    """Objects of the newest version that no pack of the bucket holds, other than those that were purged."""


async def recover_project(
    estate: Estate, tenant: TenantId, project: ProjectId, *, progress: Progress = silent
) -> Recovered:
    """Bring the project, which the catalog knows, forward, and begin a new lineage where that is needed.

    Raises what the store raises when it does not answer. Begun again it comes to the same.
    """
    parted = await _take_back(estate, tenant, project)
    async with estate.catalog.read(tenant) as s:
        row = await projects.get(s, project)
        assert row is not None  # the caller found or made it
        living = await recover.living(s, project)
        records = set(await recover.records(s, project))
        record = (await versions.version(s, project, row.version)).record if row.version else ""
    walk = Walk(estate.vault, tenant, project)
    await walk.look()
    one = _Project(estate, row, tenant, walk, Replay(living={e[0]: _entry(e) for e in living}), progress)
    await one.walk_on(record)
    await one.write()
    known = records | {version.record for version in one.replay.versions}
    unconfirmed = await walk.unconfirmed(known)
    if walk.at.lineage != row.lineage:
        parted = None  # a run before this one began the new line
    why = walk.broken or parted or one.doubt(unconfirmed)
    lineage = await one.settle(why)
    return Recovered(
        tenant,
        project,
        row.slug,
        len(one.replay.versions),
        walk.at.version,
        lineage,
        bool(why),
        why or "",
        tuple(unconfirmed),
        one.floor,
        one.missing,
    )


async def _take_back(estate: Estate, tenant: TenantId, project: ProjectId) -> str | None:
    """Take back the newest versions if the bucket confirms others by their numbers; then why the line is a new one."""
    async with estate.catalog.read(tenant) as s:
        last = (await versions.head(s, project)).version
    taken: VersionRow | None = None
    lineage, digest = Lineage(""), listing_digest({})
    while last:
        try:
            async with estate.catalog.read(tenant) as s:
                row = await versions.version(s, project, last)
            head = await estate.vault.confirmed_head(tenant, project, row.lineage, last)
        except (NoSuchVersion, Damaged):
            return None  # nothing says for certain where they part
        if head is None or head == row.record:
            lineage, digest = row.lineage, row.digest
            break
        taken, last = row, last - 1
    if taken is None:
        return None
    async with estate.catalog.directory(write=True) as d:
        s = d.enter(tenant, erasing=True)
        await recover.cut(s, project, lineage or taken.lineage, last, digest, taken.time)
    return f"the catalog had another version {taken.version} than was acknowledged"


class _Project:
    """One project on its way."""

    def __init__(
        self, estate: Estate, row: ProjectRow, tenant: TenantId, walk: Walk, replay: Replay, progress: Progress
    ) -> None:
        self.estate, self.row, self.tenant, self.project = estate, row, tenant, row.id
        self.walk, self.replay, self.progress = walk, replay, progress
        self.moved: list[PackTable] = []
        self.about: ProjectAbout | None = None
        self.purged: Mapping[ObjectId, int] = {}
        self.floor = 0
        self.missing = 0

    async def walk_on(self, record: str) -> None:
        """Apply what the bucket confirms after the catalog's head, whose record is ``record``."""
        self.moved = await self._tables()
        self.purged = await self._purges()
        self.about = await self._about()
        line = self.walk.line(None if self.about is None else self.about.lineage)
        start = await self.walk.point(self.row.lineage, self.row.version, record)
        if not line:
            self.walk.at = start
            if self.row.version:
                self.walk.broken = "the bucket confirms no version of it"
            return
        if not self.row.version:
            start = start._replace(lineage=line[0][0])
        if not start.version and self.walk.lowest(line[0][0]) > 1:
            self.walk.at = start
            if not await self._resume(line):
                self.walk.broken = "its oldest versions are gone, and no later record has the whole listing"
                return
            start = self.walk.at
        await self._apply(start, line)
        broken = self.walk.broken
        if broken is not None and self.walk.on(start, line) and await self._resume(line):
            # Everything from here on is later than what is missing. The line stays broken.
            await self._apply(self.walk.at, line)
            self.walk.broken = broken

    async def write(self) -> None:
        """Put into the catalog what was learnt: packs first, since describing content reads it."""
        live, spare, gone = await self._shelve()
        async with self.estate.catalog.write(self.tenant) as s:
            await recover.drop_packs(s, self.project, gone)
            now = self.estate.clock()
            await recover.add_packs(s, self.project, live, now)
            await recover.add_packs(s, self.project, spare, now, dying=True)
        manifest = await self._describe()
        digest, files, size = self.replay.head
        async with self.estate.catalog.write(self.tenant) as s:
            if self.replay.versions:
                await recover.add_versions(s, self.project, self.replay.versions, self.replay.rows())
                at = self.walk.at
                await recover.set_head(s, self.project, at.lineage, at.version, digest, files, size)
            if manifest is not None:
                await projects.set_relations(s, self.project, _relations(manifest))
            lost = set(await packs.missing(s, self.project, await recover.objects(s, self.project)))
            for name in sorted(lost & self.purged.keys()):
                await purges.note(s, self.project, [name], self.purged[name])
            lost -= await purges.which(s, self.project, lost)
            lost = await self._without_expired(s, lost)
            await retention.raise_floor(s, self.project, self.floor)
            self.missing = await damage.note(s, self.project, lost, self.estate.clock()) if lost else 0

    async def _without_expired(self, s: Scope, lost: set[ObjectId]) -> set[ObjectId]:
        """Those of ``lost`` that the newest version has. Others were most likely collected: versions with them expired.

        Which versions a tenant keeps is not known here for certain, so the floor is raised above what cannot be read.
        """
        lives = await recover.lives(s, self.project, lost)
        self.floor = max([self.floor, *(until for _, until in lives if until is not None)])
        return {name for name, until in lives if until is None}

    def doubt(self, unconfirmed: list[Unconfirmed]) -> str | None:
        """Why the end that the walk came to may not be the end, or ``None``."""
        at = self.walk.at
        if self.walk.unclear is not None:
            return self.walk.unclear
        if any(other.lineage == at.lineage and other.version > at.version for other in unconfirmed):
            return f"there is a record after version {at.version} that was committed or not: nothing confirms it"
        if self.walk.heads and self.about is not None and self.about.lineage not in self.walk.heads:
            return "the project was said to be of another line of history, which the bucket does not show"
        return None

    async def settle(self, why: str | None) -> Lineage:
        """Give the project its lineage, a new one if there is a reason; say so in the bucket before the catalog."""
        at = self.walk.at
        lineage = Lineage(new_id("lin", self.estate.random(16))) if why else at.lineage
        if why:
            if at.version:
                await self.estate.vault.confirm_head(self.tenant, self.project, lineage, at.version, at.record)
            row = self.row
            said = ProjectAbout(row.slug, row.description, row.created, row.archived, lineage)
            abouts = Abouts(self.estate.store, self.estate.keyring, random=self.estate.random)
            await abouts.put_project(self.tenant, self.project, said)
        async with self.estate.catalog.write(self.tenant) as s:
            await recover.start_lineage(s, self.project, lineage)
        return lineage

    async def _apply(self, start: Point, line: list[tuple[Lineage, int]]) -> None:
        """Apply every step from ``start``; the walk ends before one that does not fit."""
        total, before = max(self.walk.heads[line[-1][0]]), start
        async for step in self.walk.follow(start, line):
            try:
                self.replay.apply(step.record)
            except Damaged as error:
                self.walk.broken, self.walk.at = error.message, before
                return
            before = step.point
            self.progress(step.point.version, max(total, step.point.version))

    async def _resume(self, line: list[tuple[Lineage, int]]) -> bool:
        """Go on at the next record after the walk's end that has the whole listing; False if there is none."""
        first = self.walk.at.version // FULL_LISTING_EVERY + 1
        for lineage, end in line:
            last = end or max(self.walk.heads[lineage])
            for version in range(first * FULL_LISTING_EVERY, last + 1, FULL_LISTING_EVERY):
                try:
                    found = await self.walk.record(lineage, version)
                    if found is None or found[0].lineage != lineage:
                        continue
                    record, digest = found
                    tables = [*self.moved, *(table for _, table in self.replay.packs), *record.packs]
                    self.replay.resume(record, sizes_in(tables))
                except Damaged:
                    continue
                self.walk.at = Point(lineage, version, record.id, digest)
                self.floor = version
                return True
        return False

    async def _about(self) -> ProjectAbout | None:
        abouts = Abouts(self.estate.store, self.estate.keyring, random=self.estate.random)
        try:
            return await abouts.project(self.tenant, self.project)
        except Damaged:
            return None

    async def _tables(self) -> list[PackTable]:
        """What the tables in the bucket say of packs to which content was moved."""
        found: list[PackTable] = []
        async for stored in self.estate.vault.names(self.tenant, self.project, "tables"):
            try:
                found += await self.estate.vault.get_tables(self.tenant, self.project, stored.name)
            except Damaged:
                continue  # what they tell of is missing then, and said to be
        return found

    async def _purges(self) -> dict[ObjectId, int]:
        """What was removed on purpose, and when last."""
        found: dict[ObjectId, int] = {}
        async for stored in self.estate.vault.names(self.tenant, self.project, "purges"):
            try:
                purge = await self.estate.vault.get_purge(self.tenant, self.project, stored.name)
            except Damaged:
                continue
            for name in purge.objects:
                found[name] = max(purge.time, found.get(name, 0))
        return found

    async def _shelve(self) -> tuple[list[PackRow], list[PackRow], list[recover.HeldPack]]:
        """Packs to be added, packs that hold nothing the others lack, and packs of the catalog that are to be dropped.

        Those are the packs whose bytes are gone; and those that are added as if they were not known: a pack that was
        waiting for its commit, which has come since, and one of which something was purged since.
        """
        there = {p.name: p.size async for p in self.estate.vault.names(self.tenant, self.project, "packs")}
        async with self.estate.catalog.read(self.tenant) as s:
            held = await recover.packs(s, self.project, dying=True)
            purged = await recover.purged_since(s, self.project, self.purged)
            before = [(time, await self._table(s, name)) for name, time in purged.items()]
        told = {table.name for table in (*self.moved, *(table for _, table in self.replay.packs))}
        again = {pack.name for pack in held if pack.state == PENDING and pack.name in told} | purged.keys()
        known = {pack.name for pack in held} - again
        brought = before + [(time, table) for time, table in self.replay.packs if table.name not in known]
        for name, size in [(p.name, p.size) for p in held] + [(table.name, table.size) for _, table in brought]:
            if name not in there and await self._stands(name, size):
                there[name] = size  # the listing lags
        moved = [table for table in self.moved if table.name not in known | purged.keys()]
        live, spare = shelve(moved, brought, there, self.purged)
        sizes = sizes_in([*moved, *(table for _, table in brought)])
        return sized(live, sizes), spare, [pack for pack in held if pack.name not in there or pack.name in again]

    async def _table(self, s: Scope, name: str) -> PackTable:
        pack = await inspection.pack_state(s, self.project, name)
        assert pack is not None  # it was found a moment ago, and nobody else writes
        return table_of(pack, await inspection.places_in(s, self.project, name))

    async def _stands(self, pack: str, size: int) -> bool:
        name = f"tenants/{self.tenant}/projects/{self.project}/packs/{pack}"
        try:
            await self.estate.store.get(name, offset=size - 1, length=1)
        except StoreMissing:
            return False
        return True

    async def _describe(self) -> bytes | None:
        """Give every new entry its kind and title; the content of the manifest, if that is new (empty: it is gone)."""
        waiting: dict[ObjectId, list[EntryRow]] = {}
        for row in self.replay.new:
            waiting.setdefault(row.object, []).append(row)
        top = self.replay.living.get(MANIFEST_PATH)
        manifest = b"" if top is None and self.replay.versions else None
        names = list(waiting)
        for at in range(0, len(names), AT_ONCE):
            async with self.estate.catalog.read(self.tenant) as s:
                rows = await versions.places(s, self.project, names[at : at + AT_ONCE])
            async for name, data in self._contents([Place(*row) for row in rows]):
                for row in waiting.pop(name, []):
                    row.kind, row.title = describe(row.path, data[:DESCRIBE_BYTES])
                    if row is top and len(data) <= MAX_MANIFEST_BYTES:
                        manifest = data
        for left in waiting.values():
            for row in left:
                row.kind = row.kind or kind_of_path(row.path)
        return manifest

    async def _contents(self, places: list[Place]) -> AsyncIterator[tuple[ObjectId, bytes]]:
        """What can be read of the objects."""
        done: set[ObjectId] = set()
        try:
            async for name, data in self.estate.vault.read_objects(self.tenant, self.project, places):
                done.add(name)
                yield name, data
            return
        except Damaged:
            pass  # one by one, then
        by_object: dict[ObjectId, list[Place]] = {}
        for place in places:
            by_object.setdefault(place.object, []).append(place)
        for name in by_object.keys() - done:
            try:
                yield name, await self.estate.vault.read_object(self.tenant, self.project, by_object[name])
            except Damaged:
                continue


def _entry(row: tuple[str, int, str, int, str, str, str]) -> EntryRow:
    path, since, name, size, mode, kind, title = row
    return EntryRow(path, since, None, ObjectId(name), size, mode, kind, title, fresh=False)


def _relations(manifest: bytes) -> list[tuple[str, str]]:
    """What the manifest declares; one that does not parse declares nothing."""
    try:
        return [(relation.type, relation.project) for relation in parse_manifest(manifest).relations]
    except SatchelError:
        return []

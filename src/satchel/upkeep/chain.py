"""Following a project's history in the bucket: confirmed heads, version by version, from line to line.

Every acknowledged commit has its head object, and every head names one record, which names its parent. So whoever
follows the heads by name (a listing may lag, a read by name may not) until one is absent has all that was acknowledged.
A lineage that continues another shows it by its lowest head: that names either a record of the other lineage (the mark
with which a restore begins a lineage) or a record whose parent is in the other lineage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.errors import Damaged, StoreMissing
from satchel.objects.ids import Lineage, ProjectId, TenantId
from satchel.objects.record import CommitRecord, decode_record, record_hash
from satchel.store.packs import Vault


class Point(NamedTuple):
    """A version of a line of history: the id of its record, and the record's hash where it is known."""

    lineage: Lineage
    """The one under whose head the next version is to be looked for."""
    version: int
    record: str
    """Empty at version 0, before the first commit."""
    hash: str | None


class Step(NamedTuple):
    """One more version: its record, and where the walk is then."""

    record: CommitRecord
    point: Point


class Unconfirmed(NamedTuple):
    """A record that no head confirms: a commit that lost, was cut off, or was about to be acknowledged."""

    record: str
    lineage: Lineage
    version: int


class _Root(NamedTuple):
    """Where a lineage comes from: its lowest version in the bucket, and which version of which lineage is before."""

    lowest: int
    parent: Lineage | None
    fork: int


@dataclass(slots=True)
class Walk:
    """Walks from a point to the newest version that the bucket confirms. Read ``broken`` and ``at`` when it ended."""

    vault: Vault
    tenant: TenantId
    project: ProjectId
    heads: dict[Lineage, set[int]] = field(default_factory=dict)
    at: Point = field(default_factory=lambda: Point(Lineage(""), 0, "", None))
    broken: str | None = None
    """Why the walk could not go on to the end; ``None`` if it did."""
    unclear: str | None = None
    """Why the line that was walked may not be the one that counts."""
    _roots: dict[Lineage, _Root] = field(default_factory=dict)

    async def look(self) -> None:
        """Learn which heads there are, and how the lineages hang together. Raises what the store raises."""
        async for stored in self.vault.names(self.tenant, self.project, "heads"):
            lineage, _, version = stored.name.partition("/")
            self.heads.setdefault(Lineage(lineage), set()).add(int(version))
        for lineage in self.heads:
            self._roots[lineage] = await self._root(lineage)

    def line(self, preferred: Lineage | None) -> list[tuple[Lineage, int]]:
        """The current line of history as lineages, oldest first, each with the last version that counts of it.

        That is the one that no other continues; of several ``preferred`` if it is one of them. The last has no end: 0.
        Empty if the bucket confirms nothing.
        """
        continued = {root.parent for root in self._roots.values()}
        leaves = [lineage for lineage in self.heads if lineage not in continued]
        if not leaves:
            return []
        newest = max(leaves, key=lambda lineage: (lineage == preferred, max(self.heads[lineage]), lineage))
        if len(leaves) > 1 and newest != preferred:
            self.unclear = f"{len(leaves)} lines of history end here"
        found = [(newest, 0)]
        seen = {newest}
        while (root := self._roots[found[0][0]]).parent is not None and root.parent not in seen:
            seen.add(root.parent)
            found.insert(0, (root.parent, root.fork))
        return found

    def lowest(self, lineage: Lineage) -> int:
        """The oldest version of a lineage that the bucket still confirms."""
        return self._roots[lineage].lowest

    def on(self, point: Point, line: list[tuple[Lineage, int]]) -> bool:
        """Whether a point lies on a line."""
        return any(lineage == point.lineage and (not end or point.version <= end) for lineage, end in line)

    async def follow(self, start: Point, line: list[tuple[Lineage, int]]) -> AsyncIterator[Step]:
        """Each version after ``start`` on ``line``, in order. Raises only what a store that does not answer raises."""
        self.at = start
        if not self.on(start, line):
            self.broken = f"the bucket's line of history does not lead through version {start.version} of this lineage"
            return
        lineages = [lineage for lineage, _ in line]
        for lineage, end in line[lineages.index(start.lineage) :]:
            if lineage != self.at.lineage:
                self.at = self.at._replace(lineage=lineage)
            while not end or self.at.version < end:
                step = await self._next(last=not end)
                if step is None:
                    break
                self.at = step.point
                yield step
            if self.broken is not None:
                return

    async def point(self, lineage: Lineage, version: int, record: str) -> Point:
        """The point at a version whose record is known; its hash is left out if the record cannot be read."""
        try:
            encoded = await self.vault.get_record(self.tenant, self.project, record) if record else None
        except Damaged:
            encoded = None
        return Point(lineage, version, record, None if encoded is None else record_hash(encoded))

    async def record(self, lineage: Lineage, version: int) -> tuple[CommitRecord, str] | None:
        """The record that a head confirms and its hash, ``None`` without such a head. Raises ``Damaged``."""
        name = await self.vault.confirmed_head(self.tenant, self.project, lineage, version)
        if name is None:
            return None
        encoded = await self.vault.get_record(self.tenant, self.project, name)
        return decode_record(encoded), record_hash(encoded)

    async def unconfirmed(self, known: set[str]) -> list[Unconfirmed]:
        """The records that no head confirms; ``known`` are some that are confirmed. Unreadable ones are left out."""
        found = []
        async for stored in self.vault.names(self.tenant, self.project, "records"):
            if stored.name in known:
                continue
            try:
                record = decode_record(await self.vault.get_record(self.tenant, self.project, stored.name))
                head = await self.vault.confirmed_head(self.tenant, self.project, record.lineage, record.version)
            except Damaged:
                continue
            if head != record.id:
                found.append(Unconfirmed(record.id, record.lineage, record.version))
        return found

    async def _next(self, *, last: bool) -> Step | None:
        """The version after ``at``; ``None`` at the end of the line, or with ``broken`` set where it is cut."""
        lineage, version = self.at.lineage, self.at.version + 1
        try:
            found = await self.record(lineage, version)
        except Damaged as error:
            self.broken = f"version {version} cannot be read: {error.message}"
            return None
        if found is None:
            if not last or max(self.heads.get(lineage, {0})) > version:
                self.broken = f"version {version} is missing"
            return None
        record, digest = found
        parent = record.parent
        fits = parent is None if not self.at.record else parent is not None and parent.id == self.at.record
        if fits and parent is not None and self.at.hash is not None:
            fits = parent.hash == self.at.hash
        if (record.lineage, record.version) != (lineage, version) or not fits:
            self.broken = f"version {version} does not follow version {self.at.version}"
            return None
        return Step(record, Point(lineage, version, record.id, digest))

    async def _root(self, lineage: Lineage) -> _Root:
        lowest = min(self.heads[lineage])
        try:
            found = await self.record(lineage, lowest)
        except Damaged:
            found = None
        if found is None:
            return _Root(lowest, None, 0)
        record, _ = found
        if record.lineage != lineage:
            return _Root(lowest, record.lineage, record.version)
        if record.parent is None:
            return _Root(lowest, None, 0)
        for other, versions in self.heads.items():
            if other != lineage and lowest - 1 in versions:
                try:
                    name = await self.vault.confirmed_head(self.tenant, self.project, other, lowest - 1)
                except (StoreMissing, Damaged):
                    continue
                if name == record.parent.id:
                    return _Root(lowest, other, lowest - 1)
        return _Root(lowest, None, 0)

"""Collect: what no readable version needs any more is removed, beside a working server.

For each project, in this order, each step in small transactions of its own:

    floor raised  ·  entries below it dropped  ·  abandoned uploads forgotten  ·  unneeded packs dying
    half-needed packs rewritten  ·  packs dying for the backup window deleted  ·  what nothing names swept away

Cut off anywhere, the next run goes on: every step looks at what is, and nothing it does not find is needed by another.
What is needed is asked before a pack dies and asked again, for what was committed meanwhile, in the transaction that
lets it die (``satchel.catalog.dying``). Bytes are deleted after the row says that they may be, and the row goes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.catalog import damage, dying, idempotency, invitations, packs, reservations, retention, sessions, versions
from satchel.catalog.dying import PackSize, PackUse
from satchel.catalog.retention import Expiry
from satchel.errors import Damaged
from satchel.objects.ids import ProjectId, TenantId
from satchel.sync.failpoints import reach
from satchel.upkeep import repack, sweep
from satchel.upkeep.about import every_project
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.lease import Lease, upkeep_lease

WORK = "collect"
PACKS_AT_ONCE = 200
"""Packs marked or forgotten in one transaction."""
ENTRIES_AT_ONCE = 10_000
"""Entries dropped in one transaction; those that ended at one version go together."""
REPACK_AT_ONCE = 64 << 20
"""Bytes of content moved before the catalog is told: what a crash or a commit in between wastes at most."""


class Counted(NamedTuple):
    """Things and their bytes at rest."""

    items: int = 0
    bytes: int = 0

    def __add__(self, other: object) -> Counted:
        assert isinstance(other, Counted)
        return Counted(self.items + other.items, self.bytes + other.bytes)


def counted(rows: Sequence[PackSize | PackUse]) -> Counted:
    return Counted(len(rows), sum(row.size for row in rows))


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a run did, or with ``dry`` what it would do."""

    dry: bool
    projects: int = 0
    expired: int = 0
    """Versions that can be read no more."""
    entries: int = 0
    abandoned: Counted = field(default_factory=Counted)
    """Uploads whose day had passed without a commit."""
    dying: Counted = field(default_factory=Counted)
    """Packs that nothing needs any more; deleted after the backup window."""
    repacked: Counted = field(default_factory=Counted)
    """Packs that were needed by less than half: their content moved, they are dying too."""
    deleted: Counted = field(default_factory=Counted)
    """Packs whose backup window had passed."""
    swept: Counted = field(default_factory=Counted)
    """Objects of the bucket that nothing names: left by crashes."""
    history: Counted = field(default_factory=Counted)
    """Records, heads and tables that a rebuild needs no more."""
    damaged: int = 0
    """Packs that could not be read to be repacked, and projects that were not swept to the end for something else that
    could not: all are left as they are, see ``satchel admin verify``."""
    behind: int = 0
    """Projects left alone since the store confirms a version that the catalog lacks: see ``satchel admin restore``."""

    def __add__(self, other: CollectReport) -> CollectReport:
        return CollectReport(
            self.dry,
            self.projects + other.projects,
            self.expired + other.expired,
            self.entries + other.entries,
            self.abandoned + other.abandoned,
            self.dying + other.dying,
            self.repacked + other.repacked,
            self.deleted + other.deleted,
            self.swept + other.swept,
            self.history + other.history,
            self.damaged + other.damaged,
            self.behind + other.behind,
        )


async def collect(
    estate: Estate, tenant: TenantId, *, window_ms: int, dry: bool = False, progress: Progress = silent
) -> CollectReport:
    """Collect one tenant; packs die ``window_ms`` before their bytes are deleted. ``progress`` counts projects.

    Raises ``UpkeepBusy``, and what the store raises when it does not answer; run again then.
    """
    if dry:
        return await _Run(estate, tenant, None, window_ms).tenant_(progress)
    async with upkeep_lease(estate, tenant, WORK) as lease:
        return await _Run(estate, tenant, lease, window_ms).tenant_(progress)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run over a tenant; without a lease it only looks."""

    estate: Estate
    tenant: TenantId
    lease: Lease | None
    window_ms: int

    async def tenant_(self, progress: Progress) -> CollectReport:
        report = CollectReport(self.lease is None)
        projects = [row.id async for row in every_project(self.estate.catalog, self.tenant)]
        old = await sweep.orphan_age(self.estate)
        for number, project in enumerate(projects):
            progress(number, len(projects))
            report += await self.project(project, old)
        if self.lease is not None:
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                await idempotency.expire(s, self.estate.clock())
                await sessions.expire(s, self.estate.clock())
                await invitations.expire(s, self.estate.clock())
                await reservations.drop_expired(s, self.estate.clock())
        progress(len(projects), len(projects))
        return report

    async def project(self, project: ProjectId, old: int) -> CollectReport:
        if await behind(self.estate, self.tenant, project):
            return CollectReport(self.lease is None, projects=1, behind=1)
        line, entries = await self.expire(project)
        abandoned = await self.abandon(project)
        died, moved, damaged = await self.thin(project, line)
        deleted = await self.delete(project, [*died, *moved])
        try:
            swept = await sweep.sweep(self.estate, self.tenant, project, line.wanted, old, self.lease)
        except Damaged:
            swept, damaged = sweep.NOTHING, damaged + 1
        return CollectReport(
            dry=self.lease is None,
            projects=1,
            expired=line.expires,
            entries=entries,
            abandoned=counted(abandoned),
            dying=counted(died),
            repacked=counted(moved),
            deleted=counted(deleted),
            swept=Counted(*swept.orphans),
            history=Counted(*swept.history),
            damaged=damaged,
        )

    # Versions ---------------------------------------------------------------------------------------------------------

    async def expire(self, project: ProjectId) -> tuple[Expiry, int]:
        """Raise the floor and drop what ended at or below it; the floor before and after, and the entries dropped."""
        async with self.estate.catalog.read(self.tenant) as s:
            line = await retention.expiry(s, project, await retention.get(s), self.estate.clock())
        if self.lease is not None and line.expires:
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                line = await retention.expiry(s, project, await retention.get(s), self.estate.clock())
                await retention.raise_floor(s, project, line.wanted)
            reach("collect.after_floor")
        async with self.estate.catalog.read(self.tenant) as s:
            endings = await retention.endings(s, project, line.wanted)
        if self.lease is not None:
            for until in _bounds(endings):
                async with self.estate.catalog.write(self.tenant) as s:
                    await self.lease.stands(s)
                    await retention.drop_ended(s, project, until)
                reach("collect.after_entries")
            await self._forget_damage(project, line.wanted)
        return line, sum(count for _, count in endings)

    async def _forget_damage(self, project: ProjectId, floor: int) -> None:
        """Ask clients no more for lost content that no readable version holds."""
        assert self.lease is not None
        async with self.estate.catalog.read(self.tenant) as s:
            noted = await damage.count(s, project)
        if noted:
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                await damage.forget_unneeded(s, project, floor)

    # Packs ------------------------------------------------------------------------------------------------------------

    async def abandon(self, project: ProjectId) -> list[PackSize]:
        """Forget uploads whose lease has ended, and delete their bytes: nothing ever relied on them."""
        async with self.estate.catalog.read(self.tenant) as s:
            rows = await dying.expired(s, project, self.estate.clock())
        if self.lease is None or not rows:
            return rows
        async with self.estate.catalog.write(self.tenant) as s:
            await self.lease.stands(s)
            rows = await dying.drop_expired(s, project, self.estate.clock())
        reach("collect.after_abandoned")
        for row in rows:
            await self.estate.vault.delete(self.tenant, project, "packs", row.name)
        return rows

    async def thin(self, project: ProjectId, line: Expiry) -> tuple[list[PackSize], list[PackSize], int]:
        """Let unneeded packs die and rewrite half-needed ones; both, and how many could not be read."""
        async with self.estate.catalog.read(self.tenant) as s:
            seen = (await versions.head(s, project)).version  # before the look: what comes later is asked again
            uses = await dying.uses(s, project, line.wanted)
        unneeded = [row for row in uses if not row.wanted_places]
        half = [row for row in uses if row.wanted_places and 2 * row.wanted < row.content]
        if self.lease is None:
            return _sizes(unneeded), _sizes(half), 0
        died: list[PackSize] = []
        for start in range(0, len(unneeded), PACKS_AT_ONCE):
            names = [row.name for row in unneeded[start : start + PACKS_AT_ONCE]]
            async with self.estate.catalog.write(self.tenant) as s:
                await self.lease.stands(s)
                died += await dying.begin_to_die(s, project, names, seen, line.wanted, self.estate.clock())
            reach("collect.after_dying")
        moved, damaged = [], 0
        for group in _groups(half):
            try:
                moved += await self.move(project, group, line.wanted)
            except Damaged:
                for row in group:  # one of them does not open: the others can be moved without it
                    try:
                        moved += await self.move(project, [row], line.wanted)
                    except Damaged:
                        damaged += 1
        return died, moved, damaged

    async def move(self, project: ProjectId, group: Sequence[PackUse], floor: int) -> list[PackSize]:
        """Move what is needed of some packs; nothing if a commit came to need more meanwhile."""
        assert self.lease is not None
        await self.lease.renew()
        names = [row.name for row in group]
        async with self.estate.catalog.read(self.tenant) as s:
            seen = (await versions.head(s, project)).version
            rows = await dying.needed_places(s, project, names, floor)
        new = await repack.move(self.estate, self.tenant, project, rows)
        async with self.estate.catalog.write(self.tenant) as s:
            await self.lease.stands(s)
            done = await packs.replace_packs(s, project, names, new, self.estate.clock(), seen=seen, floor=floor)
        reach("repack.after_switch")
        if not done:
            await repack.forget(self.estate, self.tenant, project, new)
        return _sizes(group) if done else []

    async def delete(self, project: ProjectId, marked: Sequence[PackSize]) -> list[PackSize]:
        """Delete the bytes and then the rows of packs that have been dying for the window."""
        until = self.estate.clock() - self.window_ms
        async with self.estate.catalog.read(self.tenant) as s:
            rows = await dying.dead(s, project, until)
        if self.lease is None:
            return [*rows, *marked] if self.window_ms <= 0 else rows
        for start in range(0, len(rows), PACKS_AT_ONCE):
            await self.lease.renew()
            await delete_packs(self.estate, self.tenant, project, rows[start : start + PACKS_AT_ONCE], self.lease)
        return rows


async def behind(estate: Estate, tenant: TenantId, project: ProjectId) -> bool:
    """Whether an older catalog was put back: what it does not know to be needed, acknowledged versions may need."""
    async with estate.catalog.read(tenant) as s:
        head = await versions.head(s, project)
    try:
        beyond = await estate.vault.confirmed_head(tenant, project, head.lineage, head.version + 1)
    except Damaged:
        beyond = ""  # whatever it says, it is there
    if beyond is None:
        return False
    async with estate.catalog.read(tenant) as s:
        return await versions.head(s, project) == head  # else it was committed in between


async def delete_packs(
    estate: Estate, tenant: TenantId, project: ProjectId, rows: Sequence[PackSize], lease: Lease
) -> None:
    """Delete dying packs: first the bytes, then the rows that say that there were any."""
    for row in rows:
        await estate.vault.delete(tenant, project, "packs", row.name)
        reach("collect.after_bytes")
    async with estate.catalog.write(tenant) as s:
        await lease.stands(s)
        await dying.drop_dead(s, project, rows)
    reach("collect.after_rows")


def _sizes(rows: Sequence[PackUse]) -> list[PackSize]:
    return [PackSize(row.name, row.size) for row in rows]


def _bounds(endings: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Versions up to which to drop entries, one transaction each."""
    held = 0
    for index, (until, count) in enumerate(endings):
        held += count
        if held >= ENTRIES_AT_ONCE or index == len(endings) - 1:
            yield until
            held = 0


def _groups(rows: Sequence[PackUse]) -> Iterator[list[PackUse]]:
    """Packs to be rewritten together."""
    group: list[PackUse] = []
    for row in rows:
        group.append(row)
        if sum(each.wanted for each in group) >= REPACK_AT_ONCE or len(group) == PACKS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group

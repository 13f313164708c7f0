"""Purge: content removed for good, from every version, every pack and everything derived on this machine.

    a commit that deletes the paths  ·  a purge in the bucket, which a rebuild and verify know  ·  new packs without
    the content  ·  the catalog's transaction  ·  the old packs and the index's checkpoints deleted at once

The transaction is one: packs switched, objects noted as purged, titles blanked, audit. Cut off before it, nothing has
changed but the head; cut off after it, packs are left that die at once: the next purge or collect deletes them. A
second purge of the same paths finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from satchel.catalog import damage, dying, packs, purges, versions
from satchel.catalog.dying import AT_ONCE, HoldingPack
from satchel.catalog.packs import DYING, LIVE, NewPack, PlaceRow
from satchel.catalog.scope import Scope
from satchel.errors import Damaged, HeadMoved, NoSuchArtifact, ObjectsMissing, SatchelError, Unavailable, VersionExpired
from satchel.objects.ids import ObjectId, ProjectId
from satchel.objects.listing import Entry, digest
from satchel.objects.record import Purge
from satchel.store.checkpoints import Checkpoints
from satchel.sync.failpoints import reach
from satchel.sync.receive import Caller, Receiver
from satchel.sync.session import fold
from satchel.sync.wire import Parent, Sent
from satchel.upkeep import repack
from satchel.upkeep.checkpoints import remove_all
from satchel.upkeep.collect import REPACK_AT_ONCE, behind, delete_packs
from satchel.upkeep.estate import Estate
from satchel.upkeep.lease import Lease, upkeep_lease

WORK = "purge"
FOR_EVER = 2**62
"""A time that never comes."""
TRIES = 8
"""How often the project may change under a purge before it gives up."""
_BEHIND = "the store confirms a newer version of the project than the catalog knows"


class ProjectBusy(Unavailable):
    code = "purge.busy"
    default_hint = "The project is changed too often at the moment: run the purge again; what it did stays done."


class CatalogBehind(Damaged):
    code = "catalog.behind"
    default_hint = "An older catalog was put back: bring it forward with `satchel admin restore`."


class Shared(NamedTuple):
    """Content that a purge left, since other paths of readable versions have it too."""

    path: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What went, and what stayed because other paths have the same content."""

    paths: tuple[str, ...]
    """Every path whose content was purged."""
    objects: int
    """Different contents removed now; 0 when a purge before had removed them."""
    version: int
    """The head: without the paths."""
    packs: int
    """Packs deleted, and ``bytes`` at rest in them; what else they held was moved."""
    bytes: int
    shared: tuple[Shared, ...]


async def purge(
    estate: Estate,
    receiver: Receiver,
    caller: Caller,
    project: ProjectId,
    paths: Sequence[str],
    *,
    everywhere: bool = False,
    dry: bool = False,
) -> PurgeReport:
    """Purge everything ``paths`` ever held; with ``everywhere`` also where other paths hold the same content. With
    ``dry`` nothing is changed, and the report says what would be.

    Without it, content that another path of a readable version has too stays, and so does the path in versions that
    hold it; the report says so. Raises ``NoSuchArtifact`` for a path that no known version had, ``UpkeepBusy``,
    ``ProjectBusy``, ``CatalogBehind``, and what ``caller.guard`` and the store raise.
    """
    chosen = tuple(sorted(set(paths)))
    if dry:  # nothing is changed: it takes no turn, and neither waits for other work nor ends what that noted
        untaken = Lease(estate, caller.tenant, "", WORK)
        return await _Purge(estate, receiver, caller, project, chosen, everywhere, untaken).foresee()
    async with upkeep_lease(estate, caller.tenant, WORK) as lease:
        return await _Purge(estate, receiver, caller, project, chosen, everywhere, lease).run()


@dataclass(slots=True)
class _Purge:
    estate: Estate
    receiver: Receiver
    caller: Caller
    project: ProjectId
    paths: tuple[str, ...]
    everywhere: bool
    lease: Lease

    async def run(self) -> PurgeReport:
        if await behind(self.estate, self.caller.tenant, self.project):
            raise CatalogBehind(_BEHIND)
        said: set[ObjectId] = set()
        for _ in range(TRIES):
            objects, shared, paths = await self._victims()
            version = await self._delete(paths, objects)
            reach("purge.after_commit")
            holding = await self._stored(objects)
            todo = bool(holding) or not await self._noted(objects)
            if todo and not objects <= said:
                note = Purge(tuple(sorted(objects)), paths, self.estate.clock())
                await self.estate.vault.put_purge(self.caller.tenant, self.project, note)
                said |= objects
                reach("purge.after_note")
            if todo and not await self._switch(objects, holding, paths):
                continue
            count, size = await self._erase()
            return PurgeReport(paths, len(objects) if todo else 0, version, count, size, shared)
        raise ProjectBusy("the project changed under the purge again and again")

    async def foresee(self) -> PurgeReport:
        """What ``run`` would do now."""
        if await behind(self.estate, self.caller.tenant, self.project):
            raise CatalogBehind(_BEHIND)
        objects, shared, paths = await self._victims()
        holding = await self._stored(objects)
        todo = bool(holding) or not await self._noted(objects)
        async with self.estate.catalog.read(self.caller.tenant) as s:
            version = (await versions.head(s, self.project)).version
        size = sum(row.size for row in holding)
        return PurgeReport(paths, len(objects) if todo else 0, version, len(holding), size, shared)

    async def _victims(self) -> tuple[set[ObjectId], tuple[Shared, ...], tuple[str, ...]]:
        """The objects to go, what is left of the paths' content and why, and all paths that lose content."""
        async with self.estate.catalog.read(self.caller.tenant) as s:
            held = await purges.held_by(s, self.project, self.paths)
            for path in self.paths:
                if path not in held:
                    raise NoSuchArtifact(f"no version of this project has an artifact {path!r}", path=path)
            every = {name for names in held.values() for name in names}
            users = await purges.users_of(s, self.project, every)
            purged = await purges.which(s, self.project, every)  # gone: nobody shares it any more
        objects: set[ObjectId] = set()
        shared: list[Shared] = []
        affected: set[str] = set()
        for path, names in held.items():
            others: set[str] = set()
            for name in names:
                elsewhere = users.get(name, set()) - set(self.paths)
                if elsewhere and not self.everywhere and name not in purged:
                    others |= elsewhere
                else:
                    objects.add(name)
                    affected |= {path} | elsewhere
            if others:
                shared.append(Shared(path, tuple(sorted(others))))
        return objects, tuple(shared), tuple(sorted(affected))

    async def _delete(self, paths: Sequence[str], objects: set[ObjectId]) -> int:
        """Take the paths out of the head, where they have content that goes; the version of the head then."""
        for _ in range(TRIES):
            async with self.estate.catalog.read(self.caller.tenant) as s:
                head = await versions.head(s, self.project)
                try:
                    rows = await versions.tree(s, self.project, head.version) if head.version else []
                except VersionExpired:  # the head moved on between the two statements
                    continue
            gone = sorted(row.path for row in rows if row.object in objects)
            if not gone:
                return head.version
            tree = {row.path: Entry(row.mode, row.object) for row in rows}
            after = digest(fold(tree, ((path, None) for path in gone)))
            changes = [Sent(path, None, 0) for path in gone]
            try:
                made = await self.receiver.commit(self.caller, self.project, Parent(*head), after, changes, None)
            except (HeadMoved, ObjectsMissing):
                continue
            return made.version
        raise ProjectBusy("the project changed under the purge again and again")

    async def _stored(self, objects: set[ObjectId]) -> list[HoldingPack]:
        """Packs of any state that hold them, but for those about to be deleted anyway.

        Where versions have expired, nobody knows any more what the paths held in those. Therefore all that no readable
        version needs goes with them: packs that are dying, and packs in which something is not needed.
        """
        async with self.estate.catalog.read(self.caller.tenant) as s:
            return await self._holding(s, objects, await versions.floor(s, self.project))

    async def _holding(self, s: Scope, objects: set[ObjectId], floor: int) -> list[HoldingPack]:
        found = set(await dying.holding(s, self.project, objects))
        if floor > 1:
            found |= {HoldingPack(*row, DYING) for row in await dying.dead(s, self.project, FOR_EVER)}
            uses = await dying.uses(s, self.project, floor)
            found |= {HoldingPack(row.name, row.size, LIVE) for row in uses if row.wanted < row.content}
        condemned = {row.name for row in await dying.dead(s, self.project, AT_ONCE)}
        return sorted(row for row in found if row.name not in condemned)

    async def _noted(self, objects: set[ObjectId]) -> bool:
        async with self.estate.catalog.read(self.caller.tenant) as s:
            return objects <= await purges.which(s, self.project, objects)

    async def _switch(self, objects: set[ObjectId], holding: Sequence[HoldingPack], paths: Sequence[str]) -> bool:
        """Move what else the packs hold, and let go of them; False if the project changed meanwhile."""
        tenant, project, estate = self.caller.tenant, self.project, self.estate
        live = [row.name for row in holding if row.state == LIVE]
        async with estate.catalog.read(tenant) as s:
            head = await versions.head(s, project)
            floor = await versions.floor(s, project)
            rows = [row for row in await dying.needed_places(s, project, live, floor) if row.object not in objects]
        new = await self._move(rows)
        async with estate.catalog.write(tenant) as s:
            await self.lease.stands(s)
            await self.caller.guard(s)
            now = estate.clock()
            same = await self._holding(s, objects, floor) == list(holding)
            back = await purges.came_back(s, project, objects, head.version)
            done = (
                same
                and not back
                and await packs.replace_packs(s, project, live, new, now, seen=head.version, floor=floor)
            )
            if done:
                await dying.condemn(s, project, [row.name for row in holding])
                await purges.note(s, project, objects, now)
                await damage.forget(s, project, objects)
                for path in paths:
                    await self.caller.record(s, "project.purge", f"{project} {path}", now)
        reach("purge.after_switch")
        if not done:
            await repack.forget(estate, tenant, project, new)
        return done

    async def _move(self, rows: Sequence[PlaceRow]) -> list[NewPack]:
        """Move what stays, a part at a time: the lease ends after five minutes."""
        tenant, project, estate = self.caller.tenant, self.project, self.estate
        new: list[NewPack] = []
        try:
            for some in _parts(rows):
                await self.lease.renew()
                new += await repack.move(estate, tenant, project, some)
        except BaseException as error:
            with suppress(SatchelError):  # what cannot be deleted now nothing names
                await repack.forget(estate, tenant, project, new)
            if isinstance(error, Damaged):
                await (
                    self.lease.renew()
                )  # whoever took the turn meanwhile may have moved it: then that is what is wrong
            raise
        return new

    async def _erase(self) -> tuple[int, int]:
        """Delete the checkpoints, and the packs that were let go: how many packs, and their bytes."""
        estate = self.estate
        checkpoints = Checkpoints(estate.store, estate.keyring, random=estate.random)
        await remove_all(checkpoints, self.caller.tenant, self.project)
        reach("purge.after_checkpoints")
        async with self.estate.catalog.read(self.caller.tenant) as s:
            rows = await dying.dead(s, self.project, AT_ONCE)
        await delete_packs(self.estate, self.caller.tenant, self.project, rows, self.lease)
        reach("purge.after_bytes")
        return len(rows), sum(row.size for row in rows)


def _parts(rows: Sequence[PlaceRow]) -> Iterator[list[PlaceRow]]:
    """Places to be moved together; what lies in one pack stays together."""
    some: list[PlaceRow] = []
    held = 0
    for _, group in groupby(rows, key=attrgetter("pack")):
        one = list(group)
        some += one
        held += sum(row.length for row in one)
        if held >= REPACK_AT_ONCE:
            yield some
            some, held = [], 0
    if some:
        yield some

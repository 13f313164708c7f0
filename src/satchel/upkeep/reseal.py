"""A new key for a tenant, and sealing all that it has anew, until the old key opens nothing and is destroyed.

Which epoch an object is sealed in stands in its first bytes, so there is nothing to note: a run looks at every object
of the tenant, seals anew what is in an old epoch, and looks again. Cut off anywhere, the next run goes on.

- Packs: their content moves to new packs, told of in the bucket and switched in the catalog (see ``repack``); the
  old ones die, and are deleted by collect after the backup window.
- Checkpoints of indexes are deleted: nodes put others in the new epoch.
- Records, heads, tables and purges have names that others follow: they are replaced under their own name by the same
  plaintext under the new key. A put replaces all or nothing, the keyring holds both keys, so whoever reads meanwhile
  opens either; nobody else writes or deletes such a name while the lease is held, and two that seal it anew agree.
- An old epoch is retired when nothing in the bucket is sealed in it any more, looked at ``RETIRE_AFTER_MS`` after the
  newest began: until then a process that opened the keyring before may still seal in the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from satchel.catalog import dying, packs
from satchel.catalog.packs import PlaceRow
from satchel.errors import Damaged, StoreMissing
from satchel.objects.ids import ProjectId, TenantId
from satchel.objects.seal import EPOCH_BYTES, SALT_BYTES, Binding, epoch_of, open_sealed, seal
from satchel.store import checkpoints
from satchel.store.keyring import CACHE_MS
from satchel.store.objectstore import StoredObject
from satchel.sync.failpoints import reach
from satchel.upkeep import repack
from satchel.upkeep.about import every_project, refresh_about
from satchel.upkeep.auditing import anchor_name
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.lease import Lease, upkeep_lease

WORK = "reseal"
RETIRE_AFTER_MS = 3 * CACHE_MS
"""A key is known for ``CACHE_MS`` at most, and looked at again after each put; the rest is for clocks that differ."""
BATCH_BYTES = 32 << 20
"""Packs moved before the catalog is told."""
AT_ONCE = 16
_KINDS = {"records": "record", "heads": "head", "tables": "table", "purges": "purge"}


@dataclass(frozen=True, slots=True)
class ResealReport:
    """What a run did. Times are milliseconds UTC."""

    epoch: int
    """The newest: what is written from now on is sealed in it, by other processes within ten minutes."""
    packs: int = 0
    objects: int = 0
    """Records, heads, tables and others sealed anew."""
    bytes: int = 0
    """At rest, of all that was sealed anew."""
    waiting: int = 0
    """Packs in an old epoch that are being uploaded, or die and are kept for the backup window."""
    unnamed: int = 0
    """Other objects in an old epoch that nothing names: left by crashes, for collect to sweep."""
    damaged: tuple[str, ...] = ()
    """Objects that do not open."""
    retired: tuple[int, ...] = ()
    """Epochs whose keys were destroyed."""
    old: tuple[int, ...] = ()
    """Epochs before the newest that the keyring still has."""
    retire_from: int | None = None
    """When the old epochs can be retired at the earliest, where only time is wanting."""


class _Object(NamedTuple):
    name: str
    size: int
    epoch: int | None
    """``None``: it is not sealed as anything here is."""


async def rotate_tenant(
    estate: Estate, tenant: TenantId, *, full: bool = False, progress: Progress = silent
) -> ResealReport:
    """Begin a new epoch. With ``full`` seal everything anew, going on with an epoch that was begun and not finished.

    ``progress`` counts bytes at rest. Raises ``UpkeepBusy``, ``TenantShredded``, and what the store raises.
    """
    async with upkeep_lease(estate, tenant, WORK) as lease:
        epochs = await estate.keyring.epochs(tenant)
        newest = max(epochs)
        if len(epochs) == 1 or not full:
            newest = await estate.keyring.begin_epoch(tenant)
        if not full:
            return ResealReport(newest, old=tuple(sorted(epochs)))
        return await _Run(estate, tenant, lease, newest, progress).all()


@dataclass(slots=True)
class _Run:
    estate: Estate
    tenant: TenantId
    lease: Lease
    newest: int
    progress: Progress
    done: int = 0
    total: int = 0
    packs: int = 0
    objects: int = 0
    damaged: list[str] = field(default_factory=list)

    async def all(self) -> ResealReport:
        old = [each for each in await self.look() if self.is_old(each)]
        self.total = sum(each.size for each in old)
        by_project: dict[ProjectId, list[str]] = {}
        rest: list[_Object] = []
        for each in old:
            match each.name.split("/"):
                case [_, _, "projects", project, "packs", pack]:
                    by_project.setdefault(ProjectId(project), []).append(pack)
                case _:
                    rest.append(each)
        for project, names in by_project.items():
            await self.move(project, set(names))
        if any(each.name.endswith("/about") for each in rest):
            self.objects += await refresh_about(self.estate, self.tenant, rewrite=True)
        for start in range(0, len(rest), AT_ONCE):
            await asyncio.gather(*(self.seal_anew(each) for each in rest[start : start + AT_ONCE]))
            await self.lease.renew()
        return await self.retire()

    async def look(self) -> list[_Object]:
        """Every object of the tenant that is sealed under its keys, and in which epoch."""
        found: list[_Object] = []
        waiting: list[StoredObject] = []

        async def read() -> None:
            found.extend(await asyncio.gather(*(self.epoch(each) for each in waiting)))
            waiting.clear()

        prefix = f"tenants/{self.tenant}/"
        other = {f"{prefix}shredded", anchor_name(self.tenant)}  # sealed under the installation's key
        async for stored in self.estate.store.list(prefix):
            if stored.name.startswith(f"{prefix}keys/") or stored.name in other:
                continue
            waiting.append(stored)
            if len(waiting) == AT_ONCE:
                await read()
                if len(found) % (100 * AT_ONCE) == 0:
                    await self.lease.renew()
        await read()
        return [each for each in found if each.size >= 0]

    async def epoch(self, stored: StoredObject) -> _Object:
        try:
            head = await self.estate.store.get(stored.name, offset=0, length=min(stored.size, EPOCH_BYTES))
            return _Object(stored.name, stored.size, epoch_of(head))
        except StoreMissing:
            return _Object(stored.name, -1, None)  # deleted meanwhile
        except Damaged:
            return _Object(stored.name, stored.size, None)

    # Packs ------------------------------------------------------------------------------------------------------------

    async def move(self, project: ProjectId, names: set[str]) -> None:
        """Move the content of the live ones of these packs; others wait for their end."""
        rows: dict[str, list[PlaceRow]] = {}
        async with self.estate.catalog.read(self.tenant) as s:
            for row in await packs.all_places(s, project):
                if row.pack in names:
                    rows.setdefault(row.pack, []).append(row)
            sizes = await dying.names(s, project)
        batch: list[str] = []
        for name in sorted(rows):
            batch.append(name)
            if sum(sizes[each] for each in batch) >= BATCH_BYTES:
                await self.move_batch(project, batch, rows, sizes)
                batch = []
        if batch:
            await self.move_batch(project, batch, rows, sizes)

    async def move_batch(
        self, project: ProjectId, names: Sequence[str], rows: dict[str, list[PlaceRow]], sizes: dict[str, int]
    ) -> None:
        await self.lease.renew()
        try:
            moved = await repack.move(self.estate, self.tenant, project, [row for name in names for row in rows[name]])
        except Damaged:
            if len(names) == 1:
                self.damaged.append(f"tenants/{self.tenant}/projects/{project}/packs/{names[0]}")
                return
            for name in names:
                await self.move_batch(project, [name], rows, sizes)
            return
        async with self.estate.catalog.write(self.tenant) as s:
            await self.lease.stands(s)
            switched = await packs.replace_packs(s, project, names, moved, self.estate.clock())
        reach("reseal.after_switch")
        if not switched:  # collected or purged meanwhile: the next run looks again
            await repack.forget(self.estate, self.tenant, project, moved)
            return
        self.packs += len(names)
        self.count(sum(sizes[name] for name in names))

    def is_old(self, each: _Object) -> bool:
        """Whether a run does something about it: it is of an old epoch, or can be made again."""
        if each.epoch is None:
            return each.name.split("/")[4:5] == [checkpoints.FOLDER]
        return each.epoch < self.newest

    # Objects that keep their names ------------------------------------------------------------------------------------

    async def seal_anew(self, each: _Object) -> None:
        match each.name.split("/"):
            case [_, _, "projects", _, checkpoints.FOLDER, *_]:
                await self.estate.store.delete(each.name)
                return
            case [_, _, "projects", project, kind, *rest] if kind in _KINDS and rest:
                binding, name = Binding(self.tenant, project, _KINDS[kind]), "/".join(rest)
            case _:
                return
        keyring, store = self.estate.keyring, self.estate.store
        try:
            plaintext = open_sealed(await keyring.key_of(self.tenant), binding, name, await store.get(each.name))
        except StoreMissing:
            return
        except Damaged:
            self.damaged.append(each.name)
            return
        epoch, key = await keyring.current(self.tenant)
        salt = self.estate.random(SALT_BYTES)
        await store.put(each.name, seal(key, binding, name, plaintext, epoch=epoch, salt=salt))
        reach("reseal.after_object")
        self.objects += 1
        self.count(each.size)

    def count(self, size: int) -> None:
        self.done += size
        self.progress(self.done, self.total)

    # The end of an epoch ----------------------------------------------------------------------------------------------

    async def retire(self) -> ResealReport:
        """Look again, and destroy the old keys if nothing needs them and nobody can still be sealing with them."""
        estate = self.estate
        epochs = await estate.keyring.epochs(self.tenant)
        old = tuple(sorted(epoch for epoch in epochs if epoch < self.newest))
        since = estate.clock()
        left = [each for each in await self.look() if each.epoch is None or each.epoch < self.newest]
        named = await self.named()
        waiting = [each for each in left if each.name in named and each.name not in self.damaged]
        damaged = {*self.damaged, *(each.name for each in left if each.epoch is None)}
        report = ResealReport(
            self.newest,
            packs=self.packs,
            objects=self.objects,
            bytes=self.done,
            waiting=len(waiting),
            unnamed=sum(each.name not in named and each.name not in damaged for each in left),
            damaged=tuple(sorted(damaged)),
            old=old,
        )
        if left or not old:
            return report
        if since < epochs[self.newest] + RETIRE_AFTER_MS:
            return replace(report, retire_from=epochs[self.newest] + RETIRE_AFTER_MS)
        await self.lease.renew()
        reach("reseal.before_retire")
        await estate.keyring.retire(self.tenant, self.newest)
        return replace(report, retired=old, old=())

    async def named(self) -> set[str]:
        """The packs that the catalog names, in whatever state."""
        found: set[str] = set()
        async for project in every_project(self.estate.catalog, self.tenant):
            folder = f"tenants/{self.tenant}/projects/{project.id}/packs/"
            async with self.estate.catalog.read(self.tenant) as s:
                found.update(folder + name for name in await dying.names(s, project.id))
        return found

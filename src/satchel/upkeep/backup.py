"""Making a backup beside the running server: the catalog at one moment, the keys, and what the bucket has to hold.

Order matters. The catalog comes first and the keyrings after it, so that every epoch a byte of that catalog is sealed
in is among the keys kept: epochs are only added, and an old one is retired long after the last byte left it. The
manifest comes last: what has none was cut off, and is cleared away by a later run.

The content of projects is in the bucket and is not copied, unless ``objects`` is asked for: then everything the catalog
needs and the backup store lacks is copied under ``objects/``, and a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time as clock_time
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from satchel.catalog import recover
from satchel.catalog.projects import ProjectRow
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.catalog.scope import Catalog
from satchel.catalog.tenants import TenantRow
from satchel.errors import Damaged, StoreMissing
from satchel.objects.ids import ProjectId, TenantId, new_id
from satchel.objects.seal import EPOCH_BYTES, epoch_of
from satchel.store.generations import Generations
from satchel.store.keyring import TenantShredded
from satchel.store.objectstore import ObjectStore
from satchel.upkeep.about import every_project, refresh_about
from satchel.upkeep.ahead import AT_ONCE, ahead
from satchel.upkeep.archive import (
    CATALOG,
    HEADS,
    INSTALLATION,
    KEYS,
    MANIFEST,
    MAX_PART_BYTES,
    NAMES,
    Archive,
    Label,
)
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.manifest import Manifest, named
from satchel.upkeep.prune import ABANDONED_MS, prune

PIECE_BYTES = MAX_PART_BYTES // 2
COPIES = 4
"""Objects copied at once; a pack has about 8 MiB."""
MAX_NAMED = 100
"""Most missing objects named in a report."""
KINDS = frozenset({"packs", "records", "heads", "tables", "purges"})
"""What a project keeps in the bucket that nothing else could make again."""


class Keeping(NamedTuple):
    """How long a backup is kept, and, usually shorter, the keys in it; milliseconds."""

    backup: int
    keys: int


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a run did. Times are milliseconds UTC; ``missing`` names what the catalog needs and the bucket lacks."""

    id: str
    time: int
    expires: int
    keys_expire: int
    tenants: int
    projects: int
    bytes: int
    names: int
    copied: int
    copied_bytes: int
    missing: int
    missing_names: tuple[str, ...]
    pruned: tuple[str, ...]
    """Backups that were deleted since they expired, and ``pruned_keys`` those whose keys alone were."""
    pruned_keys: tuple[str, ...]
    pruned_objects: int


async def make_backup(
    estate: Estate,
    target: ObjectStore,
    scratch: Path,
    keeping: Keeping,
    *,
    objects: bool = False,
    progress: Progress = silent,
) -> BackupReport:
    """Back the installation up to ``target``, then delete what expired there.

    ``scratch`` is a folder of the server's own for the snapshot, which is as secret as the catalog and removed at the
    end. Raises what either store raises, ``WrongKey``, ``DiskFull``; a backup cut off is no backup, and harmless.
    """
    lost = await _without_keys(estate)
    now = estate.clock()
    archive = Archive(target, estate.root, estate.random)
    run = _Run(estate, archive, new_id("bak", estate.random(16)), now, keeping, progress, lost)
    snapshot = scratch / f".snapshot-{run.id}.db"
    _make_ready(scratch)
    try:
        await estate.catalog.snapshot(snapshot)
        manifest, found = await run.write(snapshot)
        if objects:
            await run.copy(manifest)
    finally:
        _remove(snapshot)
    backups, keys, copies = await prune(archive, estate.clock(), objects=objects, spare=lost)
    return BackupReport(
        id=run.id,
        time=now,
        expires=now + keeping.backup,
        keys_expire=now + keeping.keys,
        tenants=found.tenants,
        projects=manifest.heads,
        bytes=run.bytes,
        names=manifest.names,
        copied=run.copied,
        copied_bytes=run.copied_bytes,
        missing=found.missing,
        missing_names=tuple(found.missing_names),
        pruned=backups,
        pruned_keys=keys,
        pruned_objects=copies,
    )


async def _without_keys(estate: Estate) -> set[TenantId]:
    """Say to the bucket what tenants and projects are called now; the tenants whose keys are lost or damaged.

    All others are backed up as ever. What older backups hold of the lost keys may be the only copy there is.
    """

    async def without(tenant: TenantRow) -> bool:
        try:
            await refresh_about(estate, tenant.id)
        except Damaged:
            return True
        except TenantShredded:
            pass  # meanwhile
        return False

    return {tenant.id async for tenant, lost in ahead(await estate.tenants(), without, AT_ONCE) if lost}


class _Needed(NamedTuple):
    """What a backup holds of a tenant."""

    keys: bool
    """Whether its keyring is in it."""
    heads: list[str]
    names: list[str]
    """What it needs of the bucket, and ``lacking`` what of that is not there."""
    lacking: list[str]


class _Found:
    """What was counted on the way."""

    def __init__(self) -> None:
        self.tenants = self.missing = 0
        self.missing_names: list[str] = []

    def lack(self, name: str) -> None:
        self.missing += 1
        if len(self.missing_names) < MAX_NAMED:
            self.missing_names.append(name)


class _Lines:
    """Lines gathered into pieces of about ``PIECE_BYTES``, each stored when it is full."""

    def __init__(self, run: _Run, part: str) -> None:
        self._run, self._part = run, part
        self._held: list[str] = []
        self._size = 0
        self._pieces: list[bytes] = []
        self.count = 0

    def add(self, line: str) -> None:
        self._held.append(line)
        self._size += len(line) + 1
        self.count += 1
        if self._size >= PIECE_BYTES:
            self._pieces.append(self._piece())

    async def store(self) -> int:
        """Store all pieces, and return how many. How many there are is part of each, so it is known before."""
        pieces = [*self._pieces, self._piece()]
        for index, piece in enumerate(pieces):
            await self._run.put(self._part, piece, index, len(pieces))
        return len(pieces)

    def _piece(self) -> bytes:
        text = "".join(f"{line}\n" for line in self._held).encode()
        self._held, self._size = [], 0
        return text


class _Run:
    """One backup being made."""

    def __init__(
        self,
        estate: Estate,
        archive: Archive,
        name: str,
        now: int,
        keeping: Keeping,
        progress: Progress,
        lost: Set[TenantId],
    ) -> None:
        """``lost`` are tenants without keys that open."""
        self._lost = lost
        self.estate, self.archive, self.id, self.progress = estate, archive, name, progress
        self._now, self._keeping = now, keeping
        self.bytes = self.copied = self.copied_bytes = 0
        self._oldest: dict[str, int] = {}  # the first epoch of each tenant whose key there still is

    async def put(self, part: str, content: bytes, index: int = 0, count: int = 1) -> None:
        label = Label(
            self.id,
            part,
            index,
            count,
            self._now,
            self._now + self._keeping.backup,
            self._now + self._keeping.keys,
            self.estate.root.id,
        )
        size = await self.archive.put(label, content)
        self.bytes += size  # not in one: others add to it while this one waits

    async def write(self, snapshot: Path) -> tuple[Manifest, _Found]:
        """Every part of it, the manifest last."""
        size, digest, pieces = await self._catalog(snapshot)
        heads, names, found = _Lines(self, HEADS), _Lines(self, NAMES), _Found()
        for lost in sorted(self._lost):
            found.lack(f"tenants/{lost}/keys")
        keys = []
        catalog = await Catalog.open(f"sqlite:///{snapshot}", random=self.estate.random)
        try:

            async def needed(tenant: TenantRow) -> _Needed:
                return await self._tenant(catalog, tenant.id)

            async for tenant, each in ahead(await self.estate_of(catalog).tenants(), needed, AT_ONCE):
                found.tenants += 1
                if each.keys:
                    keys.append(tenant.id)
                for line in each.heads:
                    heads.add(line)
                for line in each.names:
                    names.add(line)
                for name in each.lacking:
                    found.lack(name)
        finally:
            await catalog.close()
        await self._tombstones()
        await self.put(INSTALLATION, await self._newest("installation"))
        manifest = Manifest(
            installation=(await self.estate.keyring.installation()).id,
            schema=SCHEMA_REVISION,
            catalog_bytes=size,
            catalog_sha256=digest,
            catalog_pieces=pieces,
            heads=heads.count,
            heads_pieces=await heads.store(),
            names=names.count,
            names_pieces=await names.store(),
            keys=tuple(keys),
        )
        await self.put(MANIFEST, json.dumps({name: getattr(manifest, name) for name in Manifest.__slots__}).encode())
        return manifest, found

    def estate_of(self, catalog: Catalog) -> Estate:
        """The estate as the snapshot knows it."""
        e = self.estate
        return Estate(catalog, e.store, e.root, e.keyring, e.vault, e.clock, e.random)

    async def _catalog(self, snapshot: Path) -> tuple[int, str, int]:
        size = snapshot.stat().st_size  # noqa: ASYNC240 (a look at a local file)
        pieces = -(-size // PIECE_BYTES)
        whole = hashlib.sha256()
        for index, piece in enumerate(_pieces(snapshot)):
            whole.update(piece)
            await self.put(CATALOG, piece, index, pieces)
        return size, whole.hexdigest(), pieces

    async def _tenant(self, catalog: Catalog, tenant: TenantId) -> _Needed:
        """Back up the keyring of a tenant, and gather what it needs of the bucket."""
        keys = tenant not in self._lost and await self._keys(tenant)
        found = _Needed(keys, [], [], [])

        async def needed(project: ProjectRow) -> tuple[list[str], list[str]]:
            return await self._names(catalog, tenant, project.id)

        async for project, (names, lacking) in ahead(every_project(catalog, tenant), needed, AT_ONCE):
            found.heads.append(f"{tenant} {project.id} {project.lineage} {project.version} {project.digest}")
            found.names.extend(names)
            found.lacking.extend(lacking)
        with suppress(StoreMissing):  # by its name: a listing on a disk would walk through all that the tenant has
            about = f"tenants/{tenant}/about"
            found.names.append(f"{len(await self.estate.store.get(about))} {about}")
        return found

    async def _keys(self, tenant: TenantId) -> bool:
        """The keyring as it lies in the bucket, wrapped under the root key; False if there is none (any more)."""
        keyring = await self._newest(f"tenants/{tenant}/keys")
        if not keyring:
            return False
        await self.put(f"{KEYS}/{tenant}", keyring)
        if await there(self.estate.store, f"tenants/{tenant}/shredded"):
            # Meanwhile, and whoever did it may have looked for backups with its keys before there was this one.
            await self.archive.store.delete(f"backups/{self.id}/{KEYS}/{tenant}")
            return False
        return True

    async def _newest(self, prefix: str) -> bytes:
        """What counts under ``prefix``, with its name, as it lies in the bucket; empty if there is nothing."""
        newest = await Generations(self.estate.store, prefix).newest()
        return b"" if newest is None else f"{prefix}/{newest.number}\n".encode() + newest.data

    async def _names(self, catalog: Catalog, tenant: TenantId, project: ProjectId) -> tuple[list[str], list[str]]:
        """What the project needs of the bucket: what the catalog names, and what has no name there; what is lacking."""
        names, lacking = list[str](), list[str]()
        folder = f"tenants/{tenant}/projects/{project}/"
        async with catalog.read(tenant) as s:
            needed = {f"{folder}packs/{row.name}": row.size for row in await recover.packs(s, project)}
            needed |= {f"{folder}records/{name}": 0 for name in await recover.records(s, project)}
        async for stored in self.estate.store.list(folder):
            kind = stored.name.removeprefix(folder).split("/")[0]
            if stored.name in needed or kind == "about" or kind in KINDS - {"packs", "records"}:
                names.append(f"{stored.size} {stored.name}")
                needed.pop(stored.name, None)
        for name, size in needed.items():  # a listing may lag behind
            if await there(self.estate.store, name):
                names.append(f"{size} {name}")
            else:
                lacking.append(name)
        return names, lacking

    async def _tombstones(self) -> None:
        """Copy every tombstone, always: whoever restores without the bucket has to obey them too."""
        known = {stored.name async for stored in self.archive.store.list("objects/tenants/")}
        for tenant in await self.estate.tenants(shredded=True):
            name = f"tenants/{tenant.id}/shredded"
            if f"objects/{name}" not in known:
                try:
                    await self.archive.store.put(f"objects/{name}", await self.estate.store.get(name))
                except StoreMissing:
                    continue

    async def copy(self, manifest: Manifest) -> None:
        """Copy what the manifest names and the backup store lacks."""
        have = {stored.name: stored.size async for stored in self.archive.store.list("objects/")}
        places = asyncio.Semaphore(COPIES)
        done = 0
        try:
            async with asyncio.TaskGroup() as group:
                async for name, size in named(self.archive, self.id, manifest):
                    done += 1
                    at = f"objects/{name}"
                    fresh = at in have and (not size or have[at] == size) and not name.endswith("/about")
                    since = await self._retired_below(name) if fresh else 0
                    if not fresh or since > 1:
                        await places.acquire()
                        group.create_task(self._copy(name, places, since))
                    self.progress(done, manifest.names)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # what is told is why the first one failed

    async def _retired_below(self, name: str) -> int:
        """The first epoch of which there is a key: a copy of an older one was sealed anew since, if it keeps its name.

        Of packs, whose names change, it is not asked.
        """
        match name.split("/"):
            case [_, tenant, "projects", _, kind, *_] if kind != "packs":
                pass
            case _:
                return 1
        if tenant not in self._oldest:
            self._oldest[tenant] = 1  # where its keys cannot be had, nothing of it was sealed anew
            with suppress(Damaged, TenantShredded):
                self._oldest[tenant] = min(await self.estate.keyring.epochs(TenantId(tenant)))
        return self._oldest[tenant]

    async def _copied_since(self, name: str, epoch: int) -> bool:
        with suppress(StoreMissing):
            return epoch_of(await self.archive.store.get(f"objects/{name}", length=EPOCH_BYTES)) >= epoch
        return False

    async def _copy(self, name: str, places: asyncio.Semaphore, since: int) -> None:
        """Copy an object; with ``since`` only where the copy there is is sealed in an older epoch."""
        try:
            if since and await self._copied_since(name, since):
                return
            data = await self.estate.store.get(name)
            await self.archive.store.put(f"objects/{name}", data)
        except StoreMissing:
            return  # collected or purged since; the next backup does not name it
        finally:
            places.release()
        self.copied, self.copied_bytes = self.copied + 1, self.copied_bytes + len(data)


async def there(store: ObjectStore, name: str) -> bool:
    """Whether the store has it, asked by name: a listing may not show what was written just now."""
    try:
        await store.get(name, offset=0, length=1)
    except StoreMissing:
        return False
    return True


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(PIECE_BYTES):
            yield piece


def _remove(snapshot: Path) -> None:
    for end in ("", "-wal", "-shm"):
        snapshot.with_name(snapshot.name + end).unlink(missing_ok=True)


def _make_ready(scratch: Path) -> None:
    """A folder without snapshots that a killed run left behind. On a machine that never served there may be none."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in scratch.glob(".snapshot-*.db*"):
        if left.stat().st_mtime < clock_time.time() - ABANDONED_MS / 1000:
            left.unlink(missing_ok=True)

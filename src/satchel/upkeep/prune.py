"""Backups that expired go, and the keys in them, usually sooner; and copies of objects that no backup left names."""

from __future__ import annotations

from collections.abc import Sequence, Set

from satchel.errors import SatchelError
from satchel.objects.ids import TenantId
from satchel.store.objectstore import ObjectStore
from satchel.upkeep.archive import KEYS, MANIFEST, Archive, Kept, kept
from satchel.upkeep.manifest import named, read_manifest

ABANDONED_MS = 24 * 60 * 60 * 1000
"""A backup without a manifest is taken for one being made until it is this old."""


async def prune(
    archive: Archive, now: int, *, objects: bool, spare: Set[TenantId] = frozenset()
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Delete what expired by ``now``: keys, whole backups, and (``objects``) copies that no backup left names.

    Backups with keys of a tenant in ``spare``, and those keys, stay: there may be no others.

    Returns the backups deleted, those whose keys were, and the number of copies. Within a backup keys go first and the
    manifest last, so that what is left of one cut off in between is no backup.
    """
    gone, keys_gone, left = [], [], []
    for row in await kept(archive.store):
        keys = [name for name in row.names if name.split("/")[2] == KEYS]
        spared = {name for name in keys if name.split("/")[3] in spare}
        abandoned = not row.complete and 0 < row.time < now - ABANDONED_MS
        if abandoned or (0 < row.expires <= now and not spared):
            await _delete(archive.store, row.names)
            gone.append(row.id)
            continue
        left.append(row)
        if len(keys) > len(spared) and 0 < row.keys_expire <= now:
            await _delete(archive.store, [name for name in keys if name not in spared])
            keys_gone.append(row.id)
    copies = await _prune_copies(archive, left) if objects else 0
    return tuple(gone), tuple(keys_gone), copies


async def _prune_copies(archive: Archive, left: Sequence[Kept]) -> int:
    wanted: set[str] = set()
    for row in left:
        if not row.complete:
            return 0  # one being made: what it names is not known yet
        try:
            _, manifest = await read_manifest(archive, row.id)
            async for name, _ in named(archive, row.id, manifest):
                wanted.add(name)
        except SatchelError:
            return 0  # what a backup names that cannot be opened here is not known: nothing is deleted
    unwanted = [
        stored.name
        async for stored in archive.store.list("objects/")
        if stored.name.removeprefix("objects/") not in wanted and not stored.name.endswith("/shredded")
    ]
    if {row.id for row in await kept(archive.store)} - {row.id for row in left}:
        return 0  # one was begun meanwhile, and what it names may be among them; what it copies from now on is not
    await _delete(archive.store, unwanted)
    return len(unwanted)


async def _delete(store: ObjectStore, names: Sequence[str]) -> None:
    def late(name: str) -> int:
        return 0 if f"/{KEYS}/" in name else 2 if name.endswith(f"/{MANIFEST}") else 1

    for name in sorted(names, key=late):
        await store.delete(name)

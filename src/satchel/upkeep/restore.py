"""From a backup to an installation that goes on where the lost one stopped.

The backup's catalog is put back, and then brought forward by what the bucket proves: commits made since, projects and
tenants made since, what was renamed, suspended or shredded. People, keys, grants, quotas and the audit are as they were
when the backup was made: a key revoked since counts again until it is revoked again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from satchel.catalog import members, recover, revision, tenants
from satchel.catalog.installation import bind
from satchel.catalog.quotas import Limits
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.errors import Damaged, StoreMissing
from satchel.objects.ids import TenantId, is_random_id
from satchel.store.about import Abouts
from satchel.store.generations import Generations
from satchel.store.keyring import Installation, Keyring, TenantShredded
from satchel.store.objectstore import ObjectStore, StoreExists
from satchel.store.rootkey import RootKey
from satchel.upkeep.about import every_project
from satchel.upkeep.archive import CATALOG, INSTALLATION, KEYS, Archive, BackupDamaged, BackupRefused, Label
from satchel.upkeep.backup import there
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.fresh import check_way, fresh_catalog
from satchel.upkeep.manifest import Manifest, read_manifest
from satchel.upkeep.operated import begin_again
from satchel.upkeep.rebuild import Holdings, NewOwner, add_unknown, estate_at, holdings, recover_all
from satchel.upkeep.recovery import Recovered


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came back. ``time`` is when the backup was made, in milliseconds UTC."""

    backup: str
    time: int
    filled: int
    """Objects put into the bucket from the backup's copy, and keyrings from the backup."""
    erased: int
    """Tenants of the backup that were shredded since."""
    owners: tuple[NewOwner, ...]
    """New owners of tenants that were founded since."""
    unreadable: tuple[tuple[TenantId, str], ...]
    projects: tuple[Recovered, ...]


async def restore(
    backup: str,
    source: ObjectStore,
    store: ObjectStore,
    root: RootKey,
    catalog: Path,
    *,
    backup_root: RootKey | None = None,
    replace: bool = False,
    fill: bool = False,
    limits: Limits,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
    progress: Progress = silent,
) -> RestoreReport:
    """Put the catalog of ``backup``, in ``source``, to ``catalog`` and bring it forward by what ``store`` holds.

    Keyrings that ``store`` lost, or that do not open there, come back from the backup, where it has them. What tenants
    without have stays as it was in the backup, and they are told of.

    ``backup_root`` is the root key of when the backup was made, where it was changed since. With ``fill`` everything
    that ``store`` lacks is first put back from the copies in ``source``. Killed anywhere it leaves no catalog, and can
    be begun again. Raises ``BackupRefused``, ``BackupDamaged``, ``WrongKey``, ``CatalogInTheWay``.
    """
    check_way(catalog, replace=replace)
    archive = Archive(source, backup_root or root, random)
    label, manifest = await _manifest(archive, backup)
    keyring = Keyring(store, root, clock=clock, random=random)
    if fill and await Generations(store, INSTALLATION).newest() is not None:
        await _installation(keyring, manifest)  # before anything is written to the store of another
    filled = await _fill(archive, label, manifest, store, progress) if fill else 0
    installation = await _installation(keyring, manifest)
    filled += await _mend_keyrings(archive, label, manifest, store, keyring)
    async with fresh_catalog(catalog, replace=replace) as making:
        await _unpack(archive, backup, manifest, making)
        async with estate_at(making, store, root, keyring, clock, random) as estate:
            async with estate.catalog.directory(write=True) as d:
                await bind(d, installation.id)
            held = await holdings(store)
            erased = await _obey_tombstones(estate, held)
            await _rename(estate)
            made = await add_unknown(estate, held, installation.pepper, limits, operators=False)
            found = await recover_all(estate, progress, without={tenant for tenant, _ in made.unreadable})
            await begin_again(estate, "tenant.restore", label.backup)
    return RestoreReport(backup, label.time, filled, erased, made.owners, made.unreadable, tuple(found))


async def _manifest(archive: Archive, backup: str) -> tuple[Label, Manifest]:
    if not is_random_id(backup, "bak"):
        raise BackupRefused(f"{backup} is not the id of a backup")
    try:
        label, manifest = await read_manifest(archive, backup)
    except StoreMissing as error:
        raise BackupRefused(f"there is no backup {backup}, or it was cut off before it was whole") from error
    if manifest.schema not in revision.KNOWN:
        raise BackupRefused(
            f"the backup has schema {manifest.schema}, newer than this Satchel knows ({SCHEMA_REVISION})",
            hint="Restore it with the Satchel that made it, or a newer one.",
        )
    return label, manifest


async def _installation(keyring: Keyring, manifest: Manifest) -> Installation:
    try:
        found = await keyring.installation()
    except StoreMissing as error:
        raise BackupRefused(
            "the store is empty", hint="Name the bucket (SATCHEL_STORE_URL), or fill this one with --objects."
        ) from error
    if found.id != manifest.installation:
        raise BackupRefused(f"the backup is of the installation {manifest.installation}, and the store of {found.id}")
    return found


async def _unpack(archive: Archive, backup: str, manifest: Manifest, target: Path) -> None:
    """The catalog of the backup, whole and as it was. Raises ``BackupDamaged``."""
    whole, size = hashlib.sha256(), 0
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        async for piece in archive.sequence(backup, CATALOG, manifest.catalog_pieces):
            whole.update(piece)
            size += len(piece)
            file.write(piece)
    if (size, whole.hexdigest()) != (manifest.catalog_bytes, manifest.catalog_sha256):
        raise BackupDamaged("the pieces of the catalog do not make the whole that the manifest names")


async def _fill(archive: Archive, label: Label, manifest: Manifest, store: ObjectStore, progress: Progress) -> int:
    """Put into the store what it lacks: installation, tombstones, keyrings, then everything that was copied."""
    copies = {stored.name.removeprefix("objects/"): stored.size async for stored in archive.store.list("objects/")}
    have = {stored.name async for stored in store.list("")}
    graves = {name.split("/")[1] for name in (*copies, *have) if name.endswith("/shredded")}
    have_keys = {name.split("/")[1] for name in have if "/keys/" in name}
    filled = 0
    for name in sorted(copies, key=lambda name: not name.endswith("/shredded")):
        if name.endswith("/shredded") and name not in have:
            filled += await _put(store, name, await archive.store.get(f"objects/{name}"))
    if not any(name.startswith("installation/") for name in have):
        filled += await _put_named(store, (await archive.get(label.backup, INSTALLATION))[1])
    for tenant in manifest.keys:
        if tenant not in have_keys and tenant not in graves:
            filled += await _put_named(store, await _keys(archive, label, tenant))
    todo = [name for name in copies if name not in have and _is_content(name) and name.split("/")[1] not in graves]
    for done, name in enumerate(todo, 1):
        filled += await _put(store, name, await archive.store.get(f"objects/{name}"))
        progress(done, len(todo))
    return filled


async def _mend_keyrings(
    archive: Archive, label: Label, manifest: Manifest, store: ObjectStore, keyring: Keyring
) -> int:
    """Put back keyrings of the backup where the store has none that opens; how many.

    One that changed since stays as it is, for its newer keys are not in the backup.
    """
    mended = 0
    for tenant in map(TenantId, manifest.keys):
        try:
            await keyring.key_of(tenant, anew=True)
        except Damaged:
            prefix = f"tenants/{tenant}/keys"
            try:
                name, _, data = (await archive.get(label.backup, f"{KEYS}/{tenant}"))[1].partition(b"\n")
            except StoreMissing:
                continue  # they have expired
            held = await Generations(store, prefix).numbers()
            if not held or name.decode() == f"{prefix}/{max(held)}":
                await store.put(name.decode(), data)
                mended += 1
        except TenantShredded:
            continue
    return mended


def _is_content(name: str) -> bool:
    """Whether a run of `backup --objects` copies such a name: keys above all come from the sealed parts alone."""
    match name.split("/"):
        case ["tenants", _, "about"] | ["tenants", _, "projects", _, _, *_]:
            return True
        case _:
            return False


async def _keys(archive: Archive, label: Label, tenant: str) -> bytes:
    try:
        return (await archive.get(label.backup, f"{KEYS}/{tenant}"))[1]
    except StoreMissing as error:
        raise BackupRefused(
            "the keys in this backup have expired, and the store has none",
            hint="Restore a newer backup: `satchel admin backup list` says which still hold keys.",
        ) from error


async def _put_named(store: ObjectStore, content: bytes) -> int:
    """Put what is behind its own name in a part of a backup."""
    name, _, data = content.partition(b"\n")
    return await _put(store, name.decode(), data)


async def _put(store: ObjectStore, name: str, data: bytes) -> int:
    try:
        await store.put(name, data, create=True)
    except StoreExists:
        return 0
    return 1


async def _obey_tombstones(estate: Estate, held: Holdings) -> int:
    erased = 0
    for row in await estate.tenants():
        if row.id in held.shredded or await there(estate.store, f"tenants/{row.id}/shredded"):
            async with estate.catalog.directory(write=True) as d:
                await members.erase_tenant(d, row.id)
            erased += 1
    return erased


async def _rename(estate: Estate) -> None:
    """Call tenants and projects as they were last called. The bucket was told before the backup and ever since."""
    abouts = Abouts(estate.store, estate.keyring, random=estate.random)
    for row in await estate.tenants():
        try:
            tenant = await abouts.tenant(row.id)
        except Damaged:
            tenant = None
        if tenant is not None:
            async with estate.catalog.directory(write=True) as d:
                # One that was being deleted waits for the operator to say so again.
                await tenants.set_state(
                    d, row.id, tenants.ACTIVE if tenant.state == tenants.ACTIVE else tenants.SUSPENDED
                )
                await tenants.rename(d.enter(row.id), name=tenant.name)
        async for project in every_project(estate.catalog, row.id):
            try:
                about = await abouts.project(row.id, project.id)
            except Damaged:
                continue
            if about is None:
                continue
            async with estate.catalog.write(row.id) as s:
                free = about.slug == project.slug or not await recover.slug_taken(s, about.slug)
                slug = about.slug if free else project.slug
                await recover.describe(s, project.id, slug, about.description, about.archived)

"""Changing and destroying keys: the root key, the epochs of a tenant, and all that a tenant ever had.

Changing the root key wraps the installation and every keyring anew, beside the running server:

    next made  ·  installation  ·  every keyring  ·  root.key linked to root.key.<id>  ·  next renamed to root.key

Whoever meets something that its key does not open reads both files again, so that nothing fails in between. Cut off
anywhere, the next run goes on: what is wrapped by the next key already is left alone.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from satchel.catalog import bootstrap, members
from satchel.errors import Damaged, Refused, SatchelError, StartRefused
from satchel.objects.ids import TenantId
from satchel.store.durable_local import sync_directory
from satchel.store.keyring import TenantShredded
from satchel.store.kms import KmsPlace
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey, next_path
from satchel.store.urls import open_store
from satchel.sync.failpoints import reach
from satchel.upkeep.archive import last_key_backup_expiry
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.lease import UpkeepBusy
from satchel.upkeep.operated import record_in, seal_noted

AT_ONCE = 16
"""Keyrings wrapped at a time: each takes about ten small requests."""


class TenantOperates(Refused):
    code = "tenant.operates"
    default_hint = "To end the whole installation, destroy its store, its catalog, its backups and its root key."


class KeyStaged(Refused):
    code = "key.staged"
    default_hint = "Run it without --kms to go on with that key, or remove the file if it was never distributed."


@dataclass(frozen=True, slots=True)
class RootReport:
    """What a change of the root key did. ``old`` and ``new`` are ids, which tell nothing about the keys."""

    old: str
    new: str
    new_kept: str
    old_file: Path | None
    """Where the old key lies now; ``None`` if it was only staged."""
    next_file: Path
    rewrapped: int
    """Keyrings wrapped by this run; an earlier one that was cut off may have done others."""
    unreadable: tuple[str, ...]
    """Tenants whose keyring neither key opens."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ShredReport:
    """A tenant that is no more. Times are milliseconds UTC."""

    tenant: TenantId
    slug: str
    backups_looked: bool
    """Whether there is a store of backups, and it answered."""
    keys_expire: int | None
    """When the last backup that holds its keys lets go of them; ``None`` if none holds them."""


async def rotate_root(
    estate: Estate, *, kms: KmsPlace | None = None, stage: bool = False, progress: Progress = silent
) -> RootReport:
    """Let another root key wrap everything; with ``stage`` only make the file that is to be distributed first.

    The new key is wrapped by ``kms`` where one is given. ``progress`` counts keyrings. Raises ``UpkeepBusy`` while
    another run is at it, ``KeyStaged`` where a key that is not of ``kms`` waits already, and what the store raises.
    """
    path = estate.root.path
    if path is None:
        raise StartRefused("the root key did not come from a file")
    began = time.monotonic()
    with _alone(path):
        old, new = await asyncio.to_thread(_next_key, path, kms, (await estate.keyring.installation()).id, estate)
        reach("rotate.after_next")
        rewrapped: int = 0
        unreadable: tuple[str, ...] = ()
        if not stage:
            await estate.keyring.rewrap_installation(new)
            reach("rotate.after_installation")
            rewrapped, unreadable = await _rewrap_all(estate, new, progress)
            await asyncio.to_thread(_switch, path, old)
    return RootReport(
        old=old.id,
        new=new.id,
        new_kept=new.kept,
        old_file=None if stage else _old_path(path, old),
        next_file=next_path(path),
        rewrapped=rewrapped,
        unreadable=unreadable,
        seconds=time.monotonic() - began,
    )


async def shred(
    estate: Estate, tenant: TenantId, *, backups: ObjectStore | None = None, cache: Path | None = None
) -> ShredReport:
    """Destroy every key of a tenant, then its rows, which is noted in the operator's audit with them, and what this
    machine has cached in ``cache``; can be repeated.

    From then on nothing of it opens, but with its keys from a backup. Raises ``TenantOperates``, and what the store
    raises.
    """
    row = await estate.tenant(tenant)
    async with estate.catalog.read(tenant) as s:
        if await bootstrap.operates(s):
            raise TenantOperates(f"{row.slug} runs this server: nobody could operate it any more")
    # Keys first: rows without keys are harmless, and the next try finishes.
    await estate.keyring.shred(tenant)
    async with estate.catalog.directory(write=True) as d:
        await members.erase_tenant(d, tenant)
        noted = await record_in(d, "tenant.shred", tenant, estate.clock())
    await seal_noted(estate, noted)
    if cache is not None:
        for folder in (cache / "index" / tenant, cache / "store" / "tenants" / tenant):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    looked, expiry = await keys_expire(backups, tenant)
    return ShredReport(tenant, row.slug, looked, expiry)


def backups_at(url: str) -> ObjectStore | None:
    """The store of backups, ``None`` where none is set or it cannot be opened: that is no reason to keep keys."""
    try:
        return open_store(url) if url else None
    except SatchelError:
        return None


async def keys_expire(backups: ObjectStore | None, tenant: TenantId) -> tuple[bool, int | None]:
    """Whether the backups could be looked into, and when (milliseconds UTC) the last one lets go of a tenant's keys.

    Asked when the tenant is gone already: that the store of backups is away must not look like a failure to shred.
    """
    if backups is None:
        return False, None
    try:
        return True, await last_key_backup_expiry(backups, tenant)
    except SatchelError:
        return False, None


async def _rewrap_all(estate: Estate, new: RootKey, progress: Progress) -> tuple[int, tuple[str, ...]]:
    """Every keyring in the bucket, whether the catalog knows its tenant or not: a catalog can be restored."""
    found: dict[TenantId, bool] = {}
    shredded: set[TenantId] = set()
    async for stored in estate.store.list("tenants/"):
        _, tenant, kind, *_ = stored.name.split("/")
        if kind == "keys":
            found[TenantId(tenant)] = False
        elif kind == "shredded":
            shredded.add(TenantId(tenant))
    for tenant in found.keys() & shredded:
        await estate.keyring.shred(tenant)  # one that was killed, or beside whom somebody changed the keyring, ends now
    todo = [tenant for tenant in found if tenant not in shredded]
    unreadable: list[str] = []
    places, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(tenant: TenantId) -> None:
        nonlocal done
        async with places:
            try:
                found[tenant] = await estate.keyring.rewrap(tenant, new)
            except TenantShredded:
                pass  # just now
            except Damaged:
                unreadable.append(tenant)
        done += 1
        reach("rotate.after_keyring")
        progress(done, len(todo))

    try:
        async with asyncio.TaskGroup() as group:
            for tenant in todo:
                group.create_task(one(tenant))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # what is told is why the first one failed
    return sum(found.values()), tuple(sorted(unreadable))


def _next_key(path: Path, kms: KmsPlace | None, installation: str, estate: Estate) -> tuple[RootKey, RootKey]:
    """The key in the file, and its successor: the one a run before left, or one made now."""
    old, beside = RootKey.load(path), next_path(path)
    if beside.exists():
        waiting = RootKey.load(beside)
        if waiting != old:
            if kms is not None and waiting.kms != kms:
                raise KeyStaged(f"a root key {waiting.kept} waits in {beside} already")
            return old, waiting
        beside.unlink()  # it was copied where it should have been moved
    return old, RootKey.create(beside, estate.random, kms=kms, installation=installation if kms else "")


def _switch(path: Path, old: RootKey) -> None:
    """Keep the old file under its id and let the next take its place: at every moment there is a root key."""
    kept = _old_path(path, old)
    try:
        os.link(path, kept)
    except FileExistsError:
        if RootKey.load(kept) != old:
            raise
    sync_directory(path.parent)
    reach("rotate.after_copy")
    os.rename(next_path(path), path)
    sync_directory(path.parent)


def _old_path(path: Path, old: RootKey) -> Path:
    return path.with_name(f"{path.name}.{old.id}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second change of the same key file out, by a lock on its folder that ends with the process."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpkeepBusy("the root key is being changed already") from error
        yield
    finally:
        os.close(handle)

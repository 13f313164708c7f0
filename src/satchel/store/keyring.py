"""The installation's own secret, and the keys of tenants: everything that the root key wraps.

A tenant's keys are random, one per epoch, and rest in the tenant's keyring in the bucket, sealed under the root key.
Deleting it (``shred``) makes all the tenant's bytes unreadable; a tombstone beside it keeps a restored copy from being
used. Keyring and installation change by generations (see ``generations``), so that of two processes that change one
neither undoes the other.

Opened keyrings are held in a bounded cache for ten minutes, so that a shredding or a new epoch made on another node is
noticed by then. While the store does not answer they serve for an hour more, to open with and never to seal with.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from satchel.errors import NotFound, SealBroken, StoreMissing, StoreUnavailable, WrongKey
from satchel.objects.ids import TenantId, is_random_id, new_id
from satchel.objects.seal import KEY_BYTES, SALT_BYTES, Binding, derive, open_sealed, seal
from satchel.store.generations import Generation, Generations
from satchel.store.objectstore import ObjectStore, StoreExists
from satchel.store.rootkey import KeyFiles, RootKey

MAX_CACHED_TENANTS = 1_024
CACHE_MS = 10 * 60 * 1000
STALE_MS = 60 * 60 * 1000
"""How much longer an opened keyring serves while the store is away."""
MAX_ROOTS = 4
"""Root keys remembered: the one given, and those met while the root key was changed."""
INSTALLATION = "installation"
_NOBODY = TenantId("")
_ROOT_EPOCH = 0
_KEYRING_FORMAT, _INSTALLATION_FORMAT = "satchel-keyring 1", "satchel-installation 1"


class TenantShredded(NotFound):
    code = "tenant.shredded"
    default_hint = "Its keys were destroyed on request: nothing of this tenant can be read again."


class EpochUnknown(WrongKey):
    """The keyring has no key of that epoch, and the one in the bucket may have; or there is no keyring."""

    code = "seal.epoch_unknown"
    default_hint = "The keyring is older than the data, or the key was retired: restore the keyring from a backup."


class EpochKey(NamedTuple):
    """One key of a tenant."""

    key: bytes
    created: int
    """When the epoch began, in milliseconds UTC."""

    def __repr__(self) -> str:
        return f"EpochKey(created={self.created})"  # a key is never shown


@dataclass(frozen=True, slots=True)
class Installation:
    """Who an installation is, and the secret of its own, which stays the same when the root key is changed."""

    id: str
    _secret: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose; the same one each time."""
        return derive(self._secret, b"", "satchel installation", purpose)

    @property
    def pepper(self) -> bytes:
        """Keys the hashes of API keys and refresh tokens."""
        return self.derive("key pepper")


class _Opened(NamedTuple):
    since: int  # milliseconds
    keys: dict[int, bytes]  # by epoch


class Keyring:
    """Keys of tenants, by epoch. Safe for many tasks of one event loop."""

    def __init__(
        self, store: ObjectStore, root: RootKey, *, clock: Callable[[], int], random: Callable[[int], bytes]
    ) -> None:
        """``clock`` gives milliseconds, ``random`` that many random bytes."""
        self._store, self._clock, self._random = store, clock, random
        self._roots = [root]  # the one that opened something last comes first
        self._files = KeyFiles(root.path)
        self._own: Installation | None = None
        self._cache: OrderedDict[TenantId, _Opened] = OrderedDict()
        self.hits = self.misses = 0
        """Keys that were in memory, and that had to be read."""

    # The installation -------------------------------------------------------------------------------------------------

    async def found(self) -> Installation:
        """The installation in this store, made now under this root key if there is none. Raises ``WrongKey``."""
        generations = Generations(self._store, INSTALLATION)
        if await generations.newest() is None:
            secret = self._random(KEY_BYTES)
            root = self._roots[0]
            fields = {"id": root.installation or new_id("ins", self._random(16)), "secret": secret.hex()}
            await generations.add(0, self._wrap(root, _NOBODY, INSTALLATION, 1, fields))
        return await self.installation()

    async def installation(self) -> Installation:
        """The installation in this store.

        Raises ``WrongKey`` if another root key wrapped it, ``StoreMissing`` if there is none.
        """
        if self._own is None:
            _, _, fields = await self._installation()
            self._own = Installation(fields["id"], bytes.fromhex(fields["secret"]))
        return self._own

    async def rewrap_installation(self, root: RootKey) -> bool:
        """Let the installation be wrapped by ``root``, which from then on is the root key; False if it is already."""
        while True:
            old, newest, fields = await self._installation()
            if old == root:
                return False
            sealed = self._wrap(root, _NOBODY, INSTALLATION, newest.number + 1, fields)
            if await Generations(self._store, INSTALLATION).add(newest.number, sealed):
                self._prefer(root)
                return True

    async def rewrap(self, tenant: TenantId, root: RootKey) -> bool:
        """Let a tenant's keyring be wrapped by ``root``; False if it is already. Raises as ``current``."""
        while True:
            try:
                old, newest, fields = await self._read(tenant)
            except EpochUnknown:
                await self._refuse_shredded(tenant)
                raise
            if old == root:
                await self._generations(tenant).tidy()  # what a run that was killed left
                return False
            sealed = self._wrap(root, tenant, "keyring", newest.number + 1, fields)
            if await self._generations(tenant).add(newest.number, sealed):
                await self._undo_if_shredded(tenant)
                return True

    # The keys of a tenant ---------------------------------------------------------------------------------------------

    async def create(self, tenant: TenantId) -> None:
        """Make the first key of a tenant; one that has a keyring keeps it. Raises ``TenantShredded``."""
        await self._refuse_shredded(tenant)
        if await self._generations(tenant).newest() is None:
            await self._add(tenant, 0, {1: EpochKey(self._random(KEY_BYTES), self._clock())})

    async def current(self, tenant: TenantId) -> tuple[int, bytes]:
        """The newest epoch of a tenant and its key, to seal with; known at most ten minutes late.

        Raises ``TenantShredded``, ``EpochUnknown`` without a keyring, ``WrongKey`` if the root key is another.
        """
        keys = await self._keys(tenant, stale=False)
        epoch = max(keys)
        return epoch, keys[epoch]

    async def key_of(self, tenant: TenantId, *, anew: bool = False) -> Callable[[int], bytes]:
        """The keys of a tenant by epoch, to open with; an unknown epoch raises ``EpochUnknown``.

        ``anew`` reads the keyring again whatever is cached: for who met an epoch unknown. Raises as ``current``.
        """
        if anew:
            self._cache.pop(tenant, None)
        keys = await self._keys(tenant, stale=True)

        def key(epoch: int) -> bytes:
            if epoch not in keys:
                raise EpochUnknown(f"there is no key of epoch {epoch} in the keyring, which has {_listed(keys)}")
            return keys[epoch]

        return key

    async def index_key(self, tenant: TenantId, project: str, file_id: bytes) -> bytes:
        """The raw 32-byte key of one index file, of the newest epoch; ``file_id`` is random, and new for every file."""
        keys = await self._keys(tenant, stale=True)
        return derive(keys[max(keys)], file_id, "satchel index 1", tenant, project)

    async def epochs(self, tenant: TenantId) -> dict[int, int]:
        """When each epoch of the keyring in the bucket began, in milliseconds UTC. Raises as ``current``."""
        await self._refuse_shredded(tenant)
        _, _, fields = await self._read(tenant)
        return {epoch: held.created for epoch, held in _epochs(fields).items()}

    async def begin_epoch(self, tenant: TenantId) -> int:
        """Make a new key, which other processes seal with ten minutes later at the latest; returns its epoch."""
        await self._refuse_shredded(tenant)
        while True:
            _, newest, fields = await self._read(tenant)
            held = _epochs(fields)
            epoch = max(held) + 1
            held[epoch] = EpochKey(self._random(KEY_BYTES), self._clock())
            if await self._add(tenant, newest.number, held):
                return epoch

    async def retire(self, tenant: TenantId, before: int) -> None:
        """Destroy the keys of epochs below ``before``; the caller has made sure that nothing is sealed in them."""
        await self._refuse_shredded(tenant)
        while True:
            _, newest, fields = await self._read(tenant)
            held = {epoch: key for epoch, key in _epochs(fields).items() if epoch >= before}
            if not held:
                raise ValueError("the newest epoch is not retired")
            if await self._add(tenant, newest.number, held):
                return

    async def shred(self, tenant: TenantId) -> None:
        """Destroy the keys of a tenant for good; harmless to repeat. Copies in backups live until those expire."""
        own = await self.installation()
        text = json.dumps({"tenant": tenant, "time": self._clock()}).encode()
        binding = Binding(tenant, "", "tombstone")
        key, salt = own.derive("tombstone"), self._random(SALT_BYTES)
        try:
            sealed = seal(key, binding, "tombstone", text, epoch=_ROOT_EPOCH, salt=salt)
            await self._store.put(tombstone_name(tenant), sealed, create=True)
        except StoreExists:
            pass
        self._cache.pop(tenant, None)
        await self._generations(tenant).delete()

    def forget(self, tenant: TenantId) -> None:
        """Hold no keys of a tenant in memory; who needs them reads them again, if they are there."""
        self._cache.pop(tenant, None)

    def tenants(self) -> set[TenantId]:
        """Whose keys are held in memory."""
        return set(self._cache)

    # Inside -----------------------------------------------------------------------------------------------------------

    async def _keys(self, tenant: TenantId, *, stale: bool) -> dict[int, bytes]:
        opened = self._cache.get(tenant)
        age = 0 if opened is None else abs(self._clock() - opened.since)
        if opened is not None and age < CACHE_MS:
            self._cache.move_to_end(tenant)
            self.hits += 1
            return opened.keys
        self.misses += 1
        try:
            await self._refuse_shredded(tenant)
            _, _, fields = await self._read(tenant)
        except StoreUnavailable:
            if opened is not None and stale and age < CACHE_MS + STALE_MS:
                return opened.keys
            raise
        except BaseException:
            self._cache.pop(tenant, None)
            raise
        keys = {epoch: held.key for epoch, held in _epochs(fields).items()}
        self._cache[tenant] = _Opened(self._clock(), keys)
        self._cache.move_to_end(tenant)
        while len(self._cache) > MAX_CACHED_TENANTS:
            self._cache.popitem(last=False)
        return keys

    async def _read(self, tenant: TenantId) -> tuple[RootKey, Generation, dict[str, Any]]:
        """The keyring that counts, and the root key that wraps it.

        That there is none must not look like an object that is missing: whatever it was to open may well be there.
        """
        newest = None
        with suppress(StoreMissing):
            newest = await self._generations(tenant).newest()
        if newest is None:
            raise EpochUnknown("the tenant has no keyring", hint="Restore the keyring from a backup.")
        root, fields = await self._unwrap(tenant, "keyring", newest)
        if fields.get("format") != _KEYRING_FORMAT or fields.get("tenant") != tenant:
            raise SealBroken("a keyring does not hold what a keyring holds")
        return root, newest, fields

    async def _installation(self) -> tuple[RootKey, Generation, dict[str, Any]]:
        newest = await Generations(self._store, INSTALLATION).newest()
        if newest is None:
            raise StoreMissing(
                "there is no installation in this store",
                hint="Is it the right store? The first start of `satchel serve` makes an installation.",
            )
        root, fields = await self._unwrap(_NOBODY, INSTALLATION, newest)
        if fields.get("format") != _INSTALLATION_FORMAT or not is_random_id(str(fields.get("id")), "ins"):
            raise SealBroken("the installation does not hold what an installation holds")
        return root, newest, fields

    async def _add(self, tenant: TenantId, after: int, epochs: Mapping[int, EpochKey]) -> bool:
        """Let these keys count; False if somebody else changed the keyring first.

        The root key may be changed meanwhile, by somebody who has looked at this tenant already: so the installation,
        which is wrapped anew before any keyring is, is looked at again afterwards.
        """
        rows = {str(epoch): {"key": held.key.hex(), "created": held.created} for epoch, held in epochs.items()}
        fields = {"tenant": tenant, "epochs": rows}
        root, _, _ = await self._installation()
        if not await self._generations(tenant).add(after, self._wrap(root, tenant, "keyring", after + 1, fields)):
            return False
        self._cache.pop(tenant, None)
        await self._undo_if_shredded(tenant)
        now, _, _ = await self._installation()
        if now != root:
            await self.rewrap(tenant, now)
        return True

    async def _refuse_shredded(self, tenant: TenantId) -> None:
        try:
            await self._store.get(tombstone_name(tenant))
        except StoreMissing:
            return
        raise TenantShredded("the keys of this tenant were destroyed")

    async def _undo_if_shredded(self, tenant: TenantId) -> None:
        """Take back a generation just added if the tenant was shredded meanwhile: its keys are to be nowhere.

        The tombstone is put before the generations are listed to be deleted. So one that this misses, that list shows.
        """
        try:
            await self._refuse_shredded(tenant)
        except TenantShredded:
            await self._generations(tenant).delete()
            raise

    def _wrap(self, root: RootKey, tenant: TenantId, kind: str, number: int, fields: Mapping[str, object]) -> bytes:
        form = _KEYRING_FORMAT if tenant else _INSTALLATION_FORMAT
        text = json.dumps({**fields, "format": form}, sort_keys=True).encode()
        salt = self._random(SALT_BYTES)
        return seal(root.derive(kind), Binding(tenant, "", kind), str(number), text, epoch=_ROOT_EPOCH, salt=salt)

    async def _unwrap(self, tenant: TenantId, kind: str, newest: Generation) -> tuple[RootKey, dict[str, Any]]:
        """The content, and the root key that opened it: one known, or one that lies in the key files now."""
        opened = _opened_by(self._roots, tenant, kind, newest)
        if opened is None:
            found = await asyncio.to_thread(self._files.read)
            opened = _opened_by(found, tenant, kind, newest)
            if opened is None:
                ids = ", ".join(root.id for root in dict.fromkeys([*self._roots, *found]))
                raise WrongKey(f"this root key (id {ids}) is not the one that the data was written with")
            self._prefer(opened[0])
        return opened[0], json.loads(opened[1])

    def _prefer(self, root: RootKey) -> None:
        others = [known for known in self._roots if known != root]
        self._roots = [root, *others][:MAX_ROOTS]

    def _generations(self, tenant: TenantId) -> Generations:
        return Generations(self._store, f"tenants/{tenant}/keys")


def open_tombstone(installation: Installation, tenant: TenantId, sealed: bytes) -> int:
    """When the tenant was shredded, in milliseconds UTC. Raises ``WrongKey``, ``SealBroken``."""
    key = installation.derive("tombstone")
    text = open_sealed(lambda _epoch: key, Binding(tenant, "", "tombstone"), "tombstone", sealed)
    return int(json.loads(text)["time"])


def _opened_by(roots: list[RootKey], tenant: TenantId, kind: str, newest: Generation) -> tuple[RootKey, bytes] | None:
    binding = Binding(tenant, "", kind)
    for root in roots:
        wrapping = root.derive(kind)
        try:
            return root, open_sealed(lambda _, key=wrapping: key, binding, str(newest.number), newest.data)  # type: ignore[misc]
        except WrongKey:
            continue
    return None


def _epochs(fields: Mapping[str, Any]) -> dict[int, EpochKey]:
    held = {int(epoch): EpochKey(bytes.fromhex(row["key"]), row["created"]) for epoch, row in fields["epochs"].items()}
    if not held or any(len(key) != KEY_BYTES for key, _ in held.values()):
        raise SealBroken("a keyring does not hold what a keyring holds")
    return held


def _listed(keys: Mapping[int, bytes]) -> str:
    return ", ".join(map(str, sorted(keys)))


def tombstone_name(tenant: TenantId) -> str:
    """Where a shredded tenant's tombstone lies: the one object of it that stays."""
    return f"tenants/{tenant}/shredded"

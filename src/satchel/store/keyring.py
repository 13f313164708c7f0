"""The root key, and the keys of tenants that it wraps.

A tenant's keys are random, one per epoch, and rest in the tenant's keyring object in the bucket, sealed under the root
key. Deleting that object (``shred``) makes all the tenant's bytes unreadable; a tombstone beside it keeps a restored
copy from being used. Opened keyrings are held in a bounded cache for ten minutes, so that a shredding on another node
is noticed by then.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from satchel.errors import AlreadyExists, NotFound, SealBroken, StartRefused, StoreMissing, WrongKey
from satchel.objects.ids import TenantId
from satchel.objects.seal import KEY_BYTES, SALT_BYTES, Binding, derive, open_sealed, seal
from satchel.store.durable_local import sync_directory, write_durably
from satchel.store.objectstore import ObjectStore, StoreExists

MAX_CACHED_TENANTS = 1_024
CACHE_MS = 10 * 60 * 1000
_ROOT_EPOCH = 0
_ROOT_CHECK = "root-check"


class TenantShredded(NotFound):
    code = "tenant.shredded"
    default_hint = "Its keys were destroyed on request: nothing of this tenant can be read again."


@dataclass(frozen=True, slots=True)
class RootKey:
    """The 32 bytes that everything at rest hangs on. ``warnings`` says what is wrong with how the file is kept."""

    _secret: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> RootKey:
        """Read a key file of exactly 32 bytes.

        Raises ``StartRefused`` when it is absent, unreadable or writable by everyone, ``WrongKey`` when it is not a
        key.
        """
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                secret = file.read(KEY_BYTES + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            hint = "Put the root key of this data there; without it nothing can be read."
            raise StartRefused(f"the root key {path} cannot be read: {reason}", hint=hint) from error
        if mode & stat.S_IWOTH:
            raise StartRefused(f"everyone may write the root key {path}", hint=f"Run: chmod 600 {path}")
        if len(secret) != KEY_BYTES:
            raise WrongKey(f"{path} is not a root key: it must hold exactly {KEY_BYTES} bytes")
        exposed = mode & (stat.S_IRWXG | stat.S_IRWXO)
        warning = f"the root key {path} is open to others (mode {mode:04o}); run: chmod 600 {path}"
        return cls(secret, (warning,) if exposed else ())

    @classmethod
    def create(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> RootKey:
        """Write a new random key (0600), whole or not at all. Raises ``AlreadyExists``, ``OSError``."""
        secret = random(KEY_BYTES)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        write_durably(temporary, secret)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            raise AlreadyExists(f"there is a file {path} already", hint="Use it, or name another path.") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
        return cls(secret)

    @property
    def id(self) -> str:
        """Tells root keys apart without telling anything about them: 16 hex digits."""
        return derive(self._secret, b"", "satchel root key id", length=8).hex()

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, such as ``key pepper``; the same one each time."""
        return derive(self._secret, b"", "satchel root", purpose)


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
        self._wrapping = root.derive("keyring")
        self._cache: OrderedDict[TenantId, _Opened] = OrderedDict()

    async def check_root(self) -> None:
        """Make sure that the store was written with this root key; the first call on a store binds it to the key.

        Raises ``WrongKey``.
        """
        nobody = TenantId("")
        try:
            sealed = await self._store.get(_ROOT_CHECK)
        except StoreMissing:
            sealed = self._wrap(nobody, _ROOT_CHECK, b"satchel")
            try:
                await self._store.put(_ROOT_CHECK, sealed, create=True)
                return
            except StoreExists:
                sealed = await self._store.get(_ROOT_CHECK)
        self._unwrap(nobody, _ROOT_CHECK, sealed)

    async def create(self, tenant: TenantId) -> None:
        """Make the first key of a tenant; one that has a keyring keeps it. Raises ``TenantShredded``."""
        await self._refuse_shredded(tenant)
        fields = {"tenant": tenant, "epochs": {"1": self._random(KEY_BYTES).hex()}}
        sealed = self._wrap(tenant, "keyring", json.dumps(fields).encode())
        try:
            await self._store.put(_keyring_name(tenant), sealed, create=True)
        except StoreExists:
            return

    async def current(self, tenant: TenantId) -> tuple[int, bytes]:
        """The newest epoch of a tenant and its key, to seal with.

        Raises ``TenantShredded``, ``StoreMissing`` without a keyring, ``WrongKey`` if the root key is another.
        """
        keys = await self._keys(tenant)
        epoch = max(keys)
        return epoch, keys[epoch]

    async def key_of(self, tenant: TenantId) -> Callable[[int], bytes]:
        """The keys of a tenant by epoch, to open with; an unknown epoch raises ``WrongKey``. Raises as ``current``."""
        keys = await self._keys(tenant)

        def key(epoch: int) -> bytes:
            if epoch not in keys:
                raise WrongKey(f"the tenant has no key of epoch {epoch}")
            return keys[epoch]

        return key

    async def index_key(self, tenant: TenantId, project: str, file_id: bytes) -> bytes:
        """The raw 32-byte key of one index file; ``file_id`` is random, and new for every file."""
        _, key = await self.current(tenant)
        return derive(key, file_id, "satchel index 1", tenant, project)

    async def shred(self, tenant: TenantId) -> None:
        """Destroy the keys of a tenant for good; harmless to repeat. Copies in backups live until those expire."""
        fields = json.dumps({"tenant": tenant, "time": self._clock()}).encode()
        try:
            await self._store.put(_tombstone_name(tenant), self._wrap(tenant, "tombstone", fields), create=True)
        except StoreExists:
            pass
        self._cache.pop(tenant, None)
        await self._store.delete(_keyring_name(tenant))

    async def _keys(self, tenant: TenantId) -> dict[int, bytes]:
        opened = self._cache.get(tenant)
        if opened is not None and abs(self._clock() - opened.since) < CACHE_MS:
            self._cache.move_to_end(tenant)
            return opened.keys
        self._cache.pop(tenant, None)
        await self._refuse_shredded(tenant)
        keys = self._parse(tenant, await self._store.get(_keyring_name(tenant)))
        self._cache[tenant] = _Opened(self._clock(), keys)
        while len(self._cache) > MAX_CACHED_TENANTS:
            self._cache.popitem(last=False)
        return keys

    def _parse(self, tenant: TenantId, sealed: bytes) -> dict[int, bytes]:
        fields = json.loads(self._unwrap(tenant, "keyring", sealed))
        keys = {int(epoch): bytes.fromhex(key) for epoch, key in fields["epochs"].items()}
        if fields["tenant"] != tenant or not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise SealBroken("a keyring does not hold what a keyring holds")
        return keys

    async def _refuse_shredded(self, tenant: TenantId) -> None:
        try:
            await self._store.get(_tombstone_name(tenant))
        except StoreMissing:
            return
        raise TenantShredded("the keys of this tenant were destroyed")

    def _wrap(self, tenant: TenantId, kind: str, plaintext: bytes) -> bytes:
        salt = self._random(SALT_BYTES)
        return seal(self._wrapping, Binding(tenant, "", kind), kind, plaintext, epoch=_ROOT_EPOCH, salt=salt)

    def _unwrap(self, tenant: TenantId, kind: str, sealed: bytes) -> bytes:
        try:
            return open_sealed(lambda _epoch: self._wrapping, Binding(tenant, "", kind), kind, sealed)
        except WrongKey as error:
            raise WrongKey("this root key is not the one that the data was written with") from error


def _keyring_name(tenant: TenantId) -> str:
    return f"tenants/{tenant}/keyring"


def _tombstone_name(tenant: TenantId) -> str:
    return f"tenants/{tenant}/shredded"
